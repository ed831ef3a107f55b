"""Handles the signals that ask envtool to stop: SIGINT (^C), SIGTERM, SIGHUP (a closed terminal)."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def catch_signals(handle: Callable[[int], object]) -> Iterator[None]:
    """Within the context, call `handle(number)` for each signal of STOP_SIGNALS; afterwards restore the old handlers.

    `handle` runs between two instructions of the main thread: it may only do what is reentrant. A signal that is
    ignored (nohup) stays ignored. Does nothing in other threads than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    caught = [number for number in STOP_SIGNALS if old_handlers[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, lambda number, _: handle(number))
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, old_handlers[number])

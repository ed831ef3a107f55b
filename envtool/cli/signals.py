"""Being asked to stop: ^C, SIGTERM, a closed terminal."""

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
    """Have `handle(number)` called for each signal that asks us to stop; what was before is put back.

    It runs between two instructions of the main thread: it may only do what is reentrant. A signal that is ignored
    (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    heard = [number for number in STOP_SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, lambda number, _: handle(number))
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])

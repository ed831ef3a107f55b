"""Handles the signals that ask envtool to stop: SIGINT (^C), SIGTERM, SIGHUP (a closed terminal)."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPORTLIB = "<frozen importlib."  # the file name of frames of the import system
_AGAIN_SECONDS = 0.005


@contextmanager
def catch_signals(handle: Callable[[int], object]) -> Iterator[None]:
    """Within the context, call `handle(number)` for each signal of STOP_SIGNALS; afterwards restore the old handlers.

    `handle` runs between two instructions of the main thread: it may only raise, or do what is reentrant. Within the
    import system it is not called, and the signal is sent again: if it raised there, the lock of a module could stay
    taken, and another thread that imports the module would wait for ever. A signal that is ignored (nohup) stays
    ignored. Does nothing in other threads than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    caught = [number for number in STOP_SIGNALS if old_handlers[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, lambda number, frame: _send_again(number) if _imports(frame) else handle(number))
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, old_handlers[number])


def _imports(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(_IMPORTLIB)


def _send_again(number: int) -> None:
    def send() -> None:
        time.sleep(_AGAIN_SECONDS)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, name="signal", daemon=True).start()

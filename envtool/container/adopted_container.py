"""A container that began early (early_run.py), taken over by a run as if the run had started it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from envtool.container import started

if TYPE_CHECKING:
    from envtool.container.early_run import EarlyContainer
    from envtool.container.messages import Exit

_PIECE = 1 << 16  # bytes


class AdoptedContainer(started.LocalContainer):
    """A container that runs already, as a context. What it has printed, and prints, goes to the descriptor `stdout`."""

    def __init__(self, early: EarlyContainer, stdout: int) -> None:
        assert early.container is not None
        self.__dict__.update(vars(early.container))
        self._early = early
        self._relay = threading.Thread(target=_relay, args=(early, os.dup(stdout)), daemon=True)

    def __enter__(self) -> AdoptedContainer:
        self._relay.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._early.kill()
        self._relay.join()
        self._early.end()

    def wait(self) -> Exit:
        """See Container."""
        return self._early.await_end()

    def attend(self, cancel: int) -> Exit:
        """Returns how it ended; once `cancel` is readable, it is ended. `early` of that says how many seconds it had
        run before this call."""
        before = time.time_ns() - self._early.went
        ended = self._early.await_end(cancel)
        self._relay.join()
        ended.early = before / 1e9
        return ended


def _relay(early: EarlyContainer, writer: int) -> None:
    """Carries what it prints until all have closed their ends of the pipe. Closes `writer`."""
    try:
        _write_all(writer, early.printed)
        while os.splice(early.reader, writer, _PIECE):
            pass
    except OSError:  # nobody reads it
        while os.read(early.reader, _PIECE):
            pass
    finally:
        os.close(writer)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

"""A container that began early (early_container.py), taken over by a run as if the run had started it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from envtool.container import early_container, started

if TYPE_CHECKING:
    from envtool.container.early_container import EarlyContainer
    from envtool.container.messages import Exit


class AdoptedContainer(started.LocalContainer):
    """A container that runs already, as a context. What it has printed, and prints, goes to the descriptor `stdout`."""

    def __init__(self, early: EarlyContainer, stdout: int) -> None:
        assert early.container is not None
        self.__dict__.update(vars(early.container))
        self._early = early
        self._relay = threading.Thread(target=early_container.relay, args=(early, os.dup(stdout)), daemon=True)

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

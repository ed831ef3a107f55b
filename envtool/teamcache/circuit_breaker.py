"""A registry that fails is asked no more in this run, so that it makes a build slower by seconds and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from envtool.errors import EnvtoolError, FetchError, Interrupted

Answer = TypeVar("Answer")

MAX_FAILURES = 2  # failures in a row
SLOW_SECONDS = 4.0  # seconds: a call that failed after so many is one too many, since the next would take as long
# What another try would not mend
FINAL_CODES = frozenset({
    "fetch-redirect", "fetch-tls", "fetch-url", "reference", "registry-blocked", "registry-denied", "registry-insecure",
})  # fmt: skip


class RegistryUnavailable(Exception):  # noqa: N818 - a reason, no error: what is not had is built
    """The registry was not asked, or did not serve."""


class CircuitBreaker:
    """Lets calls through until TRIES of one sort in a row have failed, or one for good, or one for long. `told` hears
    why, once."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked any more."""
        return not self._open

    def call(self, sort: str, work: Callable[[], Answer]) -> Answer:
        """The answer of a call to the registry; calls of another sort do not tell whether those of this one work.
        Raises Away, Interrupted, and what is no failure of the registry."""
        if not self._open:
            raise RegistryUnavailable
        began = time.monotonic()
        try:
            answer = work()
        except Interrupted:
            raise
        except EnvtoolError as error:
            self._failed(sort, error, time.monotonic() - began)
            raise RegistryUnavailable(error.message) from error
        with self._lock:
            self._failures[sort] = 0
        return answer

    def _failed(self, sort: str, error: EnvtoolError, seconds: float) -> None:
        final = not isinstance(error, FetchError) or error.code in FINAL_CODES or seconds >= SLOW_SECONDS
        with self._lock:
            self._failures[sort] = failures = self._failures.get(sort, 0) + 1
            closing = self._open and (final or failures >= MAX_FAILURES)
            self._open = self._open and not closing
        if closing:
            self._told(error.message)

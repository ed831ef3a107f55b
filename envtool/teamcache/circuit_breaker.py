"""Stops asking a registry that fails, for the rest of the run, so that it delays a build by no more than seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from envtool.errors import EnvtoolError, FetchError, Interrupted

Answer = TypeVar("Answer")

MAX_FAILURES = 2  # failures in a row
SLOW_SECONDS = 4.0  # seconds: after a failure that took so long there is no next call, which would take as long
# errors that another attempt would not mend
FINAL_CODES = frozenset({
    "fetch-redirect", "fetch-tls", "fetch-url", "reference", "registry-blocked", "registry-denied", "registry-insecure",
})  # fmt: skip


class RegistryUnavailable(Exception):  # noqa: N818 - no error of the user's: the layer is built here
    """The registry was not asked, or did not serve."""


class CircuitBreaker:
    """Lets calls through until MAX_FAILURES of one sort in a row have failed, or one with an error of FINAL_CODES, or
    one after SLOW_SECONDS. Calls `report` with the reason, once."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._failures: dict[str, int] = {}
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether calls are blocked."""
        return not self._open

    def call(self, sort: str, work: Callable[[], Answer]) -> Answer:
        """Returns the answer of a call to the registry. Failures are counted for each sort of call, since a registry
        may serve one sort and fail at another. Raises RegistryUnavailable, Interrupted, and errors that are no failure
        of the registry."""
        if not self._open:
            raise RegistryUnavailable
        start = time.monotonic()
        try:
            answer = work()
        except Interrupted:
            raise
        except EnvtoolError as error:
            self._failed(sort, error, time.monotonic() - start)
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
            self._report(error.message)

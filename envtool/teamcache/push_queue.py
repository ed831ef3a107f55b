"""What was made here -> the team cache, by threads of their own: a build never waits for them.

What is under a tag and trusted stays: each thing is uploaded once. What is under it and not trusted is replaced.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from envtool.errors import EnvtoolError
from envtool.net.oci.reference import Reference
from envtool.store.temp_dirs import temp_directory
from envtool.teamcache import registry_store, signatures, stats
from envtool.teamcache.circuit_breaker import CircuitBreaker, RegistryUnavailable
from envtool.teamcache.payloads import Payload
from envtool.teamcache.registry_store import RegistryProtocol
from envtool.teamcache.statement import RefusedStatement

if TYPE_CHECKING:
    from envtool.teamcache.client_context import ClientContext

THREADS = 2
STALL_SECONDS = 60.0  # seconds without a byte, after which the end of a command waits no longer
GRACE_SECONDS = 1.0  # seconds that what is under way then has to end
MAX_SECONDS = 900.0  # seconds that the end of a command waits at all


class PushQueue:
    """Pushes what it is offered. Raises nothing: what cannot be pushed is not."""

    def __init__(
        self,
        registry: RegistryProtocol,
        repository: Reference,
        signer: signatures.Signer,
        trust: set[str],
        breaker: CircuitBreaker,
        counter: stats.StatsCounter,
    ) -> None:
        self._registry, self._repository = registry, repository
        self._signer, self._trust = signer, trust
        self._breaker, self._counter = breaker, counter
        self._turn = threading.Condition()
        self._queue: deque[tuple[Payload, ClientContext, bool]] = deque()
        self._offered: set[tuple[str, str]] = set()
        self._working = 0
        self._threads = 0
        self._given_up = False
        self._done = self._total = 0
        self._moved = time.monotonic()

    @property
    def waiting(self) -> int:
        """How many are not pushed yet."""
        with self._turn:
            return len(self._queue) + self._working

    def offer(self, parcel: Payload, outside: ClientContext, *, replace: bool = False) -> None:
        """Push something, some time; with `replace` also where something that seems right is there."""
        with self._turn:
            if (parcel.sort, parcel.key) in self._offered or self._given_up:
                return
            self._offered.add((parcel.sort, parcel.key))
            self._queue.append((parcel, outside, replace))
            if self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="push", daemon=True).start()
            self._turn.notify_all()

    def finish(self, cancelled: Callable[[], bool], progress: Callable[[int, int], None]) -> int:
        """Wait until all is pushed, or nothing moves any more; how many are left. `progress` gets bytes."""
        end = time.monotonic() + MAX_SECONDS
        with self._turn:
            while self._queue or self._working:
                now = time.monotonic()
                if cancelled() or now > end or now - self._moved > STALL_SECONDS or self._breaker.is_open:
                    break
                progress(self._done, self._total)
                self._turn.wait(0.1)
            self._given_up = True
            self._turn.wait_for(lambda: cancelled() or not self._working, GRACE_SECONDS)
            left = len(self._queue) + self._working
            self._queue.clear()
            return 0 if self._breaker.is_open else left

    def _work(self) -> None:
        while True:
            with self._turn:
                while not self._queue:
                    self._turn.wait()
                parcel, outside, replace = self._queue.popleft()
                self._working += 1
                self._moved = time.monotonic()
            try:
                self._push(parcel, outside, replace)
            except (RegistryUnavailable, OSError, EnvtoolError):
                pass  # the breaker has said what there is to say; a layer that a gc took is no loss, nor a full disk
            finally:
                with self._turn:
                    self._working -= 1
                    self._turn.notify_all()

    def _push(self, parcel: Payload, outside: ClientContext, replace: bool) -> None:
        if not replace and self._breaker.call("look", lambda: self._is_pushed(parcel, outside)):
            return
        with temp_directory(outside.store) as top:
            path = os.path.join(top, "blob")
            said = parcel.pack(path)
            with self._turn:
                self._total += said.blob_size
            self._breaker.call(
                "put",
                lambda: registry_store.push_statement(
                    self._registry,
                    self._repository,
                    said,
                    path,
                    self._signer,
                    arch=outside.arch,
                    progress=self._add_progress,
                ),
            )
        self._counter.add(pushed=1, pushed_bytes=said.blob_size)

    def _is_pushed(self, parcel: Payload, outside: ClientContext) -> bool:
        asked = {"sort": parcel.sort, "key": parcel.key, "ids": outside.ids}
        try:
            return (
                registry_store.find_statement(self._registry, self._repository, **asked, trust=self._trust) is not None
            )
        except RefusedStatement:
            return False

    def _add_progress(self, count: int) -> None:
        with self._turn:
            self._done += count
            self._moved = time.monotonic()

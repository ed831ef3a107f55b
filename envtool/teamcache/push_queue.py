"""Pushes layers and results to the team cache in threads of its own: a build never waits for them.

A trusted statement under a tag stays, so that each item is uploaded once. One that is not trusted is replaced.
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
STALL_SECONDS = 60.0  # seconds without a byte after which the end of a command waits no longer
GRACE_SECONDS = 1.0  # seconds that the running uploads then have to end
MAX_SECONDS = 900.0  # seconds that the end of a command waits at most


class PushQueue:
    """Pushes payloads that are offered to it. Raises nothing: a payload that cannot be pushed is dropped."""

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
        """Number of payloads that are not pushed yet."""
        with self._turn:
            return len(self._queue) + self._working

    def offer(self, payload: Payload, context: ClientContext, *, replace: bool = False) -> None:
        """Queues a payload; with `replace` it is pushed also where a valid statement seems to be there."""
        with self._turn:
            if (payload.sort, payload.key) in self._offered or self._given_up:
                return
            self._offered.add((payload.sort, payload.key))
            self._queue.append((payload, context, replace))
            if self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="push", daemon=True).start()
            self._turn.notify_all()

    def finish(self, cancelled: Callable[[], bool], progress: Callable[[int, int], None]) -> int:
        """Waits until all payloads are pushed, or no byte moves any more; returns the number of those that are not
        pushed. `progress` gets the bytes that are done and the total."""
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
            remaining = len(self._queue) + self._working
            self._queue.clear()
            return 0 if self._breaker.is_open else remaining

    def _work(self) -> None:
        while True:
            with self._turn:
                while not self._queue:
                    self._turn.wait()
                payload, context, replace = self._queue.popleft()
                self._working += 1
                self._moved = time.monotonic()
            try:
                self._push(payload, context, replace)
            except (RegistryUnavailable, OSError, EnvtoolError):
                pass  # the breaker has reported it; a layer that gc removed, or a full disk, needs no message
            finally:
                with self._turn:
                    self._working -= 1
                    self._turn.notify_all()

    def _push(self, payload: Payload, context: ClientContext, replace: bool) -> None:
        if not replace and self._breaker.call("look", lambda: self._is_pushed(payload, context)):
            return
        with temp_directory(context.store) as top:
            path = os.path.join(top, "blob")
            statement = payload.pack(path)
            with self._turn:
                self._total += statement.blob_size
            self._breaker.call(
                "put",
                lambda: registry_store.push_statement(
                    self._registry,
                    self._repository,
                    statement,
                    path,
                    self._signer,
                    arch=context.arch,
                    progress=self._add_progress,
                ),
            )
        self._counter.add(pushed=1, pushed_bytes=statement.blob_size)

    def _is_pushed(self, payload: Payload, context: ClientContext) -> bool:
        query = {"sort": payload.sort, "key": payload.key, "ids": context.ids}
        try:
            return (
                registry_store.find_statement(self._registry, self._repository, **query, trust=self._trust) is not None
            )
        except RefusedStatement:
            return False

    def _add_progress(self, count: int) -> None:
        with self._turn:
            self._done += count
            self._moved = time.monotonic()

"""A team cache as one command uses it: asked for layers, given those that were built, closed at the end.

Whatever becomes of the registry, nothing here raises but Interrupted: what cannot be had is built, what cannot be given
away is not. What is said of it goes out as events of the subject `cache`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from envtool.errors import EnvtoolError, Interrupted
from envtool.events import Event, Finished, Progress, Started
from envtool.fs.sizes import format_size
from envtool.model import Json, TeamCache
from envtool.store.layers import Layer
from envtool.teamcache import payloads, registry_store, signatures, stats
from envtool.teamcache.circuit_breaker import CircuitBreaker, RegistryUnavailable
from envtool.teamcache.client_context import ClientContext
from envtool.teamcache.push_queue import PushQueue
from envtool.teamcache.statement import LAYER, RESULT, RefusedStatement, Statement


class TeamCacheClient:
    """The cache of one command. May be used from any thread."""

    def __init__(self, team: TeamCache, outside: ClientContext) -> None:
        self.name = team.registry
        self.results, self.network = team.results, team.network
        self.ids = outside.ids
        self._outside = outside
        self._trust = {signatures.strip_comment(line) for line in team.trust}
        self._counter = stats.StatsCounter()
        self._asking = CircuitBreaker(lambda why: self.say(f"left alone for this run: {why}"))
        self._asked: dict[tuple[str, str], Future[Statement | None]] = {}
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._signers: dict[str, str] = {}
        self._pusher = self._make_pusher(outside)

    def _make_pusher(self, outside: ClientContext) -> PushQueue | None:
        signer = outside.signer
        if signer is None:
            return None
        if signer.public not in self._trust:
            if self._trust:
                who = signatures.fingerprint(signer.public)
                self.say(f"nothing is pushed: `trust:` does not list the signing key, {who}")
            return None
        giving = CircuitBreaker(lambda why: self.say(f"nothing more is pushed in this run: {why}"))
        return PushQueue(outside.giving, outside.repository, signer, self._trust, giving, self._counter)

    # ---- asking

    def ask(self, key: str, name: str, sort: str = LAYER) -> Statement | None:
        """What is known there of a key, asked once; None where there is nothing that may be used. `name` is for what is
        said of a refusal. Raises Interrupted."""
        with self._lock:
            future = self._asked.get((sort, key))
            mine = future is None
            if future is None:
                future = self._asked[sort, key] = Future()
        if mine:
            try:
                future.set_result(self._ask(key, name, sort))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _ask(self, key: str, name: str, sort: str) -> Statement | None:
        outside = self._outside
        if not self._trust:
            self.say("nothing is used: `trust:` lists no key")
            return None
        try:
            found = self._asking.call(
                "look",
                lambda: registry_store.find_statement(
                    outside.registry, outside.repository, sort=sort, key=key, ids=outside.ids, trust=self._trust
                ),
            )
        except RefusedStatement as refused:
            self.refuse(key, name, refused)
            return None
        except RegistryUnavailable:
            return None
        if found is None:
            self._counter.add(misses=1)
            return None
        said, self._signers[key] = found
        return said

    def take(self, found: Statement, path: str, name: str, progress: Callable[[int], None]) -> bool:
        """The blob of a statement into a file; False where it cannot be had. Raises Interrupted."""
        outside = self._outside
        try:
            self._asking.call(
                "take",
                lambda: registry_store.fetch_blob(outside.registry, outside.repository, found, path, progress=progress),
            )
        except RefusedStatement as refused:
            self.refuse(found.key, name, refused)
            return False
        except RegistryUnavailable:
            return False
        except OSError as error:
            self.say(f"{name} could not be kept: {error.strerror}")
            return False
        return True

    def origin(self, found: Statement) -> dict[str, Json]:
        """What is noted of a layer that came from here."""
        return {"registry": self.name, "bytes": found.blob_size, "signed": self._signers[found.key]}

    def count_hit(self, found: Statement) -> None:
        """Count what was used."""
        self._counter.add(hits=1, pulled_bytes=found.blob_size)

    def refuse(self, key: str, name: str, refused: RefusedStatement) -> None:
        """Note that what is there for a key may not be used, and say so."""
        with self._lock:
            known = key in self._refusals
            self._refusals[key] = refused.why
            nothing: Future[Statement | None] = Future()
            nothing.set_result(None)
            self._asked[LAYER, key] = self._asked[RESULT, key] = nothing
        if not known:
            self._counter.add(refused=1)
            self.say(f"{name} refused: {refused.why}")

    def refusal(self, key: str) -> str:
        """Why what is there for a key was not used, empty where it was or nothing is there."""
        return self._refusals.get(key, "")

    # ---- giving

    @property
    def pushes(self) -> bool:
        """Whether what is built here is pushed."""
        return self._pusher is not None

    def offer(self, layer: Layer) -> None:
        """Push a layer that was built, behind the caller's back."""
        if self._pusher is not None:
            self.give(payloads.layer_payload(layer, self._outside.store, self.ids))

    def give(self, parcel: payloads.Payload) -> None:
        """Push something, behind the caller's back; what was refused here is replaced."""
        if self._pusher is not None:
            self._pusher.offer(parcel, self._outside, replace=parcel.key in self._refusals)

    # ---- the end

    def close(self) -> None:
        """Wait for what is being pushed, as long as it goes on; say and remember what came of it all."""
        outside = self._outside
        event_id, began = f"cache:{self.name}", time.time()
        if self._pusher is not None and self._pusher.waiting:
            self._emit(Started(id=event_id, subject="cache", name=self.name, time=began, detail="pushing"))
            left = self._pusher.finish(
                outside.cancelled, lambda done, total: self._emit(Progress(id=event_id, done=done, total=total))
            )
            if left:
                self.say(f"{left} not pushed: it went on for too long")
        counts = self._counter.counts
        if not counts:
            return
        with suppress(OSError, EnvtoolError, Interrupted):  # numbers that nobody will miss
            stats.add_run(outside.store, self.name, counts)
        now = time.time()
        self._finished(event_id, summary(counts), now, now - began)

    def say(self, text: str) -> None:
        """Tell something once."""
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
            number = len(self._said)
        self._finished(f"cache:{self.name}:{number}", text, time.time(), 0.0)

    def _finished(self, event_id: str, detail: str, now: float, seconds: float) -> None:
        self._emit(
            Finished(
                id=event_id, subject="cache", name=self.name, outcome="done", time=now, seconds=seconds, detail=detail
            )
        )

    def _emit(self, event: Event) -> None:
        self._outside.emit(event)


def summary(counts: stats.CacheCounts) -> str:
    """As in: 3 pulled, 12.1 MB; 1 pushed, 4.0 MB; 1 refused."""
    parts = [
        f"{number} {word}, {format_size(size)}"
        for number, word, size in (
            (counts.hits, "pulled", counts.pulled_bytes),
            (counts.pushed, "pushed", counts.pushed_bytes),
        )
        if number
    ]
    parts += [f"{counts.refused} refused"] if counts.refused else []
    parts += [f"{counts.misses} not there"] if counts.misses else []
    return "; ".join(parts)

"""The team cache of one command: pulls layers and results, pushes those that were made here, and closes at the end.

Failures of the registry raise nothing, only Interrupted is raised: a layer that cannot be pulled is built, and one that
cannot be pushed stays here. Messages go out as events of the subject `cache`.
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
    """The team cache of one command. Thread-safe."""

    def __init__(self, team: TeamCache, context: ClientContext) -> None:
        self.name = team.registry
        self.results, self.network = team.results, team.network
        self.ids = context.ids
        self._context = context
        self._trust = {signatures.strip_comment(line) for line in team.trust}
        self._counter = stats.StatsCounter()
        self._pull_breaker = CircuitBreaker(lambda why: self.say(f"left alone for this run: {why}"))
        self._answers: dict[tuple[str, str], Future[Statement | None]] = {}
        self._lock = threading.Lock()
        self._messages: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._signers: dict[str, str] = {}
        self._pusher = self._make_pusher(context)

    def _make_pusher(self, context: ClientContext) -> PushQueue | None:
        signer = context.signer
        if signer is None:
            return None
        if signer.public not in self._trust:
            if self._trust:
                fingerprint = signatures.fingerprint(signer.public)
                self.say(f"nothing is pushed: `trust:` does not list the signing key, {fingerprint}")
            return None
        breaker = CircuitBreaker(lambda why: self.say(f"nothing more is pushed in this run: {why}"))
        return PushQueue(context.giving, context.repository, signer, self._trust, breaker, self._counter)

    # ---- pulling

    def ask(self, key: str, name: str, sort: str = LAYER) -> Statement | None:
        """Returns the statement of a key, for which the registry is asked once; None where there is none that may be
        used. `name` stands in the message of a refusal. Raises Interrupted."""
        with self._lock:
            future = self._answers.get((sort, key))
            is_new = future is None
            if future is None:
                future = self._answers[sort, key] = Future()
        if is_new:
            try:
                future.set_result(self._ask(key, name, sort))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _ask(self, key: str, name: str, sort: str) -> Statement | None:
        context = self._context
        if not self._trust:
            self.say("nothing is used: `trust:` lists no key")
            return None
        try:
            answer = self._pull_breaker.call(
                "look",
                lambda: registry_store.find_statement(
                    context.registry, context.repository, sort=sort, key=key, ids=context.ids, trust=self._trust
                ),
            )
        except RefusedStatement as refused:
            self.refuse(key, name, refused)
            return None
        except RegistryUnavailable:
            return None
        if answer is None:
            self._counter.add(misses=1)
            return None
        statement, self._signers[key] = answer
        return statement

    def take(self, statement: Statement, path: str, name: str, progress: Callable[[int], None]) -> bool:
        """Pulls the blob of a statement into a file; False where that fails. Raises Interrupted."""
        context = self._context
        try:
            self._pull_breaker.call(
                "take",
                lambda: registry_store.fetch_blob(
                    context.registry, context.repository, statement, path, progress=progress
                ),
            )
        except RefusedStatement as refused:
            self.refuse(statement.key, name, refused)
            return False
        except RegistryUnavailable:
            return False
        except OSError as error:
            self.say(f"{name} could not be kept: {error.strerror}")
            return False
        return True

    def origin(self, statement: Statement) -> dict[str, Json]:
        """Returns the note for the layer.json of a layer that came from this cache."""
        return {"registry": self.name, "bytes": statement.blob_size, "signed": self._signers[statement.key]}

    def count_hit(self, statement: Statement) -> None:
        """Counts a statement that was used."""
        self._counter.add(hits=1, pulled_bytes=statement.blob_size)

    def refuse(self, key: str, name: str, refused: RefusedStatement) -> None:
        """Notes that the statement of a key may not be used, and reports it once."""
        with self._lock:
            is_reported = key in self._refusals
            self._refusals[key] = refused.why
            no_statement: Future[Statement | None] = Future()
            no_statement.set_result(None)
            self._answers[LAYER, key] = self._answers[RESULT, key] = no_statement
        if not is_reported:
            self._counter.add(refused=1)
            self.say(f"{name} refused: {refused.why}")

    def refusal(self, key: str) -> str:
        """Returns why the statement of a key was refused; empty where it was used, or there is none."""
        return self._refusals.get(key, "")

    # ---- pushing

    @property
    def pushes(self) -> bool:
        """Whether layers and results that are made here are pushed."""
        return self._pusher is not None

    def offer(self, layer: Layer) -> None:
        """Pushes a layer that was built, in another thread."""
        if self._pusher is not None:
            self.give(payloads.layer_payload(layer, self._context.store, self.ids, self._context.runner))

    def give(self, payload: payloads.Payload) -> None:
        """Pushes a payload in another thread; it replaces a statement that was refused here."""
        if self._pusher is not None:
            self._pusher.offer(payload, self._context, replace=payload.key in self._refusals)

    # ---- the end

    def close(self) -> None:
        """Waits until all is pushed, as long as bytes move; reports the counts of this run, and adds them to the
        store's."""
        context = self._context
        event_id, start = f"cache:{self.name}", time.time()
        if self._pusher is not None and self._pusher.waiting:
            self._emit(Started(id=event_id, subject="cache", name=self.name, time=start, detail="pushing"))
            remaining = self._pusher.finish(
                context.cancelled, lambda done, total: self._emit(Progress(id=event_id, done=done, total=total))
            )
            if remaining:
                self.say(f"{remaining} not pushed: it went on for too long")
        counts = self._counter.counts
        if not counts:
            return
        with suppress(OSError, EnvtoolError, Interrupted):  # the counts are not worth an error
            stats.add_run(context.store, self.name, counts)
        now = time.time()
        self._finished(event_id, summary(counts), now, now - start)

    def say(self, text: str) -> None:
        """Emits a message, once for each text."""
        with self._lock:
            if text in self._messages:
                return
            self._messages.add(text)
            number = len(self._messages)
        self._finished(f"cache:{self.name}:{number}", text, time.time(), 0.0)

    def _finished(self, event_id: str, detail: str, now: float, seconds: float) -> None:
        self._emit(
            Finished(
                id=event_id, subject="cache", name=self.name, outcome="done", time=now, seconds=seconds, detail=detail
            )
        )

    def _emit(self, event: Event) -> None:
        self._context.emit(event)


def summary(counts: stats.CacheCounts) -> str:
    """Returns the counts as text, as in: 3 pulled, 12.1 MB; 1 pushed, 4.0 MB; 1 refused."""
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

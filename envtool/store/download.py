"""Fetches -> blobs: in parallel, checked while they stream, each once on this machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait

from envtool import net
from envtool.api import Fetch
from envtool.errors import FetchError, Interrupted, StoreError
from envtool.events import Emit, Progress
from envtool.store import blobs, locks
from envtool.store.scratch import scratch
from envtool.store.store import Store

EVERY = 0.1  # seconds between two events
GRACE = 1.0  # seconds that transfers have to end after a failure or a cancel


class _Meter:
    """Bytes of all transfers together, told at most ten times a second."""

    def __init__(self, emit: Emit, event_id: str, total: int) -> None:
        self._emit, self._id, self._total = emit, event_id, total
        self._lock = threading.Lock()
        self._done = 0
        self._told = 0.0

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._told < EVERY:
                return
            self._told = now
            self._emit(Progress(id=self._id, done=self._done, total=max(self._total, self._done)))

    def end(self) -> None:
        with self._lock:
            self._emit(Progress(id=self._id, done=self._done, total=max(self._total, self._done)))


def download(
    fetches: Sequence[Fetch],
    store: Store,
    *,
    emit: Emit,
    event_id: str,
    jobs: int = 8,
    cancel: net.Cancelled | None = None,
    patience: net.Patience = net.PATIENCE,
) -> list[str]:
    """Bring all files into the store; their paths in the order given. Those that are there cost a stat each.

    Emits Progress (bytes) under `event_id`. The first failure ends all others. Raises FetchError, StoreError,
    Interrupted.
    """
    missing = {fetch.sha256: fetch for fetch in fetches if not blobs.has(store, fetch.sha256, fetch.size)}
    if missing:
        _fetch_all(list(missing.values()), store, emit, event_id, jobs, cancel, patience)
    return [blobs.path(store, fetch.sha256) for fetch in fetches]


def _fetch_all(
    missing: list[Fetch],
    store: Store,
    emit: Emit,
    event_id: str,
    jobs: int,
    cancel: net.Cancelled | None,
    patience: net.Patience,
) -> None:
    stop = threading.Event()
    meter = _Meter(emit, event_id, sum(fetch.size for fetch in missing))
    queue = iter(sorted(missing, key=lambda fetch: -fetch.size))  # the longest first: no straggler at the end
    turn = threading.Lock()

    def ended() -> bool:
        return stop.is_set() or (cancel is not None and cancel())

    def work(top: str) -> None:
        try:
            while not ended():
                with turn:
                    fetch = next(queue, None)
                if fetch is None:
                    return
                _one(fetch, store, top, meter, emit, event_id, ended, patience)
        finally:
            net.close()

    with scratch(store) as top:
        running = [_start(work, top) for _ in range(min(jobs, len(missing)))]
        try:
            while wait(running, timeout=0.05, return_when=FIRST_EXCEPTION).not_done:
                if ended() or any(future.done() and future.exception() for future in running):
                    break
        finally:
            stop.set()
            wait(running, timeout=GRACE)
    _judge(running, cancel)
    meter.end()


def _start(work: Callable[[str], None], top: str) -> Future[None]:
    """Run in a daemon thread: one that a dead server holds up must not hold up the end of the program."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work(top)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return future


def _judge(running: list[Future[None]], cancel: net.Cancelled | None) -> None:
    """Raise what went wrong first; the others were only told to stop."""
    errors = [error for future in running if future.done() and (error := future.exception()) is not None]
    real = [error for error in errors if not isinstance(error, Interrupted)]
    if real:
        raise real[0]
    if errors or (cancel is not None and cancel()) or not all(future.done() for future in running):
        raise Interrupted


def _one(
    fetch: Fetch,
    store: Store,
    top: str,
    meter: _Meter,
    emit: Emit,
    event_id: str,
    ended: net.Cancelled,
    patience: net.Patience,
) -> None:
    def waiting(holder: str) -> None:
        emit(net.note(event_id, f"waiting for another envtool ({holder}) to fetch {fetch.name}"))

    with locks.exclusive(store, f"blob-{fetch.sha256}", waiting=waiting, cancelled=ended):
        if blobs.has(store, fetch.sha256, fetch.size):
            meter.add(fetch.size)
            return
        path = os.path.join(top, fetch.sha256)
        try:
            net.retrieve(
                fetch.url,
                path,
                sha256=fetch.sha256,
                size=fetch.size,
                authorization=fetch.authorization,
                progress=meter.add,
                patience=patience,
                cancelled=ended,
            )
            blobs.put(store, path, fetch.sha256)
        except FetchError:
            raise
        except OSError as error:
            raise StoreError(
                f"{fetch.name} could not be kept in {store.root}: {error.strerror}",
                code="store-space",
                hint="make room, or let ENVTOOL_STORE name a place that has some",
            ) from error

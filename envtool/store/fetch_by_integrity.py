"""Downloads files that are known by another hash than sha256 into blobs, and returns them pinned by sha256."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait

from envtool import net
from envtool.api import Fetch, Sealed
from envtool.errors import FetchError, Interrupted, StoreError
from envtool.events import Emit, Progress
from envtool.model import Json
from envtool.net.integrity import integrity_digest
from envtool.store import answer_cache, blobs
from envtool.store.json_documents import is_count
from envtool.store.store import Store
from envtool.store.temp_dirs import temp_directory

JOBS = 8
GRACE = 1.0  # seconds that transfers have to end after a failure or a cancel


def fetch_sealed(
    sealed: Sequence[Sealed],
    store: Store,
    *,
    emit: Emit,
    event_id: str,
    cancel: net.Cancelled | None = None,
    patience: net.RetryPolicy = net.DEFAULT_RETRY_POLICY,
    files: net.OpenFile | None = None,
) -> list[Fetch]:
    """Returns a pinned Fetch for each file (see api.Site.learn). The sha256 that belongs to an integrity is remembered,
    and is used as long as its blob exists.

    Emits Progress (bytes) under `event_id`. Raises FetchError, Interrupted.
    """
    answers = [_find_known(item, store) for item in sealed]
    missing = {(item.integrity, item.urls): item for item, known in zip(sealed, answers, strict=True) if known is None}
    if missing:
        work = _SealedFetcher(store, emit, event_id, cancel, patience, files)
        learnt = dict(zip(missing, work.fetch_all([*missing.values()]), strict=True))
        answers = [
            known if known is not None else learnt[item.integrity, item.urls]
            for item, known in zip(sealed, answers, strict=True)
        ]
    return [
        Fetch(url=url, sha256=sha256, name=item.name, size=size, authorization=item.authorization)
        for item, (url, sha256, size) in zip(sealed, (each for each in answers if each), strict=True)
    ]


def _question(item: Sealed) -> Json:
    return {"digest": integrity_digest(item.integrity)}


def _find_known(item: Sealed, store: Store) -> tuple[str, str, int] | None:
    """Returns (URL, sha256, size) of a file that was fetched before, else None. Always None for a file without an
    integrity: its content may have changed."""
    if not integrity_digest(item.integrity):
        return None
    known = answer_cache.get(store, _question(item))
    try:
        sha256, size = known["sha256"], known["size"]
        is_stored = is_count(size) and blobs.has(store, sha256, size)
    except (LookupError, TypeError, StoreError):  # no answer is remembered, or one of another shape
        return None
    return (item.urls[0], sha256, size) if is_stored else None


class _SealedFetcher:
    """Downloads files in parallel."""

    def __init__(
        self,
        store: Store,
        emit: Emit,
        event_id: str,
        cancel: net.Cancelled | None,
        patience: net.RetryPolicy,
        files: net.OpenFile | None,
    ) -> None:
        self._files = files
        self._store, self._emit, self._id, self._patience = store, emit, event_id, patience
        self._cancel = cancel
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._done = self._count = 0

    def fetch_all(self, items: list[Sealed]) -> list[tuple[str, str, int]]:
        """Returns (URL, sha256, size) of each file, in order."""
        answers: list[tuple[str, str, int] | None] = [None] * len(items)
        queue = iter(range(len(items)))

        def work_off_queue(top: str) -> None:
            try:
                while not self._is_cancelled():
                    with self._turn:
                        index = next(queue, None)
                    if index is None:
                        return
                    answers[index] = self._fetch_one(items[index], os.path.join(top, str(index)))
                    with self._turn:
                        self._count += 1
            finally:
                net.close_session()

        with temp_directory(self._store) as top:
            running = [_start_daemon_thread(work_off_queue, top) for _ in range(min(JOBS, len(items)))]
            try:
                while wait(running, timeout=0.05, return_when=FIRST_EXCEPTION).not_done:
                    progress = Progress(
                        id=self._id, done=self._done, phase="fetching", count=self._count, of=len(items)
                    )
                    self._emit(progress)
                    if self._is_cancelled() or any(future.done() and future.exception() for future in running):
                        break
            finally:
                self._stop.set()
                wait(running, timeout=GRACE)
        errors = [error for future in running if future.done() and (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error
        finished = [answer for answer in answers if answer is not None]
        if len(finished) < len(items):
            raise Interrupted
        return finished

    def _is_cancelled(self) -> bool:
        return self._stop.is_set() or (self._cancel is not None and self._cancel())

    def _fetch_one(self, item: Sealed, path: str) -> tuple[str, str, int]:
        expected = integrity_digest(item.integrity)
        first_error: FetchError | None = None
        for number, url in enumerate(item.urls):
            try:
                size = net.download_file(
                    url,
                    path,
                    digest=expected,
                    size=item.size,
                    authorization="" if number else item.authorization,
                    progress=self._count_bytes,
                    patience=self._patience,
                    cancelled=self._is_cancelled,
                    files=self._files,
                )
            except FetchError as error:
                first_error = first_error or error
                continue
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            blobs.put(self._store, path, sha256)
            if expected:
                answer_cache.put(self._store, _question(item), {"sha256": sha256, "size": size})
            return url, sha256, size
        raise first_error or FetchError(f"{item.name}: nobody says where it is", code="fetch-url")

    def _count_bytes(self, count: int) -> None:
        self._done += count


def _start_daemon_thread(work: Callable[[str], None], top: str) -> Future[None]:
    """Runs `work` in a daemon thread: a thread that waits for a dead server must not delay the end of the program."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work(top)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="learn", daemon=True).start()
    return future

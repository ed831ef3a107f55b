"""Downloads pinned files into blobs, in parallel, with each file checked while it streams, once on this machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeAlias

from envtool import net
from envtool.api import Fetch
from envtool.errors import FetchError, Interrupted
from envtool.events import Emit, Progress
from envtool.store import blobs, disk_errors, fetch_sources, locks
from envtool.store.fetch_sources import FetchSource
from envtool.store.store import Store

FailedFetches: TypeAlias = dict[tuple[str, tuple[FetchSource, ...]], FetchError]  # by sha256 and sources
EVENT_INTERVAL = 0.1  # seconds between two events
GRACE = 0.3  # seconds that transfers have to end after a failure or a cancel


class _ProgressMeter:
    """Counts the bytes and files of all transfers together, and emits Progress at most ten times a second."""

    def __init__(self, emit: Emit, event_id: str, phase: str, fetches: Sequence[Fetch]) -> None:
        self._emit, self._id, self._phase = emit, event_id, phase
        self._total, self._of = sum(fetch.size for fetch in fetches), len(fetches)
        self._lock = threading.Lock()
        self._done = self._count = 0
        self._last_event = 0.0

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._last_event < EVENT_INTERVAL:
                return
            self._last_event = now
            self._emit_progress()

    def count_file(self) -> None:
        """Counts one file that is complete."""
        with self._lock:
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._emit_progress()

    def _emit_progress(self) -> None:
        total = max(self._total, self._done) if self._total else 0  # 0: no size is known
        progress = Progress(
            id=self._id, done=self._done, total=total, phase=self._phase, count=self._count, of=self._of
        )
        self._emit(progress)


def download(
    fetches: Sequence[Fetch],
    store: Store,
    *,
    emit: Emit,
    event_id: str,
    jobs: int = 8,
    cancel: net.Cancelled | None = None,
    patience: net.RetryPolicy = net.DEFAULT_RETRY_POLICY,
    vendor: str = "",
    files: net.OpenFile | None = None,
    phase: str = "fetching",
    failed: FailedFetches | None = None,
) -> list[str]:
    """Downloads files into the store; returns their paths in the order of `fetches`. A file that is stored already
    costs one stat.

    Each file is looked for in `vendor` (a folder, see fetch_sources.py), at its URL, its mirrors, and in ENVTOOL_BLOBS;
    `files` opens the paths of file URLs. Failures are noted in `failed`, and files noted there are not tried again.
    Emits Progress (bytes and files, of this `phase`) under `event_id`. The first failure stops all other transfers.
    Raises FetchError, StoreError, Interrupted.
    """
    missing = [*{fetch.sha256: fetch for fetch in fetches if not blobs.has(store, fetch.sha256, fetch.size)}.values()]
    if missing:
        blob_urls = fetch_sources.read_blobs_variable()
        work = [(fetch, fetch_sources.list_sources(fetch, vendor=vendor, blobs=blob_urls)) for fetch in missing]
        _BlobFetcher(store, emit, event_id, cancel, patience, files, failed).fetch_all(work, jobs, phase)
    return [blobs.path(store, fetch.sha256) for fetch in fetches]


def copy_local(
    fetches: Sequence[Fetch],
    store: Store,
    folders: Sequence[str],
    *,
    emit: Emit,
    event_id: str,
    cancel: net.Cancelled | None = None,
    files: net.OpenFile | None = None,
) -> None:
    """Copies files from local folders (see fetch_sources.py) into the store, without any network; files that are
    missing there or wrong are left to `download`. Raises StoreError, Interrupted."""
    missing = [fetch for fetch in fetches if not blobs.has(store, fetch.sha256, fetch.size)]
    work = [(fetch, sources) for fetch in missing if (sources := fetch_sources.local_sources(fetch, folders))]
    if not work:
        return
    fetcher = _BlobFetcher(store, emit, event_id, cancel, net.DEFAULT_RETRY_POLICY, files)
    meter = _ProgressMeter(emit, event_id, "fetching", [fetch for fetch, _ in work])
    for fetch, sources in work:
        try:
            fetcher.fetch_one(fetch, sources, meter)
        except FetchError:
            continue
    meter.end()


class _BlobFetcher:
    """Downloads files into the store in parallel."""

    def __init__(
        self,
        store: Store,
        emit: Emit,
        event_id: str,
        cancel: net.Cancelled | None,
        patience: net.RetryPolicy,
        files: net.OpenFile | None,
        failed: FailedFetches | None = None,
    ) -> None:
        self._store, self._emit, self._id, self._files = store, emit, event_id, files
        self._failed: FailedFetches = {} if failed is None else failed
        self._cancel, self._patience = cancel, patience
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._hosts = fetch_sources.UnreachableHosts()

    def _is_cancelled(self) -> bool:
        return self._stop.is_set() or (self._cancel is not None and self._cancel())

    def fetch_all(self, work: list[tuple[Fetch, tuple[FetchSource, ...]]], jobs: int, phase: str) -> None:
        """Downloads all files. Raises FetchError, StoreError, Interrupted."""
        meter = _ProgressMeter(self._emit, self._id, phase, [fetch for fetch, _ in work])
        queue = iter(sorted(work, key=lambda item: -item[0].size))  # the longest first: no straggler at the end

        def work_off_queue() -> None:
            try:
                while not self._is_cancelled():
                    with self._turn:
                        item = next(queue, None)
                    if item is None:
                        return
                    self.fetch_one(*item, meter)
            finally:
                net.close_session()

        blobs.remove_stale_partials(self._store)
        running = [_start_daemon_thread(work_off_queue) for _ in range(min(jobs, len(work)))]
        try:
            while wait(running, timeout=0.05, return_when=FIRST_EXCEPTION).not_done:
                if self._is_cancelled() or any(future.done() and future.exception() for future in running):
                    break
        finally:
            self._stop.set()
            wait(running, timeout=GRACE)
        _raise_first_error(running, self._cancel)
        meter.end()

    def fetch_one(self, fetch: Fetch, sources: tuple[FetchSource, ...], meter: _ProgressMeter) -> None:
        """Downloads one file. Raises FetchError, StoreError, Interrupted."""

        def waiting(holder: str) -> None:
            self._emit(net.note_event(self._id, f"waiting for another envtool ({holder}) to fetch {fetch.name}"))

        with locks.exclusive(self._store, f"blob-{fetch.sha256}", waiting=waiting, cancelled=self._is_cancelled):
            if blobs.has(self._store, fetch.sha256, fetch.size):
                meter.add(fetch.size)
                meter.count_file()
                return
            if (earlier := self._failed.get((fetch.sha256, sources))) is not None:
                raise FetchError(earlier.message, code=earlier.code, hint=earlier.hint, found=earlier.found)
            path = blobs.partial_path(self._store, fetch.sha256)
            failed: list[tuple[FetchSource, FetchError]] = []
            try:
                for source in sources:
                    try:
                        self._fetch_from(source, fetch, path, meter, last=source is sources[-1])
                    except FetchError as error:
                        self._hosts.note_failure(source.url, error)
                        failed.append((source, error))
                        if error.code in fetch_sources.MISMATCH_CODES:
                            os.unlink(path)
                    else:
                        blobs.put(self._store, path, fetch.sha256)
                        meter.count_file()
                        return
            except OSError as error:
                raise disk_errors.translate_os_error(self._store.root, error) or error from error
            failure = fetch_sources.fetch_failure(fetch, failed)
            # a copy: callers add to the error where in the spec the file is asked for
            copy = FetchError(failure.message, code=failure.code, hint=failure.hint, found=failure.found)
            self._failed[fetch.sha256, sources] = copy
            raise failure

    def _fetch_from(self, source: FetchSource, fetch: Fetch, path: str, meter: _ProgressMeter, *, last: bool) -> None:
        received = 0

        def progress(count: int) -> None:
            nonlocal received
            received += count
            meter.add(count)

        try:
            net.download_file(
                source.url,
                path,
                sha256=fetch.sha256,
                size=fetch.size,
                limit=fetch.limit,
                authorization=fetch.authorization if source.url == fetch.url else "",
                progress=progress,
                patience=self._hosts.retry_policy(source.url, self._patience, last=last),
                cancelled=self._is_cancelled,
                resume=True,
                files=self._files,
            )
        except BaseException:
            meter.add(-received)
            raise


def _start_daemon_thread(work: Callable[[], None]) -> Future[None]:
    """Runs `work` in a daemon thread: a thread that waits for a dead server must not delay the end of the program."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return future


def _raise_first_error(running: list[Future[None]], cancel: net.Cancelled | None) -> None:
    """Raises the first error; the other threads only have an Interrupted, since they were stopped."""
    errors = [error for future in running if future.done() and (error := future.exception()) is not None]
    failures = [error for error in errors if not isinstance(error, Interrupted)]
    if failures:
        raise failures[0]
    if errors or (cancel is not None and cancel()) or not all(future.done() for future in running):
        raise Interrupted

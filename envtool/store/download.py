"""Downloads pinned files into blobs, in parallel, with each file checked while it streams, once on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from envtool import net
from envtool.api import Fetch
from envtool.errors import FetchError
from envtool.events import Emit
from envtool.store import blobs, disk_errors, fetch_sources, locks
from envtool.store.fetch_pool import ProgressMeter, TransferPool
from envtool.store.fetch_sources import FetchSource
from envtool.store.store import Store

FailedFetches: TypeAlias = dict[tuple[str, tuple[FetchSource, ...]], FetchError]  # by sha256 and sources


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
        _BlobFetcher(store, emit, event_id, cancel, patience, files, failed, jobs=jobs).fetch_all(work, phase)
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
    meter = ProgressMeter(emit, event_id, "fetching", [fetch.size for fetch, _ in work])
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
        *,
        jobs: int = 1,
    ) -> None:
        self._store, self._emit, self._id, self._files = store, emit, event_id, files
        self._failed: FailedFetches = {} if failed is None else failed
        self._pool, self._patience = TransferPool(jobs, cancel), patience
        self._hosts = fetch_sources.UnreachableHosts()

    def fetch_all(self, work: list[tuple[Fetch, tuple[FetchSource, ...]]], phase: str) -> None:
        """Downloads all files. Raises FetchError, StoreError, Interrupted."""
        blobs.remove_stale_partials(self._store)
        meter = ProgressMeter(self._emit, self._id, phase, [fetch.size for fetch, _ in work])
        largest_first = sorted(work, key=lambda item: -item[0].size)  # no straggler at the end
        self._pool.run(largest_first, lambda item: self.fetch_one(*item, meter))
        meter.end()

    def fetch_one(self, fetch: Fetch, sources: tuple[FetchSource, ...], meter: ProgressMeter) -> None:
        """Downloads one file. Raises FetchError, StoreError, Interrupted."""

        def waiting(holder: str) -> None:
            self._emit(net.note_event(self._id, f"waiting for another envtool ({holder}) to fetch {fetch.name}"))

        with locks.exclusive(self._store, f"blob-{fetch.sha256}", waiting=waiting, cancelled=self._pool.is_cancelled):
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

    def _fetch_from(self, source: FetchSource, fetch: Fetch, path: str, meter: ProgressMeter, *, last: bool) -> None:
        with meter.transfer() as progress:
            net.download_file(
                source.url,
                path,
                sha256=fetch.sha256,
                size=fetch.size,
                limit=fetch.limit,
                authorization=fetch.authorization if source.url == fetch.url else "",
                progress=progress,
                patience=self._hosts.retry_policy(source.url, self._patience, last=last),
                cancelled=self._pool.is_cancelled,
                resume=True,
                files=self._files,
            )

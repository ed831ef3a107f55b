"""Downloads files that are known by another hash than sha256 into blobs, and returns them pinned by sha256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from envtool import net
from envtool.api import Fetch, Sealed
from envtool.errors import FetchError, StoreError
from envtool.events import Emit
from envtool.model import Json
from envtool.net.integrity import integrity_digest
from envtool.store import answer_cache, blobs
from envtool.store.fetch_pool import ProgressMeter, TransferPool
from envtool.store.json_documents import is_count
from envtool.store.store import Store
from envtool.store.temp_dirs import temp_directory

JOBS = 8
GRACE = 1.0  # seconds that transfers have to end after a failure or a cancel: their directory is removed then


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
    missing = {
        (item.integrity, item.urls): item for item, answer in zip(sealed, answers, strict=True) if answer is None
    }
    if missing:
        work = _SealedFetcher(store, emit, event_id, cancel, patience, files)
        learnt = dict(zip(missing, work.fetch_all([*missing.values()]), strict=True))
        answers = [
            answer if answer is not None else learnt[item.integrity, item.urls]
            for item, answer in zip(sealed, answers, strict=True)
        ]
    return [
        Fetch(url=url, sha256=sha256, name=item.name, size=size, authorization=item.authorization)
        for item, (url, sha256, size) in zip(sealed, (answer for answer in answers if answer), strict=True)
    ]


def _question(item: Sealed) -> Json:
    return {"digest": integrity_digest(item.integrity)}


def _find_known(item: Sealed, store: Store) -> tuple[str, str, int] | None:
    """Returns (URL, sha256, size) of a file that was fetched before, else None. Always None for a file without an
    integrity: its content may have changed."""
    if not integrity_digest(item.integrity):
        return None
    answer = answer_cache.get(store, _question(item))
    try:
        sha256, size = answer["sha256"], answer["size"]
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
        self._store, self._emit, self._id, self._patience, self._files = store, emit, event_id, patience, files
        self._pool = TransferPool(JOBS, cancel, grace=GRACE)

    def fetch_all(self, items: list[Sealed]) -> list[tuple[str, str, int]]:
        """Returns (URL, sha256, size) of each file, in order. Raises FetchError, Interrupted."""
        meter = ProgressMeter(self._emit, self._id, "fetching", [item.size for item in items])
        with temp_directory(self._store) as top:
            answers = self._pool.run(
                [*enumerate(items)],
                lambda numbered: self._fetch_one(numbered[1], os.path.join(top, str(numbered[0])), meter),
            )
        meter.end()
        return answers

    def _fetch_one(self, item: Sealed, path: str, meter: ProgressMeter) -> tuple[str, str, int]:
        expected = integrity_digest(item.integrity)
        first_error: FetchError | None = None
        for number, url in enumerate(item.urls):
            try:
                with meter.transfer() as progress:
                    size = net.download_file(
                        url,
                        path,
                        digest=expected,
                        size=item.size,
                        authorization="" if number else item.authorization,
                        progress=progress,
                        patience=self._patience,
                        cancelled=self._pool.is_cancelled,
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
            meter.count_file()
            return url, sha256, size
        raise first_error or FetchError(f"{item.name}: nobody says where it is", code="fetch-url")

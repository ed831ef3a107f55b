"""Whole files: attempt after attempt, until one is there as its hash says."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable
from typing import BinaryIO

from envtool.errors import FetchError, Interrupted
from envtool.net import host_config
from envtool.net.redact import redact_url
from envtool.net.transfer import (
    CHUNK,
    DEFAULT_RETRY_POLICY,
    MAX_UNKNOWN_SIZE,
    Cancelled,
    DownloadSink,
    OpenFile,
    Retry,
    RetryPolicy,
    check_cancelled,
    too_large_error,
    transfer,
    wait_or_cancel,
)

PROGRESS_BYTES = 1 << 16  # bytes: an attempt that brought a file this much further is no failure
HINT_CHANGED = "the file changed at its source, or something between rewrote it: look at what it is"
HINT_WEB_PAGE = "a login page, or a proxy's? look at the URL with a browser"


class MemorySink(DownloadSink):
    """All of it at once, up to `limit` bytes."""

    larger = ""

    def __init__(self, url: str, limit: int) -> None:
        self._url, self.limit = url, limit
        self.received = bytearray()

    def restart(self) -> None:
        self.received.clear()
        self.length = 0

    def write_piece(self, piece: bytes) -> None:
        self.received.extend(piece)
        self.length += len(piece)
        if self.length > self.limit:
            raise too_large_error(self._url, self)


class _VerifyingSink(DownloadSink):
    def __init__(
        self, url: str, out: BinaryIO, size: int, limit: int, algorithm: str, progress: Callable[[int], None]
    ) -> None:
        self._url, self._out, self._progress = url, out, progress
        self._algorithm = algorithm
        self.size, self.limit = size, limit
        self.digest = hashlib.new(algorithm, usedforsecurity=False)
        self.best = 0

    def adopt(self) -> None:
        """Go on where an earlier process ended: what it left is hashed, and judged with the rest."""
        while self.length <= self.limit and (piece := self._out.read(CHUNK)):
            self.digest.update(piece)
            self.length += len(piece)
        self._progress(self.length)
        if self.length > (self.size or self.limit):
            self.restart()
        self.best = self.length

    def restart(self) -> None:
        if self.length:
            self._progress(-self.length)
        self._out.seek(0)
        self._out.truncate()
        self.length = 0
        self.digest = hashlib.new(self._algorithm, usedforsecurity=False)

    def write_piece(self, piece: bytes) -> None:
        self._out.write(piece)
        self.digest.update(piece)
        self.length += len(piece)
        self.best = max(self.best, self.length)
        self._progress(len(piece))
        if self.size and self.length > self.size:
            text = f"{redact_url(self._url)}: larger than the {self.size} bytes that are pinned"
            raise FetchError(text, code="fetch-size")
        if self.length > self.limit:
            raise too_large_error(self._url, self)

    def mismatch_error(self, wanted: str) -> FetchError | None:
        """What is wrong with what is there, None when nothing is. `wanted` "": any hash will do."""
        found = self.digest.hexdigest()
        short = self.size and self.length != self.size
        if found == (wanted or found) and not short:
            return None
        what = f"{self.length} bytes, not the {self.size}" if short else f"{self._algorithm} is {found}, not the"
        what += " that are pinned" if short else f" pinned {wanted}"
        page = "a web page came instead of the file: " if self.is_web_page else ""
        code = "fetch-size" if short else "fetch-hash"
        return FetchError(
            f"{redact_url(self._url)}: {page}{what}",
            code=code,
            hint=HINT_WEB_PAGE if self.is_web_page else HINT_CHANGED,
            found="" if short or self.is_web_page else found,
        )


def read_url(
    url: str,
    *,
    limit: int = 64 << 20,
    patience: RetryPolicy = DEFAULT_RETRY_POLICY,
    cancelled: Cancelled | None = None,
    files: OpenFile | None = None,
) -> bytes:
    """A small file whole; `files` opens what file URLs name (gate.py). Raises FetchError (also when it is larger than
    `limit` bytes), Interrupted."""
    sink = MemorySink(url, limit)

    def attempt() -> None:
        sink.restart()
        transfer(url, sink, patience, cancelled, files=files)

    run_abandonable(lambda: run_with_retries(url, attempt, lambda: 0, patience, cancelled), cancelled)
    return bytes(sink.received)


def download_file(
    url: str,
    path: str,
    *,
    sha256: str = "",
    digest: str = "",
    size: int = 0,
    limit: int = 0,
    authorization: str = "",
    progress: Callable[[int], None] | None = None,
    patience: RetryPolicy = DEFAULT_RETRY_POLICY,
    cancelled: Cancelled | None = None,
    resume: bool = False,
    files: OpenFile | None = None,
) -> int:
    """Write an exact file to `path`, checked while it streams; its size in bytes. With `resume` it goes on where the
    file at `path` ends, if there is one.

    It must have this `sha256`, or `digest` ("<algorithm of hashlib>:<hex>"); with neither, what comes is believed.
    Where there is no `size`, no more than `limit` bytes are taken (0: LARGEST).
    `authorization` is the header of that name, which does not follow to another host; `files` opens what file URLs
    name. A transfer that breaks is resumed where it broke; the hash tells whether the two halves belong together, and
    when they do not, it is never resumed again. `progress` gets the bytes that arrived since its last call (negative
    when it starts over). Raises FetchError (codes fetch-unreachable, fetch-hash, fetch-size, fetch-large, and those of
    `transfer.transfer`), Interrupted.
    """
    algorithm, _, wanted = (digest or f"sha256:{sha256}").partition(":")
    with open(path, "r+b" if resume and os.path.exists(path) else "w+b") as out:
        sink = _VerifyingSink(url, out, size, size or limit or MAX_UNKNOWN_SIZE, algorithm, progress or _ignore)
        sink.adopt()
        if sink.length and wanted and sink.mismatch_error(wanted) is None:
            return sink.length
        whole = not wanted or (bool(size) and sink.length == size)  # without a hash nobody could tell two halves apart

        def attempt() -> None:
            nonlocal whole
            if whole:
                sink.restart()
            offset = sink.length
            transfer(url, sink, patience, cancelled, authorization, files)
            wrong = sink.mismatch_error(wanted)
            if wrong is None:
                return
            if offset:
                whole = True
                sink.restart()
                raise Retry("the resumed file is not what its hash says", after=0.0)
            if not sink.has_known_end:  # perhaps only cut short, which nothing would have told
                sink.restart()
                raise Retry("the file is not what its hash says", verdict=wrong)
            raise wrong

        run_with_retries(url, attempt, lambda: sink.best, patience, cancelled)
        return sink.length


def run_with_retries(
    url: str,
    attempt: Callable[[], None],
    reached: Callable[[], int],
    patience: RetryPolicy,
    cancelled: Cancelled | None,
) -> None:
    """Attempt after attempt while they raise Retry, as patience has it. Raises FetchError, Interrupted."""
    failures = 0
    while True:
        check_cancelled(cancelled)
        before = reached()
        try:
            return attempt()
        except Retry as reason:
            far = reached() - before >= PROGRESS_BYTES and not reason.slow
            failures = 1 if far else failures + 1
            if failures >= patience.attempts:
                if reason.verdict is not None:
                    raise reason.verdict from reason
                message = f"{redact_url(url)}: {reason.why} ({failures} attempt{'s' if failures > 1 else ''})"
                raise FetchError(message, code="fetch-unreachable", hint=reason.hint) from reason
            pause = patience.pause * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
            if reason.after is not None:
                pause = reason.after
            wait_or_cancel(min(pause, patience.longest), cancelled)


def run_abandonable(work: Callable[[], None], cancelled: Cancelled | None) -> None:
    """Do it in a thread that a cancel leaves behind: a socket that waits for a dead server cannot be told to stop."""
    if cancelled is None:
        work()
        return
    kept = host_config.session()
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            host_config.adopt_session(kept)
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="get", daemon=True).start()
    while not ended.wait(0.05):
        if cancelled():
            host_config.forget_session()
            raise Interrupted
    if errors:
        raise errors[0]


def _ignore(_: int) -> None:
    pass

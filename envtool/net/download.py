"""Downloads whole files, with retries and resumption, and checks their hashes."""

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

PROGRESS_BYTES = 1 << 16  # an attempt that received so many bytes does not count as a failure
HINT_CHANGED = "the file changed at its source, or something between rewrote it: look at what it is"
HINT_WEB_PAGE = "a login page, or a proxy's? look at the URL with a browser"


class MemorySink(DownloadSink):
    """Collects a small file in memory, up to `limit` bytes."""

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
    """Writes a file to disk and hashes it while it arrives."""

    def __init__(
        self, url: str, out: BinaryIO, size: int, limit: int, algorithm: str, progress: Callable[[int], None]
    ) -> None:
        self._url, self._out, self._progress = url, out, progress
        self._algorithm = algorithm
        self.size, self.limit = size, limit
        self.digest = hashlib.new(algorithm, usedforsecurity=False)
        self.best = 0

    def adopt(self) -> None:
        """Continues the file of an earlier process: its content is hashed like what arrives later."""
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

    def mismatch_error(self, expected: str) -> FetchError | None:
        """Returns the error if size or hash of the file are wrong, else None. `expected` "": any hash is right."""
        actual = self.digest.hexdigest()
        has_wrong_size = self.size and self.length != self.size
        if actual == (expected or actual) and not has_wrong_size:
            return None
        difference = (
            f"{self.length} bytes, not the {self.size}" if has_wrong_size else f"{self._algorithm} is {actual}, not the"
        )
        difference += " that are pinned" if has_wrong_size else f" pinned {expected}"
        prefix = "a web page came instead of the file: " if self.is_web_page else ""
        code = "fetch-size" if has_wrong_size else "fetch-hash"
        return FetchError(
            f"{redact_url(self._url)}: {prefix}{difference}",
            code=code,
            hint=HINT_WEB_PAGE if self.is_web_page else HINT_CHANGED,
            found="" if has_wrong_size or self.is_web_page else actual,
        )


def read_url(
    url: str,
    *,
    limit: int = 64 << 20,
    patience: RetryPolicy = DEFAULT_RETRY_POLICY,
    cancelled: Cancelled | None = None,
    files: OpenFile | None = None,
) -> bytes:
    """Returns the content of a small file. `files` opens the path of a file URL (project/host_access.py). Raises
    FetchError (also if the file has more than `limit` bytes), Interrupted."""
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
    """Downloads an exact file to `path`, checked while it arrives. Returns its size in bytes. With `resume`, an
    existing file at `path` is continued.

    The file must have this `sha256`, or `digest` ("<algorithm of hashlib>:<hex>"); with neither, any content is
    accepted. If `size` is 0, at most `limit` bytes are accepted (0: MAX_UNKNOWN_SIZE). `authorization` is the header of
    that name, which is not sent to another host after a redirect; `files` opens the path of a file URL. A broken
    transfer is resumed. If the hash shows that the two parts are not of one file, the download starts again and is
    never resumed. `progress` gets the number of bytes that arrived since its last call (negative if the download starts
    again). Raises FetchError (codes fetch-unreachable, fetch-hash, fetch-size, fetch-large, and those of
    `transfer.transfer`), Interrupted.
    """
    algorithm, _, expected = (digest or f"sha256:{sha256}").partition(":")
    with open(path, "r+b" if resume and os.path.exists(path) else "w+b") as out:
        sink = _VerifyingSink(url, out, size, size or limit or MAX_UNKNOWN_SIZE, algorithm, progress or _ignore)
        sink.adopt()
        if sink.length and expected and sink.mismatch_error(expected) is None:
            return sink.length
        from_start = not expected or (
            bool(size) and sink.length == size
        )  # without a hash a resumed file is not checked

        def attempt() -> None:
            nonlocal from_start
            if from_start:
                sink.restart()
            offset = sink.length
            transfer(url, sink, patience, cancelled, authorization, files)
            mismatch = sink.mismatch_error(expected)
            if mismatch is None:
                return
            if offset:
                from_start = True
                sink.restart()
                raise Retry("the resumed file is not what its hash says", after=0.0)
            if not sink.has_known_end:  # the file may have been cut off, which the response would not show
                sink.restart()
                raise Retry("the file is not what its hash says", verdict=mismatch)
            raise mismatch

        run_with_retries(url, attempt, lambda: sink.best, patience, cancelled)
        return sink.length


def run_with_retries(
    url: str,
    attempt: Callable[[], None],
    reached: Callable[[], int],
    patience: RetryPolicy,
    cancelled: Cancelled | None,
) -> None:
    """Calls `attempt` until it does not raise Retry, as often as `patience` allows. `reached` returns the bytes
    received so far. Raises FetchError, Interrupted."""
    failures = 0
    while True:
        check_cancelled(cancelled)
        before = reached()
        try:
            return attempt()
        except Retry as reason:
            advanced = reached() - before >= PROGRESS_BYTES and not reason.slow
            failures = 1 if advanced else failures + 1
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
    """Calls `work` in a thread. If the run is cancelled, returns without that thread: a socket that waits for a dead
    server cannot be interrupted. Raises what `work` raises, and Interrupted."""
    if cancelled is None:
        work()
        return
    session = host_config.session()
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            host_config.adopt_session(session)
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

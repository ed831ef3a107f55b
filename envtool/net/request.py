"""One request and its answer, whatever its method: for services that speak HTTP, where a status is information."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from envtool.errors import FetchError
from envtool.net.download import MemorySink, run_abandonable, run_with_retries
from envtool.net.host_config import ca_bundle, session
from envtool.net.redact import redact_url
from envtool.net.transfer import (
    DEFAULT_RETRY_POLICY,
    RETRY_STATUSES,
    AuthorizationHeader,
    Cancelled,
    Retry,
    RetryPolicy,
    check_cancelled,
    retry_after,
    stream_body,
    translate_errors,
)

BODILESS = frozenset({204, 304})
STATUS_HINTS = {429: "it limits how often it is asked: log in, wait, or name a mirror"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What came: header names are in lower case, `url` is the one that answered after all redirects."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    url: str


class UploadBody:
    """`size` bytes of a file from `offset` on, as a request's body. `progress` gets what was read of it since its last
    call (negative when it is read again)."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        *,
        offset: int = 0,
        progress: Callable[[int], None] | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        self._file, self._size, self._offset = file, size, offset
        self._progress, self._cancelled = progress, cancelled
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> UploadBody:  # what requests knows a stream by
        return self

    def __next__(self) -> bytes:
        piece = self.read(1 << 16)
        if not piece:
            raise StopIteration
        return piece

    def tell(self) -> int:
        """Bytes that were read."""
        return self._at

    def seek(self, position: int) -> None:
        """Read again from there: after a redirect, or for another attempt."""
        if self._progress is not None and position != self._at:
            self._progress(position - self._at)
        self._at = position

    def read(self, count: int = -1) -> bytes:
        """The next bytes; b"" at the end. Raises Interrupted."""
        check_cancelled(self._cancelled)
        left = self._size - self._at
        self._file.seek(self._offset + self._at)
        piece = self._file.read(left if count < 0 else min(count, left))
        self._at += len(piece)
        if piece and self._progress is not None:
            self._progress(len(piece))
        return piece


def send_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | UploadBody = b"",
    authorization: str = "",
    limit: int = 4 << 20,
    again: bool = True,
    patience: RetryPolicy = DEFAULT_RETRY_POLICY,
    cancelled: Cancelled | None = None,
) -> HttpResponse:
    """Ask once more while the connection breaks or the server is busy (408, 425, 429, 5xx), unless not `again`; any
    other status is an answer. Redirects are followed as `host.session` has it; no `authorization` follows to another
    host, and ~/.netrc takes no part.

    Raises FetchError (codes fetch-unreachable, fetch-large for an answer of more than `limit` bytes, and those of
    `transfer.transfer`), Interrupted.
    """
    found: list[HttpResponse] = []
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{redact_url(url)}: not an http or https URL", code="fetch-url")

    def attempt() -> None:
        if isinstance(body, UploadBody):
            body.seek(0)
        found[:] = [_send_once(method, url, dict(headers or {}), body, authorization, limit, patience, cancelled)]

    def work() -> None:
        if again:
            run_with_retries(url, attempt, lambda: 0, patience, cancelled)
            return
        try:
            attempt()
        except Retry as reason:
            raise FetchError(f"{redact_url(url)}: {reason.why}", code="fetch-unreachable", hint=reason.hint) from reason

    run_abandonable(work, cancelled)
    return found[0]


def _send_once(
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes | UploadBody,
    authorization: str,
    limit: int,
    patience: RetryPolicy,
    cancelled: Cancelled | None,
) -> HttpResponse:
    sink = MemorySink(url, limit)
    with (
        translate_errors(url, patience),
        session().request(
            method,
            url,
            headers={"Accept-Encoding": "identity"} | headers,
            data=body or None,
            auth=AuthorizationHeader(authorization),
            stream=True,
            allow_redirects=True,
            timeout=(patience.connect, patience.read),
            verify=ca_bundle() or True,
        ) as answer,
    ):
        if answer.status_code in RETRY_STATUSES:
            after = retry_after(answer.headers.get("Retry-After", ""))
            raise Retry(
                f"HTTP {answer.status_code} {answer.reason}", after=after, hint=STATUS_HINTS.get(answer.status_code, "")
            )
        if method != "HEAD" and answer.status_code not in BODILESS:
            stream_body(url, answer, sink, patience, cancelled)
        return HttpResponse(
            status=answer.status_code,
            reason=str(answer.reason or ""),
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=bytes(sink.received),
            url=str(answer.url),
        )

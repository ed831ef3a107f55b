"""Sends one request of any method and returns its response: for services that speak HTTP, whose status has a
meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass
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
    """A response. Names in `headers` are in lower case; `url` is the URL after all redirects."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    url: str


class UploadBody:
    """A request's body: `size` bytes of a file, from `offset` on. `progress` gets the number of bytes that were read
    since its last call (negative if they are read again)."""

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

    def __iter__(self) -> UploadBody:  # requests recognizes a stream by this method
        return self

    def __next__(self) -> bytes:
        piece = self.read(1 << 16)
        if not piece:
            raise StopIteration
        return piece

    def tell(self) -> int:
        """Returns how many bytes were read."""
        return self._at

    def seek(self, position: int) -> None:
        """Sets the position of the next read, after a redirect or for another attempt."""
        if self._progress is not None and position != self._at:
            self._progress(position - self._at)
        self._at = position

    def read(self, count: int = -1) -> bytes:
        """Returns the next bytes; b"" at the end. Raises Interrupted."""
        check_cancelled(self._cancelled)
        remaining = self._size - self._at
        self._file.seek(self._offset + self._at)
        piece = self._file.read(remaining if count < 0 else min(count, remaining))
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
    """Sends a request and returns the response. Repeats it, unless `again` is False, while the connection breaks or the
    server is busy (408, 425, 429, 5xx); returns the response with any other status. Follows redirects as
    `host_config.session` does; `authorization` is not sent to another host, and ~/.netrc is not used.

    Raises FetchError (codes fetch-unreachable, fetch-large for a response of more than `limit` bytes, and those of
    `transfer.transfer`), Interrupted.
    """
    responses: list[HttpResponse] = []
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{redact_url(url)}: not an http or https URL", code="fetch-url")

    def attempt() -> None:
        if isinstance(body, UploadBody):
            body.seek(0)
        responses[:] = [_send_once(method, url, dict(headers or {}), body, authorization, limit, patience, cancelled)]

    def work() -> None:
        if again:
            run_with_retries(url, attempt, lambda: 0, patience, cancelled)
            return
        try:
            attempt()
        except Retry as reason:
            raise FetchError(f"{redact_url(url)}: {reason.why}", code="fetch-unreachable", hint=reason.hint) from reason

    run_abandonable(work, cancelled)
    return responses[0]


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
        ) as response,
    ):
        if response.status_code in RETRY_STATUSES:
            after = retry_after(response.headers.get("Retry-After", ""))
            raise Retry(
                f"HTTP {response.status_code} {response.reason}",
                after=after,
                hint=STATUS_HINTS.get(response.status_code, ""),
            )
        if method != "HEAD" and response.status_code not in BODILESS:
            stream_body(url, response, sink, patience, cancelled)
        return HttpResponse(
            status=response.status_code,
            reason=str(response.reason or ""),
            headers={name.lower(): value for name, value in response.headers.items()},
            body=bytes(sink.received),
            url=str(response.url),
        )

"""Makes one attempt to download a file: checks the response, hands on what arrives, and says whether to try again."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from envtool.errors import FetchError, Interrupted, UsageError
from envtool.events import Progress
from envtool.fs.sizes import format_size, natural
from envtool.lazy_dataclass import dataclass
from envtool.net.host_config import ca_bundle, session
from envtool.net.redact import innermost_reason, is_proxy_error, redact_url
from envtool.project import host_access

if TYPE_CHECKING:
    import requests

Cancelled: TypeAlias = Callable[[], bool]
OpenFile: TypeAlias = Callable[[str], BinaryIO]  # absolute path -> a regular file, opened; raises EnvtoolError, OSError

RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
GONE_STATUSES = frozenset({404, 410})
CHUNK = 1 << 17
PROXY_REFUSAL = re.compile(r"tunnel connection failed: (4(?!08|25|29)\d\d .*)", re.IGNORECASE)
HINT_PROXY = "the proxy is taken from the environment: https_proxy, http_proxy, no_proxy"
HINT_BUNDLE = "if a proxy of yours signs it, let SSL_CERT_FILE name a bundle with its authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long to try; times in seconds. An attempt that received PROGRESS_BYTES does not count."""

    attempts: int = 5
    pause: float = 0.5  # before the second attempt; doubled for each further attempt
    longest: float = 30.0  # the longest pause, also if Retry-After asks for more
    connect: float = 15.0
    read: float = 30.0  # the longest time without a byte
    slow: float = 1024.0  # bytes a second: an attempt that stays below it for `read` seconds fails


DEFAULT_RETRY_POLICY = RetryPolicy()


class Retry(Exception):  # noqa: N818 - a reason to try again, not an error yet
    """An attempt failed, and another may succeed. `after` is the pause in seconds (None: by RetryPolicy). `slow`: the
    attempt counts as a failure however many bytes it received. `verdict` is the error to raise after the last attempt
    (None: an error with the text `why`)."""

    def __init__(
        self,
        why: str,
        *,
        after: float | None = None,
        hint: str = "",
        slow: bool = False,
        verdict: FetchError | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.after = after
        self.hint = hint
        self.slow = slow
        self.verdict = verdict


MAX_UNKNOWN_SIZE = 8 << 30  # bytes of a file whose size is not known beforehand, unless `limit` says more


class DownloadSink:
    """Receives a file. It has `length` bytes so far, should have `size` (0: unknown), and accepts at most `limit`.
    `is_web_page`: the last response was a web page. `has_known_end`: the last response was framed, so that a broken
    connection is not taken for its end.
    """

    size = 0
    limit = MAX_UNKNOWN_SIZE
    larger = "if it is what you want, say how large it may be: `limit:`"  # the hint of the error about the limit
    length = 0
    is_web_page = False
    has_known_end = True

    def restart(self) -> None:
        """Discards what was received."""
        raise NotImplementedError

    def write_piece(self, piece: bytes) -> None:
        """Appends bytes. Raises FetchError if the file becomes too large."""
        raise NotImplementedError


def too_large_error(url: str, sink: DownloadSink) -> FetchError:
    """Returns the error about a file that is larger than the sink's limit."""
    return FetchError(f"{redact_url(url)}: more than {format_size(sink.limit)}", code="fetch-large", hint=sink.larger)


def check_cancelled(cancelled: Cancelled | None) -> None:
    """Raises Interrupted if the run was cancelled."""
    if cancelled is not None and cancelled():
        raise Interrupted


class AuthorizationHeader:
    """Sets the header Authorization to a value ("": no header). It is passed as `auth` to requests, because requests
    uses ~/.netrc otherwise."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def transfer(
    url: str,
    sink: DownloadSink,
    patience: RetryPolicy,
    cancelled: Cancelled | None,
    authorization: str = "",
    files: OpenFile | None = None,
) -> None:
    """Makes one attempt: continues at the sink's length if the server supports ranges, else starts again. `files` opens
    the path of a file URL (project/host_access.py); without it, file URLs are refused.

    Raises Retry, FetchError (codes fetch-gone, fetch-status, fetch-size, fetch-tls, fetch-url, fetch-redirect,
    fetch-file), Interrupted.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "file":
        sink.restart()
        _copy_file(url, sink, cancelled, files)
        return
    if scheme not in ("http", "https"):
        raise FetchError(f"{redact_url(url)}: not an http, https or file URL", code="fetch-url")
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={sink.length}-"} if sink.length else {})
    with (
        translate_errors(url, patience),
        session().get(
            url,
            headers=headers,
            auth=AuthorizationHeader(authorization) if authorization else _url_credentials(url),
            stream=True,
            timeout=(patience.connect, patience.read),
            verify=ca_bundle() or True,
        ) as response,
    ):
        _check_response(url, response, sink, authorization)
        stream_body(url, response, sink, patience, cancelled)


@contextlib.contextmanager
def translate_errors(url: str, patience: RetryPolicy) -> Iterator[None]:
    """Turns errors of the libraries into Retry, if another attempt may succeed, else into FetchError."""
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.SSLError as error:
        raise _tls_error(url, error) from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise Retry(f"no answer for {patience.read:g} s") from error
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.TooManyRedirects,
    ) as error:
        raise FetchError(f"{redact_url(url)}: {innermost_reason(error)}", code="fetch-url") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        why = innermost_reason(error)
        if refusal := PROXY_REFUSAL.match(why):  # the proxy refused, so the server was never asked
            raise FetchError(
                f"{redact_url(url)}: the proxy says HTTP {refusal[1]}", code="fetch-status", hint=HINT_PROXY
            ) from error
        raise Retry(why, hint=HINT_PROXY if is_proxy_error(error) else _connection_hint(why)) from error


def _connection_hint(why: str) -> str:
    """Returns the probable reason why there was no connection, as a hint; "" if none is known."""
    if "refused" in why:
        return "is anything listening there?"
    if re.search("name or service|name resolution|no address associated|nodename", why):
        return "is the host's name right, and has this machine a network?"
    return ""


def _tls_error(url: str, error: Exception) -> Exception:
    """Returns FetchError for a certificate, which another attempt does not change, and Retry for a handshake that was
    cut off, which is a broken connection like any other."""
    import ssl

    inner: BaseException | None = error
    reasons: list[BaseException] = []
    while inner is not None and inner not in reasons:
        reasons.append(inner)
        causes = [item for item in (getattr(inner, "reason", None), *inner.args) if isinstance(item, BaseException)]
        inner = causes[0] if causes else inner.__cause__ or inner.__context__
    if any(isinstance(reason, ssl.SSLCertVerificationError) for reason in reasons):
        text = f"{redact_url(url)}: the certificate is not trusted: {innermost_reason(error)}"
        return FetchError(text, code="fetch-tls", hint=HINT_BUNDLE)
    if any(isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError) for reason in reasons):
        return Retry(innermost_reason(error))
    return FetchError(
        f"{redact_url(url)}: no secure connection: {innermost_reason(error)}", code="fetch-tls", hint=HINT_BUNDLE
    )


def _check_response(url: str, response: requests.Response, sink: DownloadSink, authorization: str) -> None:
    """Checks a response before its body is read, and restarts the sink unless the body continues it. Raises Retry,
    FetchError."""
    status = response.status_code
    content_range = response.headers.get("Content-Range", "")
    sink.is_web_page = response.headers.get("Content-Type", "").partition(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    )
    if status == 206 and sink.length:
        total = content_range.rpartition("/")[2]
        if content_range.startswith(f"bytes {sink.length}-") and (not sink.size or total in ("*", str(sink.size))):
            return
        sink.restart()
        raise Retry("another part of the file came than was asked for")
    if status == 416 and sink.length:
        sink.restart()
        raise Retry("the file cannot be resumed", after=0.0)
    if status in RETRY_STATUSES:
        raise Retry(f"HTTP {status} {response.reason}", after=retry_after(response.headers.get("Retry-After", "")))
    if status != 200:
        hint, code = "", "fetch-status"
        if status in (401, 403, 407):
            hint = "credentials are taken from the URL, ~/.netrc and the proxy variables"
            if authorization:
                hint = "the authorization does not cover this file, or has expired: try again"
        elif status in GONE_STATUSES:
            code, hint = "fetch-gone", "nothing is there (any more): is the URL right, or the mirror out of date?"
        raise FetchError(f"{redact_url(url)}: HTTP {status} {response.reason}", code=code, hint=hint)
    sink.restart()


def stream_body(
    url: str, response: requests.Response, sink: DownloadSink, patience: RetryPolicy, cancelled: Cancelled | None
) -> None:
    """Writes the body of a response to the sink. Raises Retry if it is cut off or too slow, FetchError, Interrupted."""
    text = response.headers.get("Content-Length", "")
    length = natural(text)
    expected = length if length is not None else -1
    sink.has_known_end = expected >= 0 or "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    start = sink.length
    if sink.size and expected >= 0 and start + expected > sink.size:
        prefix = "a web page came instead of the file: " if sink.is_web_page else ""
        text = f"{redact_url(url)}: {prefix}{start + expected} bytes, not the {sink.size} that are pinned"
        raise FetchError(text, code="fetch-size")
    if expected >= 0 and start + expected > sink.limit:
        raise too_large_error(url, sink)
    interval_start, interval_length = time.monotonic(), start
    while piece := _read(response):
        sink.write_piece(piece)
        check_cancelled(cancelled)
        now = time.monotonic()
        if now - interval_start >= patience.read:
            if sink.length - interval_length < patience.slow * (now - interval_start):
                rate = (sink.length - interval_length) / (now - interval_start)
                raise Retry(f"only {rate:.0f} bytes a second came", slow=True)
            interval_start, interval_length = now, sink.length
    arrived = sink.length - start
    if 0 <= arrived < expected or (sink.size and sink.length < sink.size and expected < 0):
        raise Retry(f"the connection ended after {sink.length} of {sink.size or start + expected} bytes")


def _read(response: requests.Response) -> bytes:
    """Returns the bytes that have arrived, undecoded: the pinned hash is of the `.gz` file itself, even if the server
    labels it as a content encoding."""
    if hasattr(response.raw, "read1"):  # urllib3 >= 2.1; `read` waits until its buffer is full
        return bytes(response.raw.read1(CHUNK, decode_content=False))
    return bytes(response.raw.read(CHUNK >> 4, decode_content=False))


def retry_after(value: str) -> float | None:
    """Returns the seconds to wait by a header Retry-After, which has seconds or a date (RFC 9110, 10.2.3), or None."""
    if (seconds := natural(value)) is not None:
        return float(seconds)
    if not value:
        return None
    import email.utils

    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _url_credentials(url: str) -> tuple[str, str] | None:
    """Returns user and password in a URL, or None. They come before ~/.netrc, which requests alone would prefer."""
    from requests.utils import get_auth_from_url

    credentials = get_auth_from_url(url)
    return credentials if any(credentials) else None


def _copy_file(url: str, sink: DownloadSink, cancelled: Cancelled | None, files: OpenFile | None) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"{redact_url(url)}: a file URL names no host: file:///path", code="fetch-url")
    if files is None:
        raise FetchError(f"{redact_url(url)}: file URLs are not read here", code="fetch-url")
    try:
        with files(urllib.parse.unquote(parts.path)) as file:
            for piece in host_access.read_chunks(file):
                sink.write_piece(piece)
                check_cancelled(cancelled)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchError(f"{redact_url(url)}: {error.strerror}", code="fetch-gone") from error
    except OSError as error:
        raise FetchError(f"{redact_url(url)}: {error.strerror}", code="fetch-file") from error
    except UsageError as error:
        raise FetchError(f"{redact_url(url)}: {error.message}", code=error.code, hint=error.hint) from None


def wait_or_cancel(seconds: float, cancelled: Cancelled | None) -> None:
    """Sleeps for some seconds. Raises Interrupted as soon as the run is cancelled."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        check_cancelled(cancelled)
        time.sleep(min(remaining, 0.1))


def note_event(event_id: str, text: str) -> Progress:
    """Returns an event with a note, for a piece of work that waits."""
    return Progress(id=event_id, note=text)

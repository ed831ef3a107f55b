"""One attempt at one file: what the server says is judged, what arrives handed on, what may be tried again told."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from envtool.errors import FetchError, Interrupted, UsageError
from envtool.events import Progress
from envtool.fs.sizes import format_size, natural
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
    """How long we try, in seconds. An attempt that brought the file well further does not count."""

    attempts: int = 5
    pause: float = 0.5  # before the second attempt, doubled each time
    longest: float = 30.0  # also of what Retry-After may ask
    connect: float = 15.0
    read: float = 30.0  # without a byte
    slow: float = 1024.0  # bytes a second: an attempt that stays below it for `read` seconds is given up


DEFAULT_RETRY_POLICY = RetryPolicy()


class Retry(Exception):  # noqa: N818 - a reason, not an error yet
    """An attempt failed in a way that another may not. `slow`: it counts, however far it came; `verdict` is the error
    when none does better (None: one is made of `why`)."""

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
    """Where a file goes. `length` bytes are there; `size` is what there should be (0: unknown); at most `limit` are
    taken. The last answer was a web `page`, and was `framed`: its end could be told from a connection that broke.
    """

    size = 0
    limit = MAX_UNKNOWN_SIZE
    larger = "if it is what you want, say how large it may be: `limit:`"  # what to do about a limit
    length = 0
    is_web_page = False
    has_known_end = True

    def restart(self) -> None:
        """Forget what is there."""
        raise NotImplementedError

    def write_piece(self, piece: bytes) -> None:
        """Append. May raise FetchError: it is enough."""
        raise NotImplementedError


def too_large_error(url: str, sink: DownloadSink) -> FetchError:
    """The error about a file that is larger than anything that was asked for."""
    return FetchError(f"{redact_url(url)}: more than {format_size(sink.limit)}", code="fetch-large", hint=sink.larger)


def check_cancelled(cancelled: Cancelled | None) -> None:
    """Raise Interrupted when the end was asked for."""
    if cancelled is not None and cancelled():
        raise Interrupted


class AuthorizationHeader:
    """The header Authorization as it was given ("": none): as an `auth` of requests, so that no ~/.netrc takes its
    place."""

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
    """One attempt: from where the sink is on if the server can, else from the start. `files` opens what file URLs name
    (gate.py); without it none is read.

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
        ) as answer,
    ):
        _check_response(url, answer, sink, authorization)
        stream_body(url, answer, sink, patience, cancelled)


@contextlib.contextmanager
def translate_errors(url: str, patience: RetryPolicy) -> Iterator[None]:
    """What the libraries raise, as Retry where another attempt may do better, else as FetchError."""
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
        if refused := PROXY_REFUSAL.match(why):  # by the proxy, before there is a server to ask
            raise FetchError(
                f"{redact_url(url)}: the proxy says HTTP {refused[1]}", code="fetch-status", hint=HINT_PROXY
            ) from error
        raise Retry(why, hint=HINT_PROXY if is_proxy_error(error) else _connection_hint(why)) from error


def _connection_hint(why: str) -> str:
    """What is probably wrong where no connection came about."""
    if "refused" in why:
        return "is anything listening there?"
    if re.search("name or service|name resolution|no address associated|nodename", why):
        return "is the host's name right, and has this machine a network?"
    return ""


def _tls_error(url: str, error: Exception) -> Exception:
    """A certificate is wrong for good; a handshake that was cut off is a broken connection like any other."""
    import ssl

    inner: BaseException | None = error
    reasons: list[BaseException] = []
    while inner is not None and inner not in reasons:
        reasons.append(inner)
        found = [item for item in (getattr(inner, "reason", None), *inner.args) if isinstance(item, BaseException)]
        inner = found[0] if found else inner.__cause__ or inner.__context__
    if any(isinstance(reason, ssl.SSLCertVerificationError) for reason in reasons):
        text = f"{redact_url(url)}: the certificate is not trusted: {innermost_reason(error)}"
        return FetchError(text, code="fetch-tls", hint=HINT_BUNDLE)
    if any(isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError) for reason in reasons):
        return Retry(innermost_reason(error))
    return FetchError(
        f"{redact_url(url)}: no secure connection: {innermost_reason(error)}", code="fetch-tls", hint=HINT_BUNDLE
    )


def _check_response(url: str, answer: requests.Response, sink: DownloadSink, authorization: str) -> None:
    """Judge an answer before its body: afterwards the body goes on at the sink's length."""
    status = answer.status_code
    where = answer.headers.get("Content-Range", "")
    sink.is_web_page = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() in (
        "text/html",
        "application/xhtml+xml",
    )
    if status == 206 and sink.length:
        whole = where.rpartition("/")[2]
        if where.startswith(f"bytes {sink.length}-") and (not sink.size or whole in ("*", str(sink.size))):
            return
        sink.restart()
        raise Retry("another part of the file came than was asked for")
    if status == 416 and sink.length:
        sink.restart()
        raise Retry("the file cannot be resumed", after=0.0)
    if status in RETRY_STATUSES:
        raise Retry(f"HTTP {status} {answer.reason}", after=retry_after(answer.headers.get("Retry-After", "")))
    if status != 200:
        hint, code = "", "fetch-status"
        if status in (401, 403, 407):
            hint = "credentials are taken from the URL, ~/.netrc and the proxy variables"
            if authorization:
                hint = "what let us in does not let us have this, or has ended: try again"
        elif status in GONE_STATUSES:
            code, hint = "fetch-gone", "nothing is there (any more): is the URL right, or the mirror out of date?"
        raise FetchError(f"{redact_url(url)}: HTTP {status} {answer.reason}", code=code, hint=hint)
    sink.restart()


def stream_body(
    url: str, answer: requests.Response, sink: DownloadSink, patience: RetryPolicy, cancelled: Cancelled | None
) -> None:
    """The body of an answer into the sink. Raises Retry where it is cut short or too slow, FetchError, Interrupted."""
    text = answer.headers.get("Content-Length", "")
    length = natural(text)
    expected = length if length is not None else -1
    sink.has_known_end = expected >= 0 or "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    start = sink.length
    if sink.size and expected >= 0 and start + expected > sink.size:
        what = "a web page came instead of the file: " if sink.is_web_page else ""
        text = f"{redact_url(url)}: {what}{start + expected} bytes, not the {sink.size} that are pinned"
        raise FetchError(text, code="fetch-size")
    if expected >= 0 and start + expected > sink.limit:
        raise too_large_error(url, sink)
    began, before = time.monotonic(), start
    while piece := _read(answer):
        sink.write_piece(piece)
        check_cancelled(cancelled)
        now = time.monotonic()
        if now - began >= patience.read:
            if sink.length - before < patience.slow * (now - began):
                rate = (sink.length - before) / (now - began)
                raise Retry(f"only {rate:.0f} bytes a second came", slow=True)
            began, before = now, sink.length
    arrived = sink.length - start
    if 0 <= arrived < expected or (sink.size and sink.length < sink.size and expected < 0):
        raise Retry(f"the connection ended after {sink.length} of {sink.size or start + expected} bytes")


def _read(answer: requests.Response) -> bytes:
    """What has arrived, undecoded: a `.gz` that a server labels as an encoding is what was pinned all the same."""
    if hasattr(answer.raw, "read1"):  # urllib3 >= 2.1; `read` waits until its buffer is full
        return bytes(answer.raw.read1(CHUNK, decode_content=False))
    return bytes(answer.raw.read(CHUNK >> 4, decode_content=False))


def retry_after(value: str) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
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
    """User and password that stand in a URL: they come before ~/.netrc, which requests would take first."""
    from requests.utils import get_auth_from_url

    found = get_auth_from_url(url)
    return found if any(found) else None


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
    """Sleep, but for no longer than nobody asks for the end. Raises Interrupted."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_cancelled(cancelled)
        time.sleep(min(left, 0.1))


def note_event(event_id: str, text: str) -> Progress:
    """An event that says what a piece of work is waiting for."""
    return Progress(id=event_id, note=text)

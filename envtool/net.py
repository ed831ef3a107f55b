"""The one door to the network: http(s) and file URLs, by the host's proxies, netrc and certificate authorities.

`requests`, kept as one session a thread; imported when the first URL is asked for, since most runs ask for none.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from envtool import __version__
from envtool.errors import FetchError, Interrupted
from envtool.events import Progress

if TYPE_CHECKING:
    import requests

Cancelled: TypeAlias = Callable[[], bool]

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "PIP_CERT")
CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
CONTAINER_CA_VARIABLES = (*CA_VARIABLES, "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO", "GIT_SSL_CAINFO")
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
CHUNK = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long we try, in seconds. An attempt that brought the file further than any before does not count."""

    attempts: int = 5
    pause: float = 0.5  # before the second attempt, doubled each time
    longest: float = 30.0  # also of what Retry-After may ask
    connect: float = 15.0
    read: float = 30.0  # without a byte


PATIENCE = Patience()


class _Retry(Exception):  # noqa: N818 - a reason, not an error yet
    """An attempt failed in a way that another may not."""

    def __init__(self, why: str, *, after: float | None = None, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.after = after
        self.hint = hint


def note(event_id: str, text: str) -> Progress:
    """An event that says what a piece of work is waiting for."""
    return Progress(id=event_id, note=text)


def get(url: str, *, limit: int = 64 << 20, patience: Patience = PATIENCE, cancelled: Cancelled | None = None) -> bytes:
    """A small file whole. Raises FetchError (also when it is larger than `limit` bytes), Interrupted."""
    held = bytearray()

    def restart() -> None:
        held.clear()

    def take(piece: bytes) -> None:
        held.extend(piece)
        if len(held) > limit:
            raise FetchError(f"{redacted(url)}: more than {limit} bytes", code="fetch-large")

    _retrying(url, lambda: _transfer(url, 0, 0, restart, take, patience, cancelled), lambda: 0, patience, cancelled)
    return bytes(held)


def retrieve(
    url: str,
    path: str,
    *,
    sha256: str = "",
    digest: str = "",
    size: int = 0,
    authorization: str = "",
    progress: Callable[[int], None] | None = None,
    patience: Patience = PATIENCE,
    cancelled: Cancelled | None = None,
) -> int:
    """Write an exact file to `path`, checked while it streams; its size in bytes.

    It must have this `sha256`, or `digest` ("<algorithm of hashlib>:<hex>"); with neither, what comes is believed.
    `authorization` is the header of that name, which does not follow to another host. A transfer that breaks is resumed
    where it broke. `progress` gets the bytes that arrived since its last call (negative when it starts over). Raises
    FetchError (codes fetch, fetch-hash, fetch-size, fetch-status, fetch-tls), Interrupted.
    """
    with open(path, "wb") as out:
        algorithm, _, wanted = (digest or f"sha256:{sha256}").partition(":")
        found = hashlib.new(algorithm, usedforsecurity=False)
        best = 0

        def restart() -> None:
            nonlocal found
            if progress is not None and out.tell():
                progress(-out.tell())
            out.seek(0)
            out.truncate()
            found = hashlib.new(algorithm, usedforsecurity=False)

        def take(piece: bytes) -> None:
            nonlocal best
            out.write(piece)
            found.update(piece)
            best = max(best, out.tell())
            if progress is not None:
                progress(len(piece))
            if size and out.tell() > size:
                raise FetchError(f"{redacted(url)}: larger than the {size} bytes that are pinned", code="fetch-size")

        resumed = False

        def attempt() -> None:
            nonlocal resumed
            offset = out.tell()
            _transfer(url, offset, size, restart, take, patience, cancelled, authorization)
            if (not wanted or found.hexdigest() == wanted) and (not size or out.tell() == size):
                return
            if offset and not resumed:  # the server may have changed the file between the two halves
                resumed = True
                restart()
                raise _Retry("the resumed file is not what its hash says", after=0.0)
            raise _wrong(url, f"{algorithm} is {found.hexdigest()}, not the pinned {wanted}", out.tell(), size)

        _retrying(url, attempt, lambda: best, patience, cancelled)
        return out.tell()


def _wrong(url: str, what: str, length: int, size: int) -> FetchError:
    hint = "the file changed at its source, or something between rewrote it: resolve again, or look at what it is"
    if size and length != size:
        return FetchError(
            f"{redacted(url)}: {length} bytes, not the {size} that are pinned", code="fetch-size", hint=hint
        )
    return FetchError(f"{redacted(url)}: {what}", code="fetch-hash", hint=hint)


def _retrying(
    url: str, attempt: Callable[[], None], reached: Callable[[], int], patience: Patience, cancelled: Cancelled | None
) -> None:
    failures = 0
    while True:
        _check(cancelled)
        before = reached()
        try:
            return attempt()
        except _Retry as reason:
            failures = 1 if reached() > before else failures + 1
            if failures >= patience.attempts:
                message = f"{redacted(url)}: {reason.why} ({failures} attempts)"
                raise FetchError(message, code="fetch", hint=reason.hint) from reason
            pause = patience.pause * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
            if reason.after is not None:
                pause = reason.after
            _sleep(min(pause, patience.longest), cancelled)


def _check(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise Interrupted


def _sleep(seconds: float, cancelled: Cancelled | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _check(cancelled)
        time.sleep(min(left, 0.1))


def _transfer(
    url: str,
    offset: int,
    size: int,
    restart: Callable[[], None],
    take: Callable[[bytes], None],
    patience: Patience,
    cancelled: Cancelled | None,
    authorization: str = "",
) -> None:
    """One attempt: from `offset` on where the server can, else from the start.

    Raises _Retry, FetchError, Interrupted.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "file":
        restart()
        _copy(url, take, cancelled)
        return
    if scheme not in ("http", "https"):
        raise FetchError(f"{redacted(url)}: not an http, https or file URL", code="fetch-url")
    import requests
    import urllib3

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with session().get(
            url,
            headers=headers,
            auth=_Authorization(authorization) if authorization else None,
            stream=True,
            timeout=(patience.connect, patience.read),
            verify=certificates() or True,
        ) as answer:
            if not _positioned(url, answer, offset, restart):
                offset = 0
            length = answer.headers.get("Content-Length", "")
            expected = int(length) if length.isdigit() else -1
            if size and expected >= 0 and offset + expected > size:
                raise FetchError(
                    f"{redacted(url)}: {offset + expected} bytes, not the {size} that are pinned", code="fetch-size"
                )
            arrived = 0
            while piece := _read(answer):
                arrived += len(piece)
                take(piece)
                _check(cancelled)
            if 0 <= arrived < expected or (size and offset + arrived < size and expected < 0):
                raise _Retry(f"the connection ended after {offset + arrived} of {size or offset + expected} bytes")
    except requests.exceptions.SSLError as error:
        raise FetchError(
            f"{redacted(url)}: the certificate is not trusted: {_root(error)}",
            code="fetch-tls",
            hint="if a proxy of yours signs it, let SSL_CERT_FILE name a bundle with its authority",
        ) from error
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.TooManyRedirects,
    ) as error:
        raise FetchError(f"{redacted(url)}: {_root(error)}", code="fetch-url") from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _Retry(f"no answer for {patience.read:g} s") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        hint = "the proxy is taken from the environment: https_proxy, http_proxy, no_proxy" if _is_proxy(error) else ""
        raise _Retry(_root(error), hint=hint) from error


class _Authorization:
    """The header as it was given: as an `auth` of requests, so that no ~/.netrc takes its place."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _read(answer: requests.Response) -> bytes:
    """What has arrived, undecoded: a `.gz` that a server labels as an encoding is what was pinned all the same."""
    if hasattr(answer.raw, "read1"):  # urllib3 >= 2.1; `read` waits until its buffer is full
        return bytes(answer.raw.read1(CHUNK, decode_content=False))
    return bytes(answer.raw.read(CHUNK >> 4, decode_content=False))


def _positioned(url: str, answer: requests.Response, offset: int, restart: Callable[[], None]) -> bool:
    """Judge the answer's status; whether its body goes on at `offset` (else it begins at the start)."""
    status = answer.status_code
    if status == 206 and offset:
        if answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            return True
        restart()
        raise _Retry("another part of the file came than was asked for")
    if status == 416 and offset:
        restart()
        raise _Retry("the file cannot be resumed", after=0.0)
    if status in AGAIN:
        raise _Retry(f"HTTP {status} {answer.reason}", after=_retry_after(answer.headers.get("Retry-After", "")))
    if status != 200:
        hint = ""
        if status in (401, 403, 407):
            hint = "credentials are taken from the URL, ~/.netrc and the proxy variables"
        elif status in (404, 410):
            hint = "it is not there (any more): resolve again, or name another mirror"
        raise FetchError(f"{redacted(url)}: HTTP {status} {answer.reason}", code="fetch-status", hint=hint)
    restart()
    return False


def _retry_after(value: str) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    if value.isdigit():
        return float(value)
    if not value:
        return None
    import email.utils

    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _copy(url: str, take: Callable[[bytes], None], cancelled: Cancelled | None) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"{redacted(url)}: a file URL names no host: file:///path", code="fetch-url")
    path = urllib.parse.unquote(parts.path)
    try:
        with open(path, "rb") as file:
            while piece := file.read(CHUNK):
                take(piece)
                _check(cancelled)
    except OSError as error:
        raise FetchError(f"{redacted(url)}: {error.strerror}", code="fetch-file") from error


# ---- the host's settings --------------------------------------------------------------------------------------------

_local = threading.local()


def session() -> requests.Session:
    """The session of this thread: connections are kept. Proxies and netrc come from the environment."""
    kept: requests.Session | None = getattr(_local, "session", None)
    if kept is None:
        import requests

        kept = requests.Session()
        kept.headers["User-Agent"] = f"envtool/{__version__}"
        _local.session = kept
    return kept


def close() -> None:
    """Give this thread's connections back."""
    kept: requests.Session | None = getattr(_local, "session", None)
    if kept is not None:
        kept.close()
        del _local.session


def certificates() -> str:
    """The bundle of authorities this host trusts: named by a variable, else the system's; empty where there is none.

    It is handed to requests with each call: a session's `verify` is ignored when REQUESTS_CA_BUNDLE is set.
    Raises FetchError when a variable names nothing.
    """
    for name in CA_VARIABLES:
        path = os.environ.get(name)
        if path:
            if not os.path.exists(path):
                raise FetchError(f"{name} names {path}, which is not there", code="fetch-tls", hint=f"unset {name}")
            return path
    return next((path for path in CA_FILES if os.path.isfile(path)), "")


def container_settings() -> tuple[dict[str, str], str]:
    """Variables that give a container with network the host's proxies and authorities, and the bundle's path: to be
    shown in the container at that very path. Never part of a key or a layer."""
    variables: dict[str, str] = {}
    for name in PROXY_VARIABLES:
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value:
            variables |= {name: value, name.upper(): value}
    bundle = certificates()
    if bundle:
        bundle = os.path.realpath(bundle)
        if os.path.isfile(bundle):
            variables |= dict.fromkeys(CONTAINER_CA_VARIABLES, bundle)
        else:
            bundle = ""  # a hashed directory: few programs take one by these names
    return variables, bundle


# ---- words ----------------------------------------------------------------------------------------------------------

SECRET = re.compile(
    r"token|secret|password|passwd|signature|credential|^sig$|^auth|api_?key|access_?key", re.IGNORECASE
)


def redacted(url: str) -> str:
    """A URL as it may be shown: without user, password, and values that look like keys."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "(a malformed URL)"
    netloc = f"***@{host}" if "@" in parts.netloc else host
    query = "&".join(
        f"{name}=***" if equal and SECRET.search(urllib.parse.unquote(name)) else f"{name}{equal}{value}"
        for name, equal, value in (pair.partition("=") for pair in parts.query.split("&"))
    )
    return urllib.parse.urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _root(error: BaseException) -> str:
    """The innermost reason, without the URL (and its secrets) that the libraries put around it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        inner = inner or error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    if type(error).__name__ == "IncompleteRead":
        return "the connection ended before the file did"
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    text = re.sub(r"\b(\w+)://[^\s/@]+@", r"\1://***@", text)
    return (text[:1].lower() + text[1:]).rstrip(".")


def _is_proxy(error: BaseException) -> bool:
    import requests

    return isinstance(error, requests.exceptions.ProxyError)

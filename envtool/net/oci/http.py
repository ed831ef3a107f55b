"""One request to a registry: the header that lets us in, and what a status means."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NoReturn

from envtool import net
from envtool.errors import FetchError
from envtool.net import Cancelled, HttpResponse, RetryPolicy, UploadBody
from envtool.net.oci.auth import RegistryAuth, login_hint
from envtool.net.oci.documents import ACCEPTED
from envtool.net.oci.hosts import INSECURE, Endpoint

NOT_TLS = re.compile(r"wrong.version.number|record.layer.failure|http.request|unknown.protocol", re.IGNORECASE)


class RegistryTransport:
    """Requests of one client, from any thread."""

    def __init__(self, *, patience: RetryPolicy, cancelled: Cancelled | None, plain: Callable[[str], bool]) -> None:
        self.patience, self.cancelled = patience, cancelled
        self.plain = plain  # may plain HTTP be spoken with this host[:port]?
        self.tokens = RegistryAuth(patience=patience, cancelled=cancelled)
        self._asked: set[tuple[str, str]] = set()
        self._plain: dict[str, bool] = {}  # by host: does it really speak plain HTTP?
        self._lock = threading.Lock()

    def resolve_scheme(self, endpoint: Endpoint) -> Endpoint:
        """Where plain HTTP is allowed, but the server there speaks https: that, verified as any. Asked once a host."""
        if not endpoint.plain:
            return endpoint
        with self._lock:
            plain = self._plain.get(endpoint.host)
        if plain is None:
            plain = True
            with contextlib.suppress(FetchError):
                waits = dataclasses.replace(self.retry_policy(endpoint), attempts=1)
                answer = net.send_request("GET", endpoint.root, again=False, patience=waits, cancelled=self.cancelled)
                plain = not (answer.status == 400 and b"HTTPS" in answer.body)  # as Go's, nginx's and Apache's say it
            with self._lock:
                self._plain[endpoint.host] = plain
        return dataclasses.replace(endpoint, plain=plain)

    def send(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        *,
        actions: str = "pull",
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | UploadBody = b"",
        limit: int = 4 << 20,
        again: bool = True,
    ) -> HttpResponse:
        """Ask below /v2/REPOSITORY/ (or at a whole URL, where an earlier answer sent us), and once more with new
        authorization after a 401. Any status is an answer.

        Raises FetchError: codes registry-insecure, registry-token, registry-denied (by the token service), and those
        of `net.exchange`.
        """
        url = path if "://" in path else f"{endpoint.root}{endpoint.repository}/{path}"
        ours = same_origin(url, endpoint.root)
        wanted = (f"repository:{endpoint.repository}:{actions}", *scopes)
        refused = self.tokens.header(endpoint, wanted) if ours else ""

        def once(authorization: str) -> HttpResponse:
            try:
                return net.send_request(
                    method, url, headers=headers, body=body, authorization=authorization, limit=limit, again=again,
                    patience=self.retry_policy(endpoint), cancelled=self.cancelled,
                )  # fmt: skip
            except FetchError as error:
                if not endpoint.plain and error.code == "fetch-tls" and NOT_TLS.search(error.message):
                    raise insecure_error(endpoint) from error
                raise

        answer = once(refused)
        if answer.status == 401 and ours and same_origin(answer.url, endpoint.root):
            header = self.tokens.answer_challenge(endpoint, answer.headers.get("www-authenticate", ""), wanted, refused)
            if header:
                answer = once(header)
        with self._lock:
            self._asked.add((endpoint.root, endpoint.repository))
        return answer

    def location(self, answer: HttpResponse, endpoint: Endpoint) -> str:
        """Where an upload goes on, "" where nothing is said. Raises FetchError where that is by plain HTTP to a host
        that nobody allowed that for."""
        given = answer.headers.get("location", "")
        if not given:
            return ""
        url = urllib.parse.urljoin(answer.url, given)
        parts = urllib.parse.urlsplit(url)
        plain = parts.scheme == "http" and self.plain(parts.netloc)
        if not same_origin(url, endpoint.root) and parts.scheme != "https" and not plain:
            text = f"{endpoint.host}: sends an upload to {parts.netloc}, not by https"
            hint = f"if that is right: {INSECURE}={parts.netloc}, or `insecure = true` in registries.conf"
            raise FetchError(text, code="registry-refused", hint=hint)
        return url

    def authorization(self, endpoint: Endpoint, selector: str) -> str:
        """The header for a blob of this repository, learnt by asking for `selector` (a tag or digest) where nothing
        was asked before. Raises FetchError (code registry-denied)."""
        with self._lock:
            known = (endpoint.root, endpoint.repository) in self._asked
        if not known:
            path = f"manifests/{selector}" if selector else "tags/list?n=1"
            headers = {"Accept": ", ".join(ACCEPTED)}
            answer = self.send("HEAD" if selector else "GET", endpoint, path, headers=headers)
            if answer.status in (401, 403):
                self.raise_for_status(answer, endpoint, f"{endpoint.host}/{endpoint.repository}")
        return self.tokens.header(endpoint, (f"repository:{endpoint.repository}:pull",))

    def retry_policy(self, endpoint: Endpoint) -> RetryPolicy:
        """How long we try there: a mirror is not tried for long, since it can be done without."""
        attempts = min(2, self.patience.attempts) if endpoint.mirror else self.patience.attempts
        return dataclasses.replace(self.patience, attempts=attempts)

    def pause(self, failures: int) -> None:
        """Wait before another attempt. Raises Interrupted."""
        net.wait_or_cancel(min(self.patience.pause * 2 ** (failures - 1), self.patience.longest), self.cancelled)

    def raise_for_status(self, answer: HttpResponse, endpoint: Endpoint, what: str) -> NoReturn:
        """The error that a status is. `what` names what was asked for."""
        said = _registry_message(answer)
        status = f"HTTP {answer.status} {answer.reason}".strip() + (f": {said}" if said else "")
        status = self.tokens.redact_secrets("".join(character for character in status if character.isprintable())[:300])
        if answer.status == 404:
            raise FetchError(f"{what}: {endpoint.host} does not have it ({status})", code="registry-missing")
        if answer.status in (401, 403):
            hint = login_hint(endpoint, self.tokens.credentials(endpoint))
            hint = f"it does not exist, or not for us: {hint}" if answer.status == 401 else hint
            raise FetchError(f"{what}: {endpoint.host} refuses it ({status})", code="registry-denied", hint=hint)
        raise FetchError(f"{what}: {endpoint.host} answers {status}", code="registry-refused")


def same_origin(url: str, other: str) -> bool:
    """Are two URLs of one scheme, host and port?"""
    return urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(other)[:2]


def insecure_error(endpoint: Endpoint) -> FetchError:
    """The error about a registry that speaks plain HTTP."""
    hint = f"if that is right: {INSECURE}={endpoint.registry}, or `insecure = true` in registries.conf"
    text = f"{endpoint.registry} speaks plain HTTP, or no TLS that is known, and nobody allowed that"
    return FetchError(text, code="registry-insecure", hint=hint)


def _registry_message(answer: HttpResponse) -> str:
    """What the registry itself says of an error."""
    try:
        errors = json.loads(answer.body)["errors"]
        texts = [str(item.get("message") or item.get("code") or "") for item in errors[:3]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return ", ".join(filter(None, texts))

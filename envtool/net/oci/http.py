"""Sends one request to a registry with its authorization, and turns a status into an error."""

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
    """Sends the requests of one client, from any thread."""

    def __init__(self, *, patience: RetryPolicy, cancelled: Cancelled | None, plain: Callable[[str], bool]) -> None:
        self.patience, self.cancelled = patience, cancelled
        self.plain = plain  # whether plain HTTP to this host[:port] is allowed
        self.tokens = RegistryAuth(patience=patience, cancelled=cancelled)
        self._contacted: set[tuple[str, str]] = set()  # roots and repositories that got a request
        self._plain: dict[str, bool] = {}  # host -> whether it speaks plain HTTP
        self._lock = threading.Lock()

    def resolve_scheme(self, endpoint: Endpoint) -> Endpoint:
        """Returns the endpoint with https, verified as usual, if plain HTTP is allowed but the server speaks https.
        Each host is asked once."""
        if not endpoint.plain:
            return endpoint
        with self._lock:
            plain = self._plain.get(endpoint.host)
        if plain is None:
            plain = True
            with contextlib.suppress(FetchError):
                policy = dataclasses.replace(self.retry_policy(endpoint), attempts=1)
                response = net.send_request(
                    "GET", endpoint.root, again=False, patience=policy, cancelled=self.cancelled
                )
                plain = not (
                    response.status == 400 and b"HTTPS" in response.body
                )  # the message of Go, nginx and Apache
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
        """Sends a request below /v2/REPOSITORY/, or to a whole URL from an earlier response. Repeats it once with new
        authorization after a 401. Returns the response with any status.

        Raises FetchError: codes registry-insecure, registry-token, registry-denied (by the token service), and those
        of `net.send_request`.
        """
        url = path if "://" in path else f"{endpoint.root}{endpoint.repository}/{path}"
        is_registry = same_origin(url, endpoint.root)
        needed_scopes = (f"repository:{endpoint.repository}:{actions}", *scopes)
        authorization = self.tokens.header(endpoint, needed_scopes) if is_registry else ""

        def send_once(authorization: str) -> HttpResponse:
            try:
                return net.send_request(
                    method, url, headers=headers, body=body, authorization=authorization, limit=limit, again=again,
                    patience=self.retry_policy(endpoint), cancelled=self.cancelled,
                )  # fmt: skip
            except FetchError as error:
                if not endpoint.plain and error.code == "fetch-tls" and NOT_TLS.search(error.message):
                    raise insecure_error(endpoint) from error
                raise

        response = send_once(authorization)
        if response.status == 401 and is_registry and same_origin(response.url, endpoint.root):
            header = self.tokens.answer_challenge(
                endpoint, response.headers.get("www-authenticate", ""), needed_scopes, authorization
            )
            if header:
                response = send_once(header)
        with self._lock:
            self._contacted.add((endpoint.root, endpoint.repository))
        return response

    def location(self, response: HttpResponse, endpoint: Endpoint) -> str:
        """Returns the URL at which an upload continues; "" if the response has none. Raises FetchError if it is plain
        HTTP to a host for which that is not allowed."""
        location_header = response.headers.get("location", "")
        if not location_header:
            return ""
        url = urllib.parse.urljoin(response.url, location_header)
        parts = urllib.parse.urlsplit(url)
        plain = parts.scheme == "http" and self.plain(parts.netloc)
        if not same_origin(url, endpoint.root) and parts.scheme != "https" and not plain:
            text = f"{endpoint.host}: sends an upload to {parts.netloc}, not by https"
            hint = f"if that is right: {INSECURE}={parts.netloc}, or `insecure = true` in registries.conf"
            raise FetchError(text, code="registry-refused", hint=hint)
        return url

    def authorization(self, endpoint: Endpoint, selector: str) -> str:
        """Returns the header Authorization for a blob of this repository. If nothing was requested from the repository
        before, it requests `selector` (a tag or digest) to get a challenge. Raises FetchError (code
        registry-denied)."""
        with self._lock:
            contacted = (endpoint.root, endpoint.repository) in self._contacted
        if not contacted:
            path = f"manifests/{selector}" if selector else "tags/list?n=1"
            headers = {"Accept": ", ".join(ACCEPTED)}
            response = self.send("HEAD" if selector else "GET", endpoint, path, headers=headers)
            if response.status in (401, 403):
                self.raise_for_status(response, endpoint, f"{endpoint.host}/{endpoint.repository}")
        return self.tokens.header(endpoint, (f"repository:{endpoint.repository}:pull",))

    def retry_policy(self, endpoint: Endpoint) -> RetryPolicy:
        """Returns the retry policy for an endpoint: few attempts for a mirror, which is not needed."""
        attempts = min(2, self.patience.attempts) if endpoint.mirror else self.patience.attempts
        return dataclasses.replace(self.patience, attempts=attempts)

    def pause(self, failures: int) -> None:
        """Waits before another attempt. Raises Interrupted."""
        net.wait_or_cancel(min(self.patience.pause * 2 ** (failures - 1), self.patience.longest), self.cancelled)

    def raise_for_status(self, response: HttpResponse, endpoint: Endpoint, what: str) -> NoReturn:
        """Raises FetchError for the status of a response. `what` names the thing that was requested."""
        registry_text = _registry_message(response)
        status = f"HTTP {response.status} {response.reason}".strip() + (f": {registry_text}" if registry_text else "")
        status = self.tokens.redact_secrets("".join(character for character in status if character.isprintable())[:300])
        if response.status == 404:
            raise FetchError(f"{what}: {endpoint.host} does not have it ({status})", code="registry-missing")
        if response.status in (401, 403):
            hint = login_hint(endpoint, self.tokens.credentials(endpoint))
            hint = f"it does not exist, or only for other users: {hint}" if response.status == 401 else hint
            raise FetchError(f"{what}: {endpoint.host} refuses it ({status})", code="registry-denied", hint=hint)
        raise FetchError(f"{what}: {endpoint.host} answers {status}", code="registry-refused")


def same_origin(url: str, other: str) -> bool:
    """Returns whether two URLs have the same scheme, host and port."""
    return urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(other)[:2]


def insecure_error(endpoint: Endpoint) -> FetchError:
    """Returns the error about a registry that speaks plain HTTP."""
    hint = f"if that is right: {INSECURE}={endpoint.registry}, or `insecure = true` in registries.conf"
    text = f"{endpoint.registry} speaks plain HTTP, or no TLS that is known, and nobody allowed that"
    return FetchError(text, code="registry-insecure", hint=hint)


def _registry_message(response: HttpResponse) -> str:
    """Returns the registry's own messages in a response; "" if it has none."""
    try:
        errors = json.loads(response.body)["errors"]
        texts = [str(item.get("message") or item.get("code") or "") for item in errors[:3]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return ", ".join(filter(None, texts))

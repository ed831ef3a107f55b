"""Authenticates to a registry: parses the challenges of a 401, and returns the header Authorization that answers them.

Sources: RFC 9110 (11.6.1) for challenges, the distribution project's token specification (spec/auth/token.md,
oauth2.md) for bearer tokens.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping

from envtool import net
from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass, field
from envtool.net import Cancelled, RetryPolicy, redact_url
from envtool.net.oci.credentials import Credentials, find_credentials
from envtool.net.oci.hosts import Endpoint

DEFAULT_LIFETIME = 60.0  # seconds, for a token without `expires_in`
MAX_LIFETIME = 86400.0  # seconds, also for a token that claims more
RENEWAL_MARGIN = 10.0  # a token is renewed so many seconds before it expires
CLIENT_ID = "envtool"
LIMIT = 1 << 20  # bytes of a token service's response

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|$|,)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')

FindCredentials = Callable[[str, str], "Credentials | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One authentication scheme that a server offers; `scheme` and the names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _EndpointAuth:
    """The challenge of one endpoint, and the headers that answer it: scopes -> (header, time at which it expires)."""

    challenge: Challenge
    headers: dict[tuple[str, ...], tuple[str, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while a header is requested


def parse_challenges(header: str) -> list[Challenge]:
    """Returns the challenges in a header WWW-Authenticate; text that is no challenge is skipped."""
    challenges: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if plain is None else plain
        challenges.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return challenges


class RegistryAuth:
    """The Authorization headers of a client, for all its threads."""

    def __init__(
        self, *, patience: RetryPolicy, cancelled: Cancelled | None, find: FindCredentials = find_credentials
    ) -> None:
        self._patience, self._cancelled, self._find = patience, cancelled, find
        self._endpoints: dict[str, _EndpointAuth] = {}
        self._lock = threading.Lock()
        self._credentials: dict[tuple[str, str], Credentials | None] = {}

    def header(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> str:
        """Returns the Authorization for a request; "" before the first challenge of the endpoint."""
        with self._lock:
            auth = self._endpoints.get(endpoint.root)
        return self._authorize(endpoint, auth, scopes, "") if auth is not None else ""

    def answer_challenge(self, endpoint: Endpoint, header: str, scopes: tuple[str, ...], refused: str) -> str:
        """Returns the Authorization after a 401 with this WWW-Authenticate; "" if the challenge cannot be answered.
        `refused` is the Authorization that was sent with the request."""
        offered = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            return ""
        with self._lock:
            auth = self._endpoints.setdefault(endpoint.root, _EndpointAuth(challenge=challenge))
            auth.challenge = challenge
        return self._authorize(endpoint, auth, scopes, refused)

    def credentials(self, endpoint: Endpoint) -> Credentials | None:
        """Returns the credentials that this host has for a repository, or None. They are looked up once."""
        key = (endpoint.registry, endpoint.repository)
        with self._lock:
            if key not in self._credentials:
                self._credentials[key] = self._find(*key)
            return self._credentials[key]

    def redact_secrets(self, text: str) -> str:
        """Returns a text of a registry with all passwords, tokens and headers replaced by ***."""
        with self._lock:
            known = [item for item in self._credentials.values() if item is not None]
            headers = [value for auth in self._endpoints.values() for value, _ in [*auth.headers.values()]]
        secrets = [*(header.partition(" ")[2] for header in headers), *(item.basic_header()[6:] for item in known)]
        secrets += [secret for item in known for secret in (item.password, item.identity)]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _authorize(self, endpoint: Endpoint, auth: _EndpointAuth, scopes: tuple[str, ...], refused: str) -> str:
        """Returns the header for these scopes. One thread requests it; the others wait for that thread."""
        with auth.lock:
            value, end = auth.headers.get(scopes, ("", 0.0))
            if value and value != refused and time.monotonic() < end:
                return value
            credentials, life = self.credentials(endpoint), float("inf")
            if auth.challenge.scheme == "bearer":
                value, life = self._fetch_token(endpoint, auth.challenge, scopes, credentials)
            elif credentials is None or not credentials.username or refused == credentials.basic_header():
                value = ""
            else:
                value = credentials.basic_header()
            auth.headers[scopes] = (value, time.monotonic() + life)
            return value

    def _fetch_token(
        self, endpoint: Endpoint, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials | None
    ) -> tuple[str, float]:
        """Returns the header with a bearer token, and the seconds until it is renewed. Raises FetchError (codes
        registry-token, registry-denied)."""
        realm = challenge.parameters.get("realm", "")
        scheme = urllib.parse.urlsplit(realm).scheme
        if scheme not in ("https", *(("http",) if endpoint.plain else ())):
            text = f"{endpoint.host}: sends us to {redact_url(realm) or 'nowhere'} for a token, which is not https"
            raise FetchError(text, code="registry-token", hint="credentials are sent over https alone")
        challenge_scopes = challenge.parameters.get("scope", "").split()
        fields = [("service", challenge.parameters.get("service", ""))]
        fields += [("scope", scope) for scope in dict.fromkeys((*scopes, *challenge_scopes))]
        response = self._request_token(realm, [pair for pair in fields if pair[1]], credentials)
        if response.status in (400, 401, 403):
            text = f"{endpoint.host}: {redact_url(realm)} gives no token: HTTP {response.status}"
            raise FetchError(text, code="registry-denied", hint=login_hint(endpoint, credentials))
        try:
            document = json.loads(response.body) if response.status == 200 else {}
            token = document.get("token") or document.get("access_token")
            life = min(max(float(document.get("expires_in") or DEFAULT_LIFETIME), 0.0), MAX_LIFETIME)
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            text = f"{endpoint.host}: {redact_url(realm)} gives no token: HTTP {response.status}"
            raise FetchError(text, code="registry-token")
        return f"Bearer {token}", max(life - RENEWAL_MARGIN, life / 2)

    def _request_token(
        self, realm: str, fields: list[tuple[str, str]], credentials: Credentials | None
    ) -> net.HttpResponse:
        if credentials is not None and credentials.identity:
            form = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", credentials.identity)]
            service = [pair for pair in fields if pair[0] == "service"]
            scope = " ".join(value for name, value in fields if name == "scope")
            return net.send_request(
                "POST",
                realm,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urllib.parse.urlencode([*form, *service, ("scope", scope)]).encode(),
                limit=LIMIT,
                patience=self._patience,
                cancelled=self._cancelled,
            )
        query = urllib.parse.urlencode(fields)
        parts = urllib.parse.urlsplit(realm)
        url = parts._replace(query="&".join(filter(None, (parts.query, query))), fragment="").geturl()
        return net.send_request(
            "GET",
            url,
            authorization=credentials.basic_header() if credentials is not None and credentials.username else "",
            limit=LIMIT,
            patience=self._patience,
            cancelled=self._cancelled,
        )


def login_hint(endpoint: Endpoint, credentials: Credentials | None) -> str:
    """Returns the hint for a registry that denies access."""
    command = f"docker login {endpoint.registry} (or podman login)"
    if credentials is None:
        return f"no credentials for {endpoint.registry} are known here: {command}"
    return f"it does not like the credentials from {credentials.source}: {command}"

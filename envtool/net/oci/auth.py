"""Getting in: what a registry demands with a 401, and the header that answers it.

RFC 9110 (11.6.1) for the challenges; the distribution project's token specification (spec/auth/token.md, oauth2.md) for
bearer tokens.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from envtool import net
from envtool.errors import FetchError
from envtool.net import Cancelled, RetryPolicy, redact_url
from envtool.net.oci.credentials import Credentials, find_credentials
from envtool.net.oci.hosts import Endpoint

DEFAULT_LIFETIME = 60.0  # seconds a token lives that does not say so
MAX_LIFETIME = 86400.0  # seconds that one is used at most, whatever it says
RENEWAL_MARGIN = 10.0  # seconds before its end at which a token is renewed
CLIENT_ID = "envtool"
LIMIT = 1 << 20  # bytes of a token service's answer

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|$|,)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')

FindCredentials = Callable[[str, str], "Credentials | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way in that a server offers: `scheme` and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _EndpointAuth:
    """What is known of one endpoint: how to get in, and the headers that do, by their scopes."""

    challenge: Challenge
    headers: dict[tuple[str, ...], tuple[str, float]] = field(default_factory=dict)  # with the time they end
    asking: threading.Lock = field(default_factory=threading.Lock)


def parse_challenges(header: str) -> list[Challenge]:
    """What WWW-Authenticate says; what is no challenge is left out."""
    found: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if plain is None else plain
        found.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return found


class RegistryAuth:
    """The headers that let us in, for all threads of a client."""

    def __init__(
        self, *, patience: RetryPolicy, cancelled: Cancelled | None, seek: FindCredentials = find_credentials
    ) -> None:
        self._patience, self._cancelled, self._seek = patience, cancelled, seek
        self._ways: dict[str, _EndpointAuth] = {}
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Credentials | None] = {}

    def header(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> str:
        """Authorization for a request, by what is known; "" before the first challenge."""
        with self._lock:
            way = self._ways.get(endpoint.root)
        return self._authorize(endpoint, way, scopes, "") if way is not None else ""

    def answer_challenge(self, endpoint: Endpoint, header: str, scopes: tuple[str, ...], refused: str) -> str:
        """Authorization after a 401 with this WWW-Authenticate; "" where there is none to be had. `refused` is what
        was sent with the request."""
        offered = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        challenge = offered.get("bearer") or offered.get("basic")
        if challenge is None:
            return ""
        with self._lock:
            way = self._ways.setdefault(endpoint.root, _EndpointAuth(challenge=challenge))
            way.challenge = challenge
        return self._authorize(endpoint, way, scopes, refused)

    def credentials(self, endpoint: Endpoint) -> Credentials | None:
        """What this host knows for a repository, asked once."""
        key = (endpoint.registry, endpoint.repository)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._seek(*key)
            return self._known[key]

    def redact_secrets(self, text: str) -> str:
        """A text that a registry wrote, without what it should have kept for itself."""
        with self._lock:
            known = [item for item in self._known.values() if item is not None]
            headers = [value for way in self._ways.values() for value, _ in [*way.headers.values()]]
        secrets = [*(header.partition(" ")[2] for header in headers), *(item.basic_header()[6:] for item in known)]
        secrets += [secret for item in known for secret in (item.password, item.identity)]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _authorize(self, endpoint: Endpoint, way: _EndpointAuth, scopes: tuple[str, ...], refused: str) -> str:
        """One thread asks for a header, the others wait for it."""
        with way.asking:
            value, end = way.headers.get(scopes, ("", 0.0))
            if value and value != refused and time.monotonic() < end:
                return value
            known, life = self.credentials(endpoint), float("inf")
            if way.challenge.scheme == "bearer":
                value, life = self._fetch_token(endpoint, way.challenge, scopes, known)
            elif known is None or not known.username or refused == known.basic_header():
                value = ""
            else:
                value = known.basic_header()
            way.headers[scopes] = (value, time.monotonic() + life)
            return value

    def _fetch_token(
        self, endpoint: Endpoint, challenge: Challenge, scopes: tuple[str, ...], known: Credentials | None
    ) -> tuple[str, float]:
        """A bearer token, and for how many seconds it is good. Raises FetchError (code registry-token)."""
        realm = challenge.parameters.get("realm", "")
        scheme = urllib.parse.urlsplit(realm).scheme
        if scheme not in ("https", *(("http",) if endpoint.plain else ())):
            text = f"{endpoint.host}: sends us to {redact_url(realm) or 'nowhere'} for a token, which is not https"
            raise FetchError(text, code="registry-token", hint="credentials are sent over https alone")
        also = challenge.parameters.get("scope", "").split()
        fields = [("service", challenge.parameters.get("service", ""))]
        fields += [("scope", scope) for scope in dict.fromkeys((*scopes, *also))]
        answer = self._request_token(realm, [pair for pair in fields if pair[1]], known)
        if answer.status in (400, 401, 403):
            text = f"{endpoint.host}: {redact_url(realm)} gives no token: HTTP {answer.status}"
            raise FetchError(text, code="registry-denied", hint=login_hint(endpoint, known))
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = document.get("token") or document.get("access_token")
            life = min(max(float(document.get("expires_in") or DEFAULT_LIFETIME), 0.0), MAX_LIFETIME)
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            text = f"{endpoint.host}: {redact_url(realm)} gives no token: HTTP {answer.status}"
            raise FetchError(text, code="registry-token")
        return f"Bearer {token}", max(life - RENEWAL_MARGIN, life / 2)

    def _request_token(self, realm: str, fields: list[tuple[str, str]], known: Credentials | None) -> net.HttpResponse:
        if known is not None and known.identity:
            form = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", known.identity)]
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
            authorization=known.basic_header() if known is not None and known.username else "",
            limit=LIMIT,
            patience=self._patience,
            cancelled=self._cancelled,
        )


def login_hint(endpoint: Endpoint, known: Credentials | None) -> str:
    """What to do about a refusal."""
    command = f"docker login {endpoint.registry} (or podman login)"
    if known is None:
        return f"no credentials for {endpoint.registry} are known here: {command}"
    return f"it does not like the credentials from {known.source}: {command}"

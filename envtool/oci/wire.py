"""One request to a registry: the header that lets us in, and what a status means."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Mapping
from typing import NoReturn

from envtool import net
from envtool.errors import FetchError
from envtool.net import Answer, Cancelled, Patience, Upload
from envtool.oci.hosts import INSECURE, Endpoint
from envtool.oci.tokens import Tokens, login

NOT_TLS = re.compile(r"wrong.version.number|record.layer.failure|http.request|unknown.protocol", re.IGNORECASE)


class Wire:
    """Requests of one client, from any thread."""

    def __init__(self, *, patience: Patience, cancelled: Cancelled | None) -> None:
        self.patience, self.cancelled = patience, cancelled
        self.tokens = Tokens(patience=patience, cancelled=cancelled)
        self._asked: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        *,
        actions: str = "pull",
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | Upload = b"",
        limit: int = 4 << 20,
        again: bool = True,
    ) -> Answer:
        """Ask below /v2/REPOSITORY/ (or at a whole URL, where an earlier answer sent us), and once more with new
        authorization after a 401. Any status is an answer.

        Raises FetchError: codes registry-insecure, registry-token, registry-denied (by the token service), and those
        of `net.exchange`.
        """
        url = path if "://" in path else f"{endpoint.root}{endpoint.repository}/{path}"
        ours = same_place(url, endpoint.root)
        wanted = (f"repository:{endpoint.repository}:{actions}", *scopes)
        refused = self.tokens.header(endpoint, wanted) if ours else ""

        def once(authorization: str) -> Answer:
            try:
                return net.exchange(
                    method, url, headers=headers, body=body, authorization=authorization, limit=limit, again=again,
                    patience=self.patience, cancelled=self.cancelled,
                )  # fmt: skip
            except FetchError as error:
                if not endpoint.plain and error.code == "fetch-tls" and NOT_TLS.search(error.message):
                    raise insecure(endpoint) from error
                raise

        answer = once(refused)
        if answer.status == 401 and ours and same_place(answer.url, endpoint.root):
            header = self.tokens.answer(endpoint, answer.headers.get("www-authenticate", ""), wanted, refused)
            if header:
                answer = once(header)
        with self._lock:
            self._asked.add((endpoint.root, endpoint.repository))
        return answer

    def authorization(self, endpoint: Endpoint, selector: str) -> str:
        """The header for a blob of this repository, learnt by asking for `selector` (a tag or digest) where nothing
        was asked before. Raises FetchError (code registry-denied)."""
        with self._lock:
            known = (endpoint.root, endpoint.repository) in self._asked
        if not known:
            path = f"manifests/{selector}" if selector else "tags/list?n=1"
            answer = self.ask("HEAD" if selector else "GET", endpoint, path)
            if answer.status in (401, 403):
                self.refuse(answer, endpoint, f"{endpoint.host}/{endpoint.repository}")
        return self.tokens.header(endpoint, (f"repository:{endpoint.repository}:pull",))

    def pause(self, failures: int) -> None:
        """Wait before another attempt. Raises Interrupted."""
        net.wait(min(self.patience.pause * 2 ** (failures - 1), self.patience.longest), self.cancelled)

    def refuse(self, answer: Answer, endpoint: Endpoint, what: str) -> NoReturn:
        """The error that a status is. `what` names what was asked for."""
        said = _said(answer)
        status = f"HTTP {answer.status} {answer.reason}".strip() + (f": {said}" if said else "")
        if answer.status == 404:
            raise FetchError(f"{what}: {endpoint.host} does not have it ({status})", code="registry-missing")
        if answer.status in (401, 403):
            hint = login(endpoint, self.tokens.credentials(endpoint))
            hint = f"it does not exist, or not for us: {hint}" if answer.status == 401 else hint
            raise FetchError(f"{what}: {endpoint.host} refuses it ({status})", code="registry-denied", hint=hint)
        hint = "is plain HTTP wanted there?" if endpoint.plain and answer.status == 400 else ""
        raise FetchError(f"{what}: {endpoint.host} answers {status}", code="registry-refused", hint=hint)


def same_place(url: str, other: str) -> bool:
    """Are two URLs of one scheme, host and port?"""
    return urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(other)[:2]


def insecure(endpoint: Endpoint) -> FetchError:
    """The error about a registry that speaks plain HTTP."""
    hint = f"if that is right: {INSECURE}={endpoint.registry}, or `insecure = true` in registries.conf"
    text = f"{endpoint.registry} speaks plain HTTP, or no TLS that is known, and nobody allowed that"
    return FetchError(text, code="registry-insecure", hint=hint)


def _said(answer: Answer) -> str:
    """What the registry itself says of an error, fit to be shown."""
    try:
        errors = json.loads(answer.body)["errors"]
        texts = [str(item.get("message") or item.get("code") or "") for item in errors[:3]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    text = ", ".join(filter(None, texts))
    return "".join(character for character in text if character.isprintable())[:200]

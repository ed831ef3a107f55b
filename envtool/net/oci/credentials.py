"""Finds the credentials that this host has for a registry: in docker's config.json, podman's auth.json, from their
credential helpers, and last in ~/.netrc.

Secrets are in values whose repr hides them, and in no message.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping

from envtool import net, proc
from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass, field
from envtool.net.oci.reference import ALIASES, DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"  # the key under which `docker login` stores the credentials of docker.io
HELPER_TIMEOUT = 60.0  # seconds: some helpers ask their user
IDENTITY_USER = "<token>"  # the user name with which a helper marks its secret as an identity token


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """User and password, or an identity token (a refresh token of the registry's token service)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    source: str = ""  # the file or helper that they come from, for messages

    def basic_header(self) -> str:
        """Returns the value of a header Authorization."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(registry: str, repository: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Returns the credentials for a repository from the first source that has some, or None.

    Raises FetchError (code registry-credentials) if a file cannot be read, or a helper failed.
    """
    environ = os.environ if environ is None else environ
    for path in credential_files(environ):
        document = _read(path)
        if document is not None and (found := _search_document(document, path, registry, repository)):
            return found
    return _netrc(registry)


def credential_files(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields the files that may have credentials, in the order in which they are read: those that a variable names
    first."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if path := environ.get("REGISTRY_AUTH_FILE"):
        yield path
    if path := environ.get("DOCKER_CONFIG"):
        yield os.path.join(path, "config.json")
    runtime = environ.get("XDG_RUNTIME_DIR")
    yield os.path.join(runtime, "containers", "auth.json") if runtime else f"/run/containers/{os.getuid()}/auth.json"
    yield os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json")
    yield os.path.join(home, ".docker", "config.json")


def _read(path: str) -> dict[str, object] | None:
    try:
        with open(path, "rb") as file:
            document = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if not os.access(os.path.dirname(path), os.X_OK):  # root's /run/containers has no file for this user
            return None
        raise FetchError(f"{path}: {error.strerror}", code="registry-credentials") from error
    except ValueError as error:  # the error's text is left out, because it may quote the file
        raise FetchError(f"{path}: not JSON", code="registry-credentials") from error
    return document if isinstance(document, dict) else {}


def _search_document(document: Mapping[str, object], path: str, registry: str, repository: str) -> Credentials | None:
    """Returns the credentials in one file: from the helper of this registry, else from the entry with the longest name,
    else from the credentials store."""
    helpers, entries = document.get("credHelpers"), document.get("auths")
    names = _names(registry, repository)
    if isinstance(helpers, dict):
        for name in names:
            if isinstance(helper := helpers.get(name), str) and helper:
                return _ask_helper(helper, name, path)
    known = {_normalize_key(str(key)): value for key, value in entries.items()} if isinstance(entries, dict) else {}
    for name in names:
        entry = known.get(_normalize_key(name))
        if isinstance(entry, dict) and (found := _parse_entry(entry, path, name)):
            return found
    if isinstance(store := document.get("credsStore"), str) and store:
        return _ask_helper(store, HUB_KEY if registry == DOCKER_HUB else registry, path)
    return None


def _names(registry: str, repository: str) -> list[str]:
    """Returns the keys to look up, the longest first: podman stores credentials of a namespace under HOST/NAMESPACE."""
    parts = repository.split("/") if repository else []
    names = ["/".join((registry, *parts[:count])) for count in range(len(parts), 0, -1)]
    return [*names, registry, *((*ALIASES, HUB_KEY) if registry == DOCKER_HUB else ())]


def _normalize_key(key: str) -> str:
    """Returns a key as HOST[/NAMESPACE]: older keys of docker are URLs, https://HOST/v1/."""
    _, scheme, name = key.rpartition("://")
    if scheme or name.endswith(("/v1/", "/v2/", "/v1", "/v2")):
        name = name.partition("/")[0]
    return name.rstrip("/")


def _parse_entry(entry: Mapping[str, object], path: str, name: str) -> Credentials | None:
    identity, secret = entry.get("identitytoken"), entry.get("auth")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if isinstance(secret, str) and secret:
        try:
            username, colon, password = base64.b64decode(secret, validate=True).decode().partition(":")
        except ValueError as error:
            text = f"{path}: auth of {name} is not base64"
            raise FetchError(text, code="registry-credentials", hint="log in again") from error
        if not colon:
            raise FetchError(f"{path}: auth of {name} is not USER:PASSWORD", code="registry-credentials")
        password = password.strip("\0")
    if isinstance(identity, str) and identity:
        return Credentials(username=username, identity=identity, source=path)
    return Credentials(username=username, password=password, source=path) if username else None


def _ask_helper(helper: str, name: str, path: str) -> Credentials | None:
    """Returns the credentials that docker-credential-HELPER has for a name, or None, by the protocol of
    github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise FetchError(f"{path}: {helper!r} is no name of a helper", code="registry-credentials")
    result = proc.run([program, "get"], input=name.encode(), env=dict(os.environ), timeout=HELPER_TIMEOUT)
    output = result.stdout.decode(errors="replace").strip()
    if result.status == proc.NOT_FOUND:
        hint = f"install {program}, or take {helper!r} out of {path}"
        raise FetchError(f"{program}, which {path} names, is not installed", code="registry-credentials", hint=hint)
    if result.status and ("not found" in output or "no such" in output):
        return None  # the helper has no credentials for this registry
    try:
        answer = json.loads(output) if not result.status else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("Secret"), str):
        why = {proc.TIMED_OUT: f"no answer for {HELPER_TIMEOUT:g} s"}.get(result.status, f"exit {result.status}")
        why = why if result.status else "its answer has no Secret"
        hint = f"try: echo {name} | {program} get"
        raise FetchError(f"{program} get {name}: {why}", code="registry-credentials", hint=hint)
    username, secret = str(answer.get("Username") or ""), str(answer["Secret"])
    if username == IDENTITY_USER:
        return Credentials(identity=secret, source=program)
    return Credentials(username=username, password=secret, source=program) if username or secret else None


def _netrc(registry: str) -> Credentials | None:
    login = net.netrc_credentials(f"https://{registry}/")
    return Credentials(username=login[0], password=login[1], source="~/.netrc") if login else None

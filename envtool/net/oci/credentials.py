"""What this host knows for a registry: docker's config.json, podman's auth.json, their helpers, and ~/.netrc at last.

Secrets live in values whose repr hides them, and in no message.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envtool import net, proc
from envtool.errors import FetchError
from envtool.net.oci.reference import ALIASES, DOCKER_HUB

HUB_KEY = "https://index.docker.io/v1/"  # under which docker login keeps those of docker.io
HELPER_TIMEOUT = 60.0  # seconds that a helper may take: some ask their user
IDENTITY_USER = "<token>"  # the user name by which a helper says that its secret is an identity token


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """User and password, or an identity token (a refresh token of the registry's token service)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    source: str = ""  # where they are from, for messages

    def basic_header(self) -> str:
        """The value of a header Authorization."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(registry: str, repository: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """What is known for a repository: the first file that knows something counts. None: nothing is.

    Raises FetchError (code registry-credentials): a file cannot be read, or a helper failed.
    """
    environ = os.environ if environ is None else environ
    for path in credential_files(environ):
        document = _read(path)
        if document is not None and (found := _search_document(document, path, registry, repository)):
            return found
    return _netrc(registry)


def credential_files(environ: Mapping[str, str]) -> Iterator[str]:
    """Where credentials may be kept, in the order they are asked: what a variable names before what is usual."""
    home = environ.get("HOME") or os.path.expanduser("~")
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield named
    if named := environ.get("DOCKER_CONFIG"):
        yield os.path.join(named, "config.json")
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
        if not os.access(os.path.dirname(path), os.X_OK):  # root's /run/containers: nothing in there can be ours
            return None
        raise FetchError(f"{path}: {error.strerror}", code="registry-credentials") from error
    except ValueError as error:  # its text may show what is in the file: it is left out
        raise FetchError(f"{path}: not JSON", code="registry-credentials") from error
    return document if isinstance(document, dict) else {}


def _search_document(document: Mapping[str, object], path: str, registry: str, repository: str) -> Credentials | None:
    """What one file knows: helpers of this registry, then the entries from the longest name on, then the store."""
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
    """Keys to look for, the longest first: podman keeps credentials of a namespace under HOST/NAMESPACE."""
    parts = repository.split("/") if repository else []
    names = ["/".join((registry, *parts[:count])) for count in range(len(parts), 0, -1)]
    return [*names, registry, *((*ALIASES, HUB_KEY) if registry == DOCKER_HUB else ())]


def _normalize_key(key: str) -> str:
    """Docker's older keys are URLs: https://HOST/v1/."""
    _, scheme, rest = key.rpartition("://")
    if scheme or rest.endswith(("/v1/", "/v2/", "/v1", "/v2")):
        rest = rest.partition("/")[0]
    return rest.rstrip("/")


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
    """Ask docker-credential-HELPER, by the protocol of github.com/docker/docker-credential-helpers."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise FetchError(f"{path}: {helper!r} is no name of a helper", code="registry-credentials")
    ended = proc.run([program, "get"], input=name.encode(), env=dict(os.environ), timeout=HELPER_TIMEOUT)
    said = ended.stdout.decode(errors="replace").strip()
    if ended.status == proc.NOT_FOUND:
        hint = f"install {program}, or take {helper!r} out of {path}"
        raise FetchError(f"{program}, which {path} names, is not installed", code="registry-credentials", hint=hint)
    if ended.status and ("not found" in said or "no such" in said):
        return None  # it has none for this registry
    try:
        answer = json.loads(said) if not ended.status else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("Secret"), str):
        why = {proc.TIMED_OUT: f"no answer for {HELPER_TIMEOUT:g} s"}.get(ended.status, f"exit {ended.status}")
        why = why if ended.status else "its answer has no Secret"
        hint = f"try: echo {name} | {program} get"
        raise FetchError(f"{program} get {name}: {why}", code="registry-credentials", hint=hint)
    username, secret = str(answer.get("Username") or ""), str(answer["Secret"])
    if username == IDENTITY_USER:
        return Credentials(identity=secret, source=program)
    return Credentials(username=username, password=secret, source=program) if username or secret else None


def _netrc(registry: str) -> Credentials | None:
    found = net.netrc_credentials(f"https://{registry}/")
    return Credentials(username=found[0], password=found[1], source="~/.netrc") if found else None

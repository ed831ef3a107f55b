"""The host's own npm configuration: which registry has a package, and what it is told. Credentials reach the fetches,
and the container that resolves, as text; never pins, keys or messages.

Taken: registry, @scope:registry, //host/path/:_authToken, :_auth, :username with :_password; and for the npm that
resolves in a container, proxy, https-proxy, noproxy, strict-ssl and cafile too. (The core's own fetches take proxies
and authorities from the environment, as for everything.) Whatever else says *what* is installed is the project's to
say.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from envtool import api

NETWORK = frozenset({"registry", "proxy", "https-proxy", "noproxy", "strict-ssl", "cafile"})
# What a project's own file may not say in a container: places and accounts, and programs to run in place of npm's own
_PLACES = NETWORK | {
    "ca", "cert", "key", "certfile", "keyfile", "email", "always-auth", "_auth", "_authtoken", "_password", "username",
    "cache", "prefix", "userconfig", "globalconfig", "tmp", "logs-dir", "node-gyp", "python", "shell", "script-shell",
    "git", "node-options", "onload-script",
}  # fmt: skip
_VARIABLE = re.compile(r"(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}")


def parse_ini(text: str) -> dict[str, str]:
    """`key = value` lines of an ini file, the last of a key; lists (`key[]`) and sections are passed over."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;[":
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if key.endswith("[]") or not key:
            continue
        found[_plain(key)] = _plain(value) if equals else "true"
    return found


def _plain(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        try:
            return str(json.loads(value)) if value[0] == '"' else value[1:-1]
        except (ValueError, RecursionError):
            return value
    return re.split(r"(?<!\\)[;#]", value, maxsplit=1)[0].rstrip().replace("\\;", ";").replace("\\#", "#")


def expand_variables(text: str, told: Callable[[str], str | None]) -> str:
    """`${NAME}` replaced by the variable's value, as npm does it: a missing one stays as written (`${NAME?}`: goes).
    Raises ResolveError that names all of them that `told` does not tell."""
    refused: dict[str, api.ResolveError] = {}

    def value(match: re.Match[str]) -> str:
        if len(match.group(1)) % 2:
            return match.group(0)
        try:
            found = told(match.group(2))
        except api.ResolveError as error:
            refused[error.message] = error
            return ""
        return found if found is not None else "" if match.group(3) else match.group(0)

    replaced = _VARIABLE.sub(value, text)
    for error in refused.values():
        raise api.ResolveError("; ".join(refused), code=error.code, hint=error.hint)
    return replaced


def environment_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """`npm_config_…` variables as settings."""
    found: dict[str, str] = {}
    for name, value in environ.items():
        if name.lower().startswith("npm_config_") and value:
            key = name[len("npm_config_") :]
            if not key.startswith(("//", "@")):
                key = re.sub(r"(?!^)_", "-", key.lower())
            found[key] = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmConfig:
    """Settings, the winning one of each key. Its text never shows them."""

    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def registry(self, name: str) -> str:
        """The registry that is configured for a package, "" for none; it ends with a slash."""
        scope = name.partition("/")[0] if name.startswith("@") else ""
        found = (scope and self.settings.get(f"{scope}:registry")) or self.settings.get("registry") or ""
        return found.rstrip("/") + "/" if found else ""

    def authorization(self, url: str) -> str:
        """The header for a URL: by the longest `//host/path/` that it begins with. Empty for none."""
        parts = urlsplit(url)
        place = f"//{parts.netloc.rpartition('@')[2]}{parts.path}"
        while place.count("/") >= 2:
            for base in (place, place.rstrip("/")):
                header = self._header(base)
                if header:
                    return header
            place = place.rstrip("/").rpartition("/")[0] + "/"
            if place in ("//", "/"):
                break
        return ""

    def _header(self, base: str) -> str:
        get = self.settings.get
        if token := get(f"{base}:_authToken"):
            return f"Bearer {token}"
        if basic := get(f"{base}:_auth"):
            return f"Basic {basic}"
        user, password = get(f"{base}:username"), get(f"{base}:_password")
        if user and password:
            try:
                plain = base64.b64decode(password, validate=True).decode()
            except ValueError:
                return ""
            return "Basic " + base64.b64encode(f"{user}:{plain}".encode()).decode()
        return ""

    def text(self) -> str:
        """An .npmrc for the npm in a container that resolves, with all that says where and as whom to ask."""
        lines = [
            f"{key}={json.dumps(value)}"
            for key, value in sorted(self.settings.items())
            if key.startswith("//") or key.endswith(":registry") or (key in NETWORK and key != "cafile")
        ]
        return "".join(f"{line}\n" for line in lines)

    @property
    def cafile(self) -> str:
        """The bundle of authorities that npm is told of; "" for none, or one that is not there."""
        path = self.settings.get("cafile", "")
        return path if os.path.isfile(path) else ""


def host_config(project: str, environ: Mapping[str, str], told: Callable[[str], str | None]) -> NpmConfig:
    """All that npm would read on this machine for a project: the machine's file, the user's, the project's (its text),
    variables; the later one wins. The project's says which registries there are, and `told` which variables it may
    know; not by which proxy, nor whether a certificate counts: tokens of the others would go that way."""
    settings: dict[str, str] = {}
    variables = environment_settings(environ)
    for path in _machine_files(variables, environ):
        settings |= parse_ini(expand_variables(_text(path), environ.get))
    home = environ.get("HOME", "")
    user = variables.get("userconfig") or (os.path.join(home, ".npmrc") if home else "")
    settings |= parse_ini(expand_variables(_text(user), environ.get))
    own = parse_ini(expand_variables(project, told))
    settings |= {key: value for key, value in own.items() if key.lower() not in NETWORK - {"registry"}}
    return NpmConfig(settings=settings | variables)


def _machine_files(variables: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    if named := variables.get("globalconfig"):
        yield named
        return
    yield "/etc/npmrc"  # Debian's
    prefix = variables.get("prefix") or environ.get("PREFIX", "")
    node = api.find_program("node", environ.get("PATH", ""))  # never one of the checkout, whose prefix is its own
    if not prefix and node:
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(node)))
    if prefix:
        yield os.path.join(prefix, "etc", "npmrc")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def sanitize_project_npmrc(text: str) -> str:
    """A project's .npmrc as a build may see it: without places, accounts and secrets."""
    kept = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip().strip("\"'")
        about_hosts = key.startswith("//") or key.endswith(":registry")
        if not about_hosts and key.removesuffix("[]").lower() not in _PLACES:
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def redact_credentials(text: str) -> str:
    """Npm's words without what stands before an `@` in a URL, and without anything that looks like a token."""
    text = re.sub(r"(?<=://)[^/@\s'\"]+@", "***@", text)
    return re.sub(r"\b(npm_|ghp_|glpat-|github_pat_)\w+|(?<=_authToken=)\S+|(?<=Bearer )\S+", "***", text)


def plain_url(url: str) -> str:
    """Without credentials, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def file_name(url: str) -> str:
    """The last part of a URL's path, decoded."""
    return unquote(urlsplit(url).path.rpartition("/")[2])

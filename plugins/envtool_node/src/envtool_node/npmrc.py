"""The host's own npm configuration: which registry has a package, and the credentials for it. Credentials reach the
fetches, and the container that resolves, as text; they never reach pins, keys or messages.

Used: registry, @scope:registry, //host/path/:_authToken, :_auth, :username with :_password; and for the npm that
resolves in a container also proxy, https-proxy, noproxy, strict-ssl and cafile. (The core's own fetches take proxies
and authorities from the environment.) Settings that decide *what* is installed are not used: the project decides that.
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
# Settings that a project's own file must not make in a container: paths, accounts, and programs that replace npm's own
_FORBIDDEN_KEYS = NETWORK | {
    "ca", "cert", "key", "certfile", "keyfile", "email", "always-auth", "_auth", "_authtoken", "_password", "username",
    "cache", "prefix", "userconfig", "globalconfig", "tmp", "logs-dir", "node-gyp", "python", "shell", "script-shell",
    "git", "node-options", "onload-script",
}  # fmt: skip
_VARIABLE = re.compile(r"(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}")


def parse_ini(text: str) -> dict[str, str]:
    """Parses the `key = value` lines of an ini file; the last line of a key wins. Skips lists (`key[]`) and section
    headers."""
    settings: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;[":
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if key.endswith("[]") or not key:
            continue
        settings[_unquote(key)] = _unquote(value) if equals else "true"
    return settings


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        try:
            return str(json.loads(value)) if value[0] == '"' else value[1:-1]
        except (ValueError, RecursionError):
            return value
    return re.split(r"(?<!\\)[;#]", value, maxsplit=1)[0].rstrip().replace("\\;", ";").replace("\\#", "#")


def expand_variables(text: str, get_variable: Callable[[str], str | None]) -> str:
    """Replaces `${NAME}` by the variable's value, as npm does: a missing variable stays as written (`${NAME?}` becomes
    empty). Raises one ResolveError that names all variables for which `get_variable` raises it."""
    refused: dict[str, api.ResolveError] = {}

    def value(match: re.Match[str]) -> str:
        if len(match.group(1)) % 2:
            return match.group(0)
        try:
            replacement = get_variable(match.group(2))
        except api.ResolveError as error:
            refused[error.message] = error
            return ""
        return replacement if replacement is not None else "" if match.group(3) else match.group(0)

    expanded = _VARIABLE.sub(value, text)
    for error in refused.values():
        raise api.ResolveError("; ".join(refused), code=error.code, hint=error.hint)
    return expanded


def environment_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the `npm_config_…` variables as settings."""
    settings: dict[str, str] = {}
    for name, value in environ.items():
        if name.lower().startswith("npm_config_") and value:
            key = name[len("npm_config_") :]
            if not key.startswith(("//", "@")):
                key = re.sub(r"(?!^)_", "-", key.lower())
            settings[key] = value
    return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmConfig:
    """npm's settings, the winning one of each key. The repr contains no settings, since they may be secret."""

    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def registry(self, name: str) -> str:
        """Returns the registry that is configured for a package, with a slash at its end; "" for none."""
        scope = name.partition("/")[0] if name.startswith("@") else ""
        url = (scope and self.settings.get(f"{scope}:registry")) or self.settings.get("registry") or ""
        return url.rstrip("/") + "/" if url else ""

    def authorization(self, url: str) -> str:
        """Returns the header Authorization for a URL, from the settings of the longest `//host/path/` that begins it;
        empty for none."""
        parts = urlsplit(url)
        prefix = f"//{parts.netloc.rpartition('@')[2]}{parts.path}"
        while prefix.count("/") >= 2:
            for key_base in (prefix, prefix.rstrip("/")):
                header = self._header(key_base)
                if header:
                    return header
            prefix = prefix.rstrip("/").rpartition("/")[0] + "/"
            if prefix in ("//", "/"):
                break
        return ""

    def _header(self, key_base: str) -> str:
        get = self.settings.get
        if token := get(f"{key_base}:_authToken"):
            return f"Bearer {token}"
        if basic := get(f"{key_base}:_auth"):
            return f"Basic {basic}"
        user, password = get(f"{key_base}:username"), get(f"{key_base}:_password")
        if user and password:
            try:
                decoded = base64.b64decode(password, validate=True).decode()
            except ValueError:
                return ""
            return "Basic " + base64.b64encode(f"{user}:{decoded}".encode()).decode()
        return ""

    def text(self) -> str:
        """Returns an .npmrc with registries, credentials and network settings, for the npm that resolves."""
        lines = [
            f"{key}={json.dumps(value)}"
            for key, value in sorted(self.settings.items())
            if key.startswith("//") or key.endswith(":registry") or (key in NETWORK and key != "cafile")
        ]
        return "".join(f"{line}\n" for line in lines)

    @property
    def cafile(self) -> str:
        """The path of npm's bundle of certificate authorities; "" if none is set or the file does not exist."""
        path = self.settings.get("cafile", "")
        return path if os.path.isfile(path) else ""


def host_config(project: str, environ: Mapping[str, str], get_variable: Callable[[str], str | None]) -> NpmConfig:
    """Reads npm's settings on this machine: the machine's file, the user's, the project's (its text), variables; the
    later one wins.

    The project's file may set registries, and use the variables that `get_variable` returns. It may not set proxies or
    turn off the check of certificates: that could lead tokens of the other files to a stranger.
    """
    settings: dict[str, str] = {}
    variables = environment_settings(environ)
    for path in _machine_files(variables, environ):
        settings |= parse_ini(expand_variables(_read_text(path), environ.get))
    home = environ.get("HOME", "")
    user_file = variables.get("userconfig") or (os.path.join(home, ".npmrc") if home else "")
    settings |= parse_ini(expand_variables(_read_text(user_file), environ.get))
    project_settings = parse_ini(expand_variables(project, get_variable))
    settings |= {key: value for key, value in project_settings.items() if key.lower() not in NETWORK - {"registry"}}
    return NpmConfig(settings=settings | variables)


def _machine_files(variables: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    if globalconfig := variables.get("globalconfig"):
        yield globalconfig
        return
    yield "/etc/npmrc"  # Debian's path
    prefix = variables.get("prefix") or environ.get("PREFIX", "")
    node = api.find_program(
        "node", environ.get("PATH", "")
    )  # never one of the checkout, which could set its own prefix
    if not prefix and node:
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(node)))
    if prefix:
        yield os.path.join(prefix, "etc", "npmrc")


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def sanitize_project_npmrc(text: str) -> str:
    """Returns a project's .npmrc as a build may see it: without paths, accounts and secrets."""
    lines = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip().strip("\"'")
        about_hosts = key.startswith("//") or key.endswith(":registry")
        if not about_hosts and key.removesuffix("[]").lower() not in _FORBIDDEN_KEYS:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def redact_credentials(text: str) -> str:
    """Returns npm's output without the credentials in URLs, and without everything that looks like a token."""
    text = re.sub(r"(?<=://)[^/@\s'\"]+@", "***@", text)
    return re.sub(r"\b(npm_|ghp_|glpat-|github_pat_)\w+|(?<=_authToken=)\S+|(?<=Bearer )\S+", "***", text)


def plain_url(url: str) -> str:
    """Returns the URL without credentials, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def file_name(url: str) -> str:
    """Returns the last part of a URL's path, decoded."""
    return unquote(urlsplit(url).path.rpartition("/")[2])

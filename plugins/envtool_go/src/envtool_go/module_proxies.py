"""The configuration of Go on this machine: the proxies of modules (https://go.dev/ref/mod#goproxy-protocol).

Used: GOPROXY, GOPRIVATE and GONOPROXY, as variables or in the file of `go env -w`. Their values reach fetches, never
pins, keys or messages. GOSUMDB counts for toolchains alone: each module is checked by go.sum of the project.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from envtool import api
from envtool_go.go_files import ModuleVersion, escaped

_NAMES = ("GOPROXY", "GOPRIVATE", "GONOPROXY", "GOSUMDB")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoSettings:
    """Go's settings. The repr has no proxies, whose URLs may contain credentials."""

    proxy: str = field(default="", repr=False)  # GOPROXY; empty: Go's own default
    database: str = ""  # GOSUMDB; empty: Go's own default
    direct: tuple[str, ...] = ()  # patterns of the modules that come from no proxy


def host_settings(environ: Mapping[str, str]) -> GoSettings:
    """Reads Go's settings on this machine: the file of `go env -w`, then variables."""
    config = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    path = environ.get("GOENV") or (f"{config}/go/env" if config else "")
    settings = _parse_env(_read_text(path)) if path and path != "off" else {}
    values = {name: environ.get(name) or settings.get(name, "") for name in _NAMES}
    direct = values["GONOPROXY"] or values["GOPRIVATE"]
    patterns = tuple(pattern.strip() for pattern in direct.split(",") if pattern.strip() not in ("", "none"))
    return GoSettings(proxy=values["GOPROXY"], database=values["GOSUMDB"], direct=patterns)


def _parse_env(text: str) -> dict[str, str]:
    lines = (line.strip().partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name: value for name, equals, value in lines if equals}


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def is_direct(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern of GOPRIVATE matches the first elements of a module's path."""
    elements = path.split("/")
    for pattern in patterns:
        parts = pattern.rstrip("/").split("/")
        if len(parts) <= len(elements) and all(
            fnmatch.fnmatchcase(element, part) for element, part in zip(elements, parts, strict=False)
        ):
            return True
    return False


class ModuleLocator:
    """Finds the files of modules on this machine's proxies. `default` returns Go's own GOPROXY: it is called if this
    machine sets none."""

    def __init__(self, settings: GoSettings, site: api.Site, default: Callable[[], str]) -> None:
        self._settings = settings
        self._site = site
        self._default = default
        self._proxies: tuple[str, ...] | None = None

    def urls(self, module: ModuleVersion, ending: str) -> tuple[str, ...]:
        """Returns the URLs of a file of a module, the best first. `ending` is "zip" or "mod". Raises ResolveError."""
        if is_direct(module.path, self._settings.direct):
            raise api.ResolveError(
                f"{module.path} comes from its repository (GOPRIVATE or GONOPROXY), which is not supported",
                code="go-direct",
                hint="use a proxy that has it, or `go mod vendor`",
            )
        return tuple(
            f"{proxy}/{escaped(module.path)}/@v/{escaped(module.version)}.{ending}" for proxy in self.proxies()
        )

    def proxies(self) -> tuple[str, ...]:
        """Returns the URLs of the proxies, the best first. Raises ResolveError."""
        if self._proxies is None:
            self._proxies = self._find_proxies()
        return self._proxies

    def _find_proxies(self) -> tuple[str, ...]:
        entries = re.split(r"[,|]", self._settings.proxy or self._default())
        proxies = []
        for entry in (entry.strip() for entry in entries):
            if entry in ("direct", "off"):
                break
            parts = urlsplit(entry)
            if parts.scheme == "file":
                self._site.own(unquote(parts.path))
            elif parts.scheme not in ("http", "https"):
                continue
            proxies.append(entry.rstrip("/"))
        if not proxies:
            raise api.ResolveError(
                "GOPROXY of this machine names no proxy, and modules from their repositories are not supported",
                code="go-proxy",
                hint="set GOPROXY to a proxy that has them, or use `go mod vendor`",
            )
        return tuple(dict.fromkeys(proxies))


def plain_url(url: str) -> str:
    """Returns the URL without credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def host_locator(site: api.Site, default: Callable[[], str]) -> ModuleLocator:
    """Returns a locator by the settings of the caller's environment."""
    return ModuleLocator(host_settings(os.environ), site, default)

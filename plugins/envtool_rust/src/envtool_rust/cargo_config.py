"""The configuration of cargo on this machine: which registry stands for another, and its credentials. Credentials
reach the fetches, and the container that resolves, as text; they never reach pins, keys or messages.

Used (https://doc.rust-lang.org/cargo/reference/config.html): `[source]` with replace-with, registry and
local-registry; `[registries]` with index and token, also as variables; credentials.toml; `[http]` and `[net]` for the
cargo that resolves in a container. Programs that give credentials (`credential-process`) are not started. (The core's
own fetches take proxies and authorities from the environment.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envtool import api
from envtool.api.toml_reader import read_toml
from envtool_rust.toml_text import toml_text

_HTTP = ("proxy", "check-revoke", "timeout", "low-speed-limit", "multiplexing", "ssl-version", "user-agent")
_NET = ("retry",)
_VARIABLE = re.compile(r"CARGO_REGISTRIES_([A-Z0-9_]+)_(INDEX|TOKEN)")
_MAX_REPLACEMENTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the crates of one registry are on this machine. One of the two is set, or neither for cargo's own
    registry; `index` may begin with `sparse+`."""

    index: str = ""
    directory: str = ""  # of a local registry, with the files of crates
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CargoConfig:
    """cargo's settings. The repr contains none, since they may be secret."""

    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    registries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    network: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # [http] and [net]
    cafile: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # index -> the token of this machine for it

    def origin(self, registry: str) -> Origin:
        """Returns where the crates of a registry are: its index as Cargo.lock has it, empty for cargo's own. Raises
        ResolveError for a replacement that has no files of crates."""
        name = "crates-io" if not registry else self._name_of(registry)
        index = registry
        for _ in range(_MAX_REPLACEMENTS):
            source = self.sources.get(name, {})
            replacement = source.get("replace-with")
            if isinstance(replacement, str):
                name, index = replacement, ""
                continue
            if isinstance(directory := source.get("local-registry"), str):
                return Origin(directory=directory)
            if isinstance(directory := source.get("directory"), str):
                raise api.ResolveError(
                    f"cargo's configuration of this machine replaces a registry by the directory {directory},"
                    " which has no files of crates",
                    code="cargo-source",
                    hint="replace it by a registry or a local registry",
                )
            configured = source.get("registry") or self.registries.get(name, {}).get("index")
            index = str(configured or index)
            return Origin(index=index, token=self.tokens.get(_plain(index), ""))
        raise api.ResolveError(
            f"cargo's configuration of this machine replaces the source {name} in a circle", code="cargo-source"
        )

    def _name_of(self, registry: str) -> str:
        for name, source in self.sources.items():
            if _plain(str(source.get("registry", ""))) == _plain(registry):
                return name
        for name, table in self.registries.items():
            if _plain(str(table.get("index", ""))) == _plain(registry):
                return name
        return ""

    def text(self, cafile: str) -> str:
        """Returns a config.toml for the cargo that resolves in a container, which sees the authorities at `cafile`."""
        http = {**self.network.get("http", {}), **({"cainfo": cafile} if cafile else {})}
        registries = {}
        for name, table in self.registries.items():
            token = self.tokens.get(_plain(str(table.get("index", ""))))
            registries[name] = {"index": str(table.get("index", "")), **({"token": token} if token else {})}
        tables = {
            "source": dict(self.sources), "registries": registries, "http": http, "net": self.network.get("net", {}),
        }  # fmt: skip
        return toml_text({key: value for key, value in tables.items() if value})

    @property
    def directories(self) -> tuple[str, ...]:
        """Absolute paths of this machine's local registries."""
        paths = (source.get("local-registry") for source in self.sources.values())
        return tuple(sorted({path for path in paths if isinstance(path, str)}))


def _plain(index: str) -> str:
    return index.rstrip("/")


def host_config(project: str, environ: Mapping[str, str]) -> CargoConfig:
    """Reads cargo's settings on this machine: the user's file, then variables; with them the registries that the
    project's own file names (its text). A token is used for the index alone that this machine's own settings give it:
    a project that gives a known name to another index gets none."""
    home = environ.get("CARGO_HOME") or (os.path.join(environ["HOME"], ".cargo") if environ.get("HOME") else "")
    machine = _read_file(home, "config") if home else {}
    secrets = _read_file(home, "credentials") if home else {}
    registries = {name: dict(_table(table)) for name, table in _table(machine.get("registries")).items()}
    for name, table in _table(secrets.get("registries")).items():
        registries.setdefault(name, {}).update({"token": _table(table).get("token")})
    for variable, value in environ.items():
        if match := _VARIABLE.fullmatch(variable):
            registries.setdefault(_match_name(match[1], registries), {})[match[2].lower()] = value
    sources = {name: _source(_table(table), home) for name, table in _table(machine.get("source")).items()}
    tokens = {
        _plain(str(table["index"])): str(table["token"])
        for table in registries.values()
        if table.get("index") and table.get("token")
    }
    theirs = parse_config(project)
    for name, table in _table(theirs.get("registries")).items():
        if isinstance(index := _table(table).get("index"), str) and name not in registries:
            registries[name] = {"index": index}
    for name, table in _table(theirs.get("source")).items():
        if name not in sources and not {"directory", "local-registry"} & _table(table).keys():
            sources[name] = _source(_table(table), "")
    http, net = _table(machine.get("http")), _table(machine.get("net"))
    network = {
        "http": {key: http[key] for key in _HTTP if key in http},
        "net": {key: net[key] for key in _NET if key in net},
    }
    cafile = str(http.get("cainfo", ""))
    return CargoConfig(
        sources=sources,
        registries={name: table for name, table in registries.items() if table.get("index")},
        network=network,
        cafile=os.path.join(os.path.dirname(home), cafile) if cafile else "",
        tokens=tokens,
    )


def parse_config(text: str) -> Mapping[str, Any]:
    """Parses a config.toml; one that is wrong counts as empty, since cargo itself reports it in a task."""
    try:
        return read_toml(text)
    except ValueError:
        return {}


def _source(table: Mapping[str, Any], home: str) -> dict[str, Any]:
    """Returns what of a source counts. Paths are relative to the directory that has `.cargo`."""
    source = {
        key: table[key]
        for key in ("replace-with", "registry", "git", "branch", "tag", "rev")
        if isinstance(table.get(key), str)
    }
    for key in ("local-registry", "directory"):
        if isinstance(table.get(key), str):
            source[key] = os.path.normpath(os.path.join(os.path.dirname(home), table[key]))
    return source


def _match_name(upper: str, registries: Mapping[str, Any]) -> str:
    """Returns the name of the registry that a variable means, in which `-` became `_`."""
    names = (name for name in registries if name.upper().replace("-", "_") == upper)
    return next(names, upper.lower().replace("_", "-"))


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_file(home: str, name: str) -> Mapping[str, Any]:
    """Reads `config` or `config.toml`: cargo takes the one without an ending if there are both."""
    for ending in ("", ".toml"):
        try:
            with open(os.path.join(home, name + ending), encoding="utf-8", errors="replace") as file:
                return parse_config(file.read())
        except OSError:
            continue
    return {}

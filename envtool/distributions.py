"""Finds entry points of installed distributions, and the requirements of envtool's own extras.

Reads `entry_points.txt` itself, because importing importlib.metadata takes longer than reading a spec. It searches the
directories of sys.path by the specifications "Recording installed projects" and "Entry points" (packaging.python.org).
If distributions may be elsewhere (an archive or an egg on sys.path, a finder of another package), it uses
importlib.metadata.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DISTRIBUTION = "envtool-core"
GROUP = "envtool"  # of entry points: modules with hooks
VERB_GROUP = "envtool.verbs"  # of entry points: verbs
EXCLUDED = "ENVTOOL_NO_PLUGINS"  # the variable with the plugins that are left out, with commas; `-p no:NAME` adds to it
VERB_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+))?")
_KNOWN = (".dist-info", ".egg-info")


class Distribution(Protocol):
    """The part of importlib.metadata.Distribution that envtool uses."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


class EntryPoint(Protocol):
    """The part of importlib.metadata.EntryPoint that envtool uses."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def dist(self) -> Distribution | None: ...
    def load(self) -> Any:
        """Imports and returns the object. Raises what its module raises."""


@dataclass(frozen=True, slots=True)
class FileEntryPoint:
    """An entry point in an `entry_points.txt`; `directory` is that of the file."""

    name: str
    value: str
    group: str
    directory: str

    @property
    def dist(self) -> Distribution | None:
        """The distribution that the entry point belongs to."""
        return _read_distribution(self.directory)

    def load(self) -> Any:
        """Imports and returns the object. Raises what its module raises."""
        match = _VALUE.fullmatch(self.value)
        if match is None:  # it has extras, or is malformed: importlib.metadata has the rules
            from importlib.metadata import EntryPoint as StandardEntryPoint

            return StandardEntryPoint(self.name, self.value, self.group).load()
        attributes = filter(None, (match["attribute"] or "").split("."))
        return functools.reduce(getattr, attributes, import_module(match["module"]))


def used_entry_points(*groups: str) -> Iterable[EntryPoint]:
    """Returns the entry points of groups, without those of plugins that the caller leaves out."""
    excluded = excluded_names()
    if not excluded:
        return entry_points_of(*groups)
    entries = [*entry_points_of(GROUP, VERB_GROUP)]
    left_out = {describe_owner(entry) for entry in entries if is_named(entry, excluded)}  # with their verbs
    return [entry for entry in entries if entry.group in groups and describe_owner(entry) not in left_out]


def excluded_names() -> frozenset[str]:
    """Returns the names of plugins that the caller leaves out, normalized."""
    return frozenset(filter(None, map(_normalize, os.environ.get(EXCLUDED, "").split(","))))


def is_named(entry: EntryPoint, names: frozenset[str]) -> bool:
    """Returns whether the plugin of an entry point has one of these names."""
    return not names.isdisjoint(_names_of(entry))


def plugin_names() -> list[str]:
    """Returns the names of the installed plugins, sorted. Imports none of them."""
    return sorted({e.dist.name if e.dist else e.name for e in entry_points_of(GROUP, VERB_GROUP)})


def exclude(options: Iterable[str]) -> None:
    """Leaves out plugins for the rest of this process, and for those that it starts: the values `no:NAME` of options. A
    name is that of a distribution, with or without `envtool-`, or that of an entry point. Raises UsageError for a name
    that no plugin has."""
    from envtool.errors import UsageError, near_name_hint

    entries = [*entry_points_of(GROUP, VERB_GROUP)]
    excluded = [*sorted(excluded_names())]
    for text in options:
        word, _, name = text.partition(":")
        if word != "no" or not name:
            hint = "`-p no:NAME` leaves a plugin out; `envtool plugins` lists them"
            raise UsageError(f"`-p {text}` is not possible", code="usage.plugin", hint=hint)
        if not any(is_named(entry, frozenset((_normalize(name),))) for entry in entries):
            known = plugin_names()
            likely = known if name.startswith("envtool") else [plugin.removeprefix("envtool-") for plugin in known]
            hint = near_name_hint(name, likely, f"there are {', '.join(known)}" if known else "none is installed")
            raise UsageError(f"`-p no:{name}`: no plugin has this name", code="usage.plugin", hint=hint)
        excluded.append(_normalize(name))
    os.environ[EXCLUDED] = ",".join(dict.fromkeys(excluded))


def _names_of(entry: EntryPoint) -> frozenset[str]:
    """Returns the names by which the plugin of an entry point can be left out. A verb's name is none: another plugin's
    language may have it."""
    distribution = _normalize(entry.dist.name) if entry.dist else ""
    own = frozenset() if entry.group == VERB_GROUP and distribution else frozenset((_normalize(entry.name),))
    return own | ({distribution, distribution.removeprefix("envtool-")} if distribution else frozenset())


def _normalize(name: str) -> str:
    """Returns a name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def entry_points_of(*groups: str) -> Iterable[EntryPoint]:
    """Returns the entry points of groups. If a distribution is installed twice, the first on sys.path counts."""
    try:
        return [*_read(groups, sys.path)] if _has_only_directories() else _ask_importlib(groups)
    except (OSError, UnicodeError):
        return _ask_importlib(groups)


def verb_entry_points() -> dict[str, list[EntryPoint]]:
    """Returns the entry points of plugins' verbs by name, in the order of the names. Imports no plugin."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(used_entry_points(VERB_GROUP), key=lambda entry: (entry.name, entry.value)):
        if VERB_NAME.fullmatch(entry.name):
            found.setdefault(entry.name, []).append(entry)
    return found


def describe_owner(entry: EntryPoint) -> str:
    """Returns the plugin of an entry point in words: "the plugin `envtool-python` 0.3.0"."""
    distribution = entry.dist
    return f"the plugin `{distribution.name}` {distribution.version}" if distribution else f"the plugin `{entry.name}`"


def file_of(entry: EntryPoint) -> str:
    """Returns the path of the module of an entry point, also of one whose import fails; "" if there is none."""
    module = entry.value.partition(":")[0].strip()
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return str(loaded)
    from importlib.util import find_spec

    try:
        found = find_spec(module)
    except Exception:  # of a package above the module, which is the plugin's code
        return ""
    return found.origin or "" if found else ""


def _ask_importlib(groups: tuple[str, ...]) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return [entry for group in groups for entry in entry_points(group=group)]


def _has_only_directories() -> bool:
    """Returns whether all distributions are in directories of sys.path."""
    finders = {getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path if _finds(finder)}
    return finders <= {"PathFinder", "MetadataPathFinder"} and not any(
        not isinstance(path, str) or path.lower().endswith(".egg") or os.path.isfile(path) for path in sys.path
    )


def _finds(finder: object) -> bool:
    return getattr(finder, "find_distributions", None) is not None


def _read(groups: tuple[str, ...], paths: Iterable[str]) -> Iterator[FileEntryPoint]:
    seen: set[str] = set()
    for path in paths:
        try:
            names = os.listdir(path or ".")
        except OSError:
            continue
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in _KNOWN:
                continue
            normalized = _normalize(stem.partition("-")[0])
            if normalized not in seen:
                seen.add(normalized)
                yield from _read_entry_points(os.path.join(path or ".", name), groups)


def _read_entry_points(directory: str, groups: tuple[str, ...]) -> Iterator[FileEntryPoint]:
    try:
        with open(os.path.join(directory, "entry_points.txt"), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return
    section = ""
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#") and section in groups:
            name, _, value = line.partition("=")
            yield FileEntryPoint(name=name.strip(), value=value.strip(), group=section, directory=directory)


@dataclass(frozen=True, slots=True)
class NameAndVersion:
    """A distribution's name and version."""

    name: str
    version: str


def _read_distribution(directory: str) -> Distribution:
    """Returns name and version from the metadata in a directory ("Core metadata specifications": header fields, up to
    an empty line)."""
    fields: dict[str, str] = {}
    for file in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(directory, file), encoding="utf-8") as lines:
                for line in lines:
                    field, colon, value = line.partition(":")
                    if not line.strip() or not colon:
                        break
                    fields.setdefault(field.lower(), value.strip())
                    if {"name", "version"} <= fields.keys():
                        return NameAndVersion(name=fields["name"], version=fields["version"])
        except (OSError, UnicodeError):
            continue
    from importlib.metadata import Distribution as StandardDistribution

    return StandardDistribution.at(directory)


def extra_requirements(extra: str, distribution: str = DISTRIBUTION) -> tuple[str, ...]:
    """Returns the requirements of an extra in the metadata of a distribution; () if it is not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        split_lines = [line.partition(";") for line in requires(distribution) or ()]
    except PackageNotFoundError:
        return ()
    return tuple(
        line.strip() for line, _, marker in split_lines if marker.replace('"', "'").strip() == f"extra == '{extra}'"
    )


def install_command(extra: str, distribution: str = DISTRIBUTION) -> str:
    """Returns the command that installs the requirements of a distribution's extra beside this envtool: in pipx's
    environment, or by pip or uv in the environment of this Python.

    The command names the requirements themselves. `pip install envtool-core[…]` would ask an index for envtool's own
    name, which is on no index (docs/decisions/0001): the code of anybody who registered that name would run here.
    """
    import shlex
    from importlib.util import find_spec

    requirements = " ".join(map(shlex.quote, extra_requirements(extra, distribution)))
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject {shlex.quote(os.path.basename(sys.prefix))} {requirements}"
    python = shlex.quote(sys.executable)
    if find_spec("pip") is None:  # environments of uv have no pip
        return f"uv pip install --python {python} {requirements}"
    return f"{python} -m pip install {requirements}"

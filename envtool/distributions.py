"""What installed distributions offer under a group of entry points: read from their `entry_points.txt`, as
importlib.metadata does, which costs more to import than a spec to read.

Directories of sys.path are looked through by the rules of the specifications "Recording installed projects" and "Entry
points" (packaging.python.org). Where anything else may know distributions (an archive or an egg on sys.path, a finder
of somebody's own), importlib.metadata is asked.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DISTRIBUTION = "envtool-core"
_VALUE = re.compile(r"(?P<module>[\w.]+)\s*(?::\s*(?P<attribute>[\w.]+))?")
_KNOWN = (".dist-info", ".egg-info")


class Distribution(Protocol):
    """As much of importlib.metadata.Distribution as is asked for."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


class EntryPoint(Protocol):
    """As much of importlib.metadata.EntryPoint as is asked for."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def dist(self) -> Distribution | None: ...
    def load(self) -> Any:
        """Import what it names. Raises what its module raises."""


@dataclass(frozen=True, slots=True)
class Offered:
    """One line of an `entry_points.txt`; `place` is the directory that this file is in."""

    name: str
    value: str
    group: str
    place: str

    @property
    def dist(self) -> Distribution | None:
        """The distribution that has this line."""
        return _named(self.place)

    def load(self) -> Any:
        """Import what it names. Raises what its module raises."""
        found = _VALUE.fullmatch(self.value)
        if found is None:  # extras, or nothing that can be imported: importlib.metadata has the rules
            from importlib.metadata import EntryPoint as Whole

            return Whole(self.name, self.value, self.group).load()
        attributes = filter(None, (found["attribute"] or "").split("."))
        return functools.reduce(getattr, attributes, import_module(found["module"]))


def of_group(group: str) -> Iterable[EntryPoint]:
    """The entry points of a group. A distribution that is installed twice counts where it is found first."""
    try:
        return [*_read(group, sys.path)] if _plain() else _asked(group)
    except (OSError, UnicodeError):
        return _asked(group)


def _asked(group: str) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _plain() -> bool:
    """Whether every distribution is one of a directory of sys.path."""
    finders = {getattr(each, "__name__", type(each).__name__) for each in sys.meta_path if _finds(each)}
    return finders <= {"PathFinder", "MetadataPathFinder"} and not any(
        not isinstance(path, str) or path.lower().endswith(".egg") or os.path.isfile(path) for path in sys.path
    )


def _finds(finder: object) -> bool:
    return getattr(finder, "find_distributions", None) is not None


def _read(group: str, paths: Iterable[str]) -> Iterator[Offered]:
    seen: set[str] = set()
    for path in paths:
        try:
            names = os.listdir(path or ".")
        except OSError:
            continue
        for name in names:
            stem, end = os.path.splitext(name)
            if end.lower() not in _KNOWN:
                continue
            normal = re.sub(r"[-_.]+", "-", stem.partition("-")[0]).lower()
            if normal not in seen:
                seen.add(normal)
                yield from _lines(os.path.join(path or ".", name), group)


def _lines(place: str, group: str) -> Iterator[Offered]:
    try:
        with open(os.path.join(place, "entry_points.txt"), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return
    section = ""
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#") and section == group:
            name, _, value = line.partition("=")
            yield Offered(name=name.strip(), value=value.strip(), group=group, place=place)


@dataclass(frozen=True, slots=True)
class Named:
    """What a distribution calls itself."""

    name: str
    version: str


def _named(place: str) -> Distribution:
    """By its metadata ("Core metadata specifications": header fields, up to an empty line)."""
    found: dict[str, str] = {}
    for file in ("METADATA", "PKG-INFO"):
        try:
            with open(os.path.join(place, file), encoding="utf-8") as lines:
                for line in lines:
                    field, colon, value = line.partition(":")
                    if not line.strip() or not colon:
                        break
                    found.setdefault(field.lower(), value.strip())
                    if {"name", "version"} <= found.keys():
                        return Named(name=found["name"], version=found["version"])
        except (OSError, UnicodeError):
            continue
    from importlib.metadata import Distribution as Whole

    return Whole.at(place)


def extra_requirements(extra: str) -> tuple[str, ...]:
    """Requirements, as the metadata of our distribution has them; none where we are not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        parted = [line.partition(";") for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return ()
    return tuple(
        line.strip() for line, _, marker in parted if marker.replace('"', "'").strip() == f"extra == '{extra}'"
    )


def install_command(extra: str) -> str:
    """The command that installs what an extra requires beside this very envtool: in pipx's environment, or by pip or uv
    in that of a Python.

    It names the requirements themselves. `pip install envtool-core[…]` would ask an index for our own name, which is on
    none (docs/decisions/0001): code of anybody who registered that name would run here.
    """
    import shlex
    from importlib.util import find_spec

    names = " ".join(map(shlex.quote, extra_requirements(extra)))
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject {shlex.quote(os.path.basename(sys.prefix))} {names}"
    python = shlex.quote(sys.executable)
    if find_spec("pip") is None:  # environments of uv have none
        return f"uv pip install --python {python} {names}"
    return f"{python} -m pip install {names}"

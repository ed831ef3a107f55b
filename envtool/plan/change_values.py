"""The changes that `envtool why` lists, as values, and how a JSON value is shown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from envtool.api.kind import archive_package
from envtool.keys import canonical_json
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.plan.json_diff import MISSING, JsonDifference, Side

Part: TypeAlias = Literal[
    "format", "kind", "arch", "epoch", "base", "layer", "spec", "machine", "material", "input", "file", "pin",
    "service", "variable", "question", "lock", "other",
]  # fmt: skip
PackageOfFile: TypeAlias = Callable[[str], tuple[str, str]]  # `Kind.package` of the layer's kind
How: TypeAlias = Literal["changed", "added", "removed", "renamed", "order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `old` and `new` are texts to show (empty: absent, or too long); `where` is a place
    (`envtool.yaml:14`); `follows`: it is a consequence of another change in the list; `because` lists the changes of a
    layer below whose content changed."""

    part: Part
    name: str
    how: How = "changed"
    old: str = ""
    new: str = ""
    note: str = ""
    where: str = ""
    follows: bool = False
    because: tuple[Change, ...] = ()


def _no_location(*_: str) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationLookup:
    """Functions that find where a thing is written: each takes a name and returns `file:line`, or an empty text."""

    pin: Callable[[str, str], str] = _no_location  # of a pin (name, version): in the lock, and where it is required
    option: Callable[[str], str] = _no_location  # of a text in the layer's options, in the spec
    variable: Callable[[str], str] = _no_location  # of the layer that sets it
    service: Callable[[str], str] = _no_location  # in the spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A base or layer that another one, or a task, stands on. `name` is empty where it is no longer known."""

    diff_id: str
    name: str = ""
    subject: Literal["base", "layer"] = "layer"
    document: Mapping[str, Json] = field(default_factory=dict)
    package: PackageOfFile = archive_package


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedDocument:
    """One side of a comparison: a document and what is known beside it. `options` MISSING: not known."""

    document: Mapping[str, Json]
    below: tuple[Parent, ...] = ()
    options: Side = MISSING
    package: PackageOfFile = archive_package
    beside: Mapping[str, tuple[Parent, ...]] = field(default_factory=dict)  # service beside a task -> its stack


def change_of(part: Part, difference: JsonDifference, locations: LocationLookup | None = None) -> Change:
    """Turns a difference into a change. A path of a file is its name; otherwise the whole JSON path is."""
    words = [step for step in difference.path if isinstance(step, str)]
    name = words[-1] if words and words[-1].startswith("/") else ".".join(words)
    old, new = display_value(difference.old), display_value(difference.new)
    new_line = next((line for line in new.splitlines() if line not in old.splitlines()), new)
    where = locations.option(new_line or (words[-1] if words else "")) if locations else ""
    return Change(part=part, name=name, how=difference.how, old=old, new=new, where=where)


def display_value(value: Side | Sequence[Json]) -> str:
    """Returns a value as text: texts as they are, a list of one as its member, the rest as JSON."""
    if value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        return display_value(value[0])
    return canonical_json(value).decode()  # type: ignore[arg-type]


def short_digest(digest: str) -> str:
    """Returns the first twelve digits of a hash, without its algorithm."""
    return digest.rpartition(":")[2][:12]

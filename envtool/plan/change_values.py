"""What `envtool why` says changed, as values, and how a JSON value is shown in one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from envtool.keys import canonical_json
from envtool.model import Json
from envtool.plan.json_diff import MISSING, JsonDifference, Side

Part: TypeAlias = Literal[
    "format", "kind", "arch", "epoch", "base", "layer", "spec", "machine", "material", "input", "file", "pin",
    "variable", "question", "lock", "other",
]  # fmt: skip
How: TypeAlias = Literal["changed", "added", "removed", "renamed", "order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is otherwise. `old` and `new` are texts to show (empty: not there, or nothing short to say);
    `where` is a place (`envtool.yaml:14`); `follows`: it changed in consequence of another change beside it;
    `because` says what had changed in a layer below that came out otherwise."""

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
    """Where things stand, as far as somebody knows: each takes a name and returns `file:line`, or nothing."""

    pin: Callable[[str, str], str] = _no_location  # of a pin (name, version), in the lock and where it is asked for
    option: Callable[[str], str] = _no_location  # of a text in the layer's options, in the spec
    variable: Callable[[str], str] = _no_location  # who sets it


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """One of what something stands on. `name` is empty where it is not known any more."""

    diff_id: str
    name: str = ""
    subject: Literal["base", "layer"] = "layer"
    document: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedDocument:
    """One of the two that are compared: the document, and what is known beside it. `options` MISSING: not known."""

    document: Mapping[str, Json]
    below: tuple[Parent, ...] = ()
    options: Side = MISSING


def change_of(part: Part, one: JsonDifference, places: LocationLookup | None = None) -> Change:
    """A difference as a change. A path in a file system is name enough; else the whole way to it is."""
    words = [step for step in one.path if isinstance(step, str)]
    name = words[-1] if words and words[-1].startswith("/") else ".".join(words)
    old, new = display_value(one.old), display_value(one.new)
    fresh = next((line for line in new.splitlines() if line not in old.splitlines()), new)
    where = places.option(fresh or (words[-1] if words else "")) if places else ""
    return Change(part=part, name=name, how=one.how, old=old, new=new, where=where)


def display_value(value: Side | Sequence[Json]) -> str:
    """A value as it is shown: texts as they are, lists of one as that one, all else as JSON."""
    if value is MISSING:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        return display_value(value[0])
    return canonical_json(value).decode()  # type: ignore[arg-type]


def short_digest(digest: str) -> str:
    """The first twelve digits of a hash, without its algorithm."""
    return digest.rpartition(":")[2][:12]

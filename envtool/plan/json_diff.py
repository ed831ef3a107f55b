"""Finds the places where two JSON values differ. Pure.

Lists whose members have names (rows that begin with a text, objects with a `name`) are compared by name, so that a new
member is one difference; other lists are compared as sequences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Literal, TypeAlias

from envtool.keys import canonical_json
from envtool.lazy_dataclass import dataclass
from envtool.model import Json

MAX_ORDERED = 2000  # members of a list beyond which the order is ignored: aligning is quadratic


class Missing(Enum):
    """There is no value on this side."""

    missing = 0


MISSING = Missing.missing
Side: TypeAlias = "Json | Missing"
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonDifference:
    """One place. `path` leads to it by keys, positions (in the new list, where it has the member) and names of members;
    `how` is "order" where a list has the same members in another order."""

    path: Path
    old: Side
    new: Side
    how: Literal["changed", "added", "removed", "order"] = "changed"


def diff_json(old: Json, new: Json, path: Path = ()) -> tuple[JsonDifference, ...]:
    """Returns every place where two values differ; none exactly when their canonical forms are equal."""
    return tuple(_differences(old, new, path))


def _differences(old: Json, new: Json, path: Path) -> Iterator[JsonDifference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key not in old:
                yield JsonDifference(path=(*path, key), old=MISSING, new=new[key], how="added")
            elif key not in new:
                yield JsonDifference(path=(*path, key), old=old[key], new=MISSING, how="removed")
            else:
                yield from _differences(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        names = _member_names(old), _member_names(new)
        if names[0] is not None and names[1] is not None:
            yield from _diff_named(dict(zip(names[0], old, strict=True)), dict(zip(names[1], new, strict=True)), path)
        else:
            yield from _diff_sequence(old, new, path)
    elif canonical_json(old) != canonical_json(new):  # not `!=`: 1, 1.0 and true are equal in Python, but not in JSON
        yield JsonDifference(path=path, old=old, new=new)


def _member_names(members: Sequence[Json]) -> list[str] | None:
    """Returns a name for each member; None where one has none, or two have the same."""
    names: list[str] = []
    for member in members:
        name: Json = None
        if isinstance(member, dict):
            name = member.get("name")
        elif isinstance(member, list) and len(member) > 1:
            name = member[0]
        if not isinstance(name, str):
            return None
        names.append(name)
    return names if len(set(names)) == len(names) else None


def _diff_named(old: dict[str, Json], new: dict[str, Json], path: Path) -> Iterator[JsonDifference]:
    before = [name for name in old if name in new]
    after = [name for name in new if name in old]
    if before != after:
        yield JsonDifference(path=path, old=[*old.values()], new=[*new.values()], how="order")
    for name in (*new, *(name for name in old if name not in new)):
        if name not in old:
            yield JsonDifference(path=(*path, name), old=MISSING, new=new[name], how="added")
        elif name not in new:
            yield JsonDifference(path=(*path, name), old=old[name], new=MISSING, how="removed")
        else:
            yield from _differences(old[name], new[name], (*path, name))


def _diff_sequence(old: list[Json], new: list[Json], path: Path) -> Iterator[JsonDifference]:
    texts = [canonical_json(member) for member in old], [canonical_json(member) for member in new]
    if texts[0] == texts[1]:
        return
    if Counter(texts[0]) == Counter(texts[1]):
        yield JsonDifference(path=path, old=[*old], new=[*new], how="order")
        return
    if max(len(old), len(new)) > MAX_ORDERED:
        yield from _diff_unordered(old, new, texts, path)
        return
    from difflib import SequenceMatcher

    for tag, a, b, c, d in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        both = min(b - a, d - c)
        for index in range(both):
            yield from _differences(old[a + index], new[c + index], (*path, c + index))
        for index in range(a + both, b):
            yield JsonDifference(path=(*path, index), old=old[index], new=MISSING, how="removed")
        for index in range(c + both, d):
            yield JsonDifference(path=(*path, index), old=MISSING, new=new[index], how="added")


def _diff_unordered(
    old: list[Json], new: list[Json], texts: tuple[list[bytes], list[bytes]], path: Path
) -> Iterator[JsonDifference]:
    counts = Counter(texts[0]), Counter(texts[1])
    removed, added = counts[0] - counts[1], counts[1] - counts[0]
    for index, text in enumerate(texts[0]):
        if removed[text] > 0:
            removed[text] -= 1
            yield JsonDifference(path=(*path, index), old=old[index], new=MISSING, how="removed")
    for index, text in enumerate(texts[1]):
        if added[text] > 0:
            added[text] -= 1
            yield JsonDifference(path=(*path, index), old=MISSING, new=new[index], how="added")

"""Where two layers or stacks differ: packages first, then files. By manifests: contents are compared by size and
CRC-32, which tells what changed and not what somebody hid on purpose; trust rests on diff IDs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from envtool.api import Package
from envtool.store.overlay_view import Entries, OverlayEntry, merge_layers, parse_record

KINDS = ("type", "content", "link", "device", "mode", "owner", "xattr")
Tree: TypeAlias = Mapping[bytes, bytes]  # path -> fields of each entry, as a manifest has them
COUNT_DEPTH = 3  # components of a path by which differences are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One path. `how` is "added", "removed" or "changed"; `kinds` (of KINDS) say what is another; sizes are bytes."""

    path: str
    how: str
    kinds: tuple[str, ...]
    old: OverlayEntry | None
    new: OverlayEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPackage:
    """One package: its versions before and after, several where it is there several times."""

    type: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def how(self) -> str:
        """Added, removed or changed."""
        return "changed" if self.old and self.new else "added" if self.new else "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDifferences:
    """The differences below one directory, counted. `size` is how many bytes it grew by."""

    path: str
    added: int
    removed: int
    changed: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeDifferences:
    """All of it, sorted."""

    packages: tuple[ChangedPackage, ...]
    files: tuple[ChangedFile, ...]
    places: tuple[DirectoryDifferences, ...]

    @property
    def same(self) -> bool:
        """Whether there is none."""
        return not self.packages and not self.files


def diff_trees(old: Tree, new: Tree, before: Iterable[Package], after: Iterable[Package]) -> TreeDifferences:
    """Of two trees and the packages in them. Pure."""
    changed = diff_files(old, new)
    return TreeDifferences(packages=diff_packages(before, after), files=changed, places=count_by_directory(changed))


def visible_tree(stack: Sequence[Entries]) -> Tree:
    """A stack (bottom first) as its containers see it: what hides and what is deleted has done so."""
    return {
        path: b"d" + fields[1:] if fields[:1] == b"o" else fields for path, (fields, _) in merge_layers(stack).items()
    }


def diff_files(old: Tree, new: Tree) -> tuple[ChangedFile, ...]:
    """Every path that is not the same."""
    found: list[ChangedFile] = []
    for path in sorted(old.keys() | new.keys()):
        mine, other = old.get(path), new.get(path)
        if mine == other:
            continue
        was, now = parse_record(mine) if mine else None, parse_record(other) if other else None
        kinds = _changed_kinds(was, now) if was and now else ()
        if was and now and not kinds:
            continue
        how = "changed" if was and now else "added" if now else "removed"
        found.append(ChangedFile(path=f"/{os.fsdecode(path)}", how=how, kinds=kinds, old=was, new=now))
    return tuple(found)


def _changed_kinds(old: OverlayEntry, new: OverlayEntry) -> tuple[str, ...]:
    if old.letter != new.letter:
        return ("type",)
    found: list[str] = []
    if old.letter == "f":
        marks = [(*each.mark.split(":"), "")[:3] if each.mark != "-" else ("0", "", "") for each in (old, new)]
        found += ["content"] if marks[0][:2] != marks[1][:2] else []
        found += ["xattr"] if marks[0][2] != marks[1][2] else []
    elif old.mark != new.mark:
        found.append("link" if old.letter == "l" else "device")
    if old.mode != new.mode and old.letter != "l":
        found.append("mode")
    if (old.uid, old.gid) != (new.uid, new.gid):
        found.append("owner")
    return tuple(found)


def diff_packages(before: Iterable[Package], after: Iterable[Package]) -> tuple[ChangedPackage, ...]:
    """Every package that is not there as often, or not in the same versions."""
    old, new = _versions(before), _versions(after)
    return tuple(
        ChangedPackage(type=key[0], name=key[1], old=old.get(key, ()), new=new.get(key, ()))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, ()) != new.get(key, ())
    )


def _versions(packages: Iterable[Package]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for each in packages:
        name = f"{each.namespace}/{each.name}" if each.type == "npm" and each.namespace else each.name
        found.setdefault((each.type, name), []).append(each.version)
    return {key: tuple(sorted(versions)) for key, versions in found.items()}


def count_by_directory(changed: Sequence[ChangedFile]) -> tuple[DirectoryDifferences, ...]:
    """By directory, those with the most differences first."""
    found: dict[str, list[int]] = {}
    for each in changed:
        parts = each.path.split("/")
        place = "/".join(parts[: min(len(parts) - 1, COUNT_DEPTH + 1)]) or "/"
        counts = found.setdefault(place, [0, 0, 0, 0])
        counts[("added", "removed", "changed").index(each.how)] += 1
        counts[3] += (each.new.size if each.new else 0) - (each.old.size if each.old else 0)
    return tuple(
        DirectoryDifferences(path=path, added=added, removed=removed, changed=other, size=size)
        for path, (added, removed, other, size) in sorted(found.items(), key=lambda pair: (-sum(pair[1][:3]), pair[0]))
    )

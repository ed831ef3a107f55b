"""Compares the packages and files of two layers or stacks, by their manifests.

Contents are compared by size and CRC-32. That finds changes, but not forged contents: those are found by diff IDs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from envtool.api import Package
from envtool.lazy_dataclass import dataclass
from envtool.store.overlay_view import Entries, OverlayEntry, merge_layers, parse_record

KINDS = ("type", "content", "link", "device", "mode", "owner", "xattr")  # how an entry can differ
Tree: TypeAlias = Mapping[bytes, bytes]  # path -> the fields of its entry in a manifest
COUNT_DEPTH = 3  # number of leading path components by which differences are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """One path. `how` is "added", "removed" or "changed"; `kinds` (of KINDS) say how its entry differs."""

    path: str
    how: str
    kinds: tuple[str, ...]
    old: OverlayEntry | None
    new: OverlayEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPackage:
    """One package: its versions before and after; several if it is installed several times."""

    type: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def how(self) -> str:
        """One of "added", "removed" and "changed"."""
        return "changed" if self.old and self.new else "added" if self.new else "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDifferences:
    """The number of differences below one directory. `size`: the bytes by which it grew, negative if it shrank."""

    path: str
    added: int
    removed: int
    changed: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeDifferences:
    """All differences of two trees, each list sorted."""

    packages: tuple[ChangedPackage, ...]
    files: tuple[ChangedFile, ...]
    places: tuple[DirectoryDifferences, ...]

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return not self.packages and not self.files


def diff_trees(old: Tree, new: Tree, before: Iterable[Package], after: Iterable[Package]) -> TreeDifferences:
    """Compare two trees and the packages in them. Pure."""
    changed = diff_files(old, new)
    return TreeDifferences(packages=diff_packages(before, after), files=changed, places=count_by_directory(changed))


def visible_tree(stack: Sequence[Entries]) -> Tree:
    """The tree that a container of the stack (bottom first) sees."""
    return {
        path: b"d" + fields[1:] if fields[:1] == b"o" else fields for path, (fields, _) in merge_layers(stack).items()
    }


def diff_files(old: Tree, new: Tree) -> tuple[ChangedFile, ...]:
    """Every path whose entries differ."""
    changes: list[ChangedFile] = []
    for path in sorted(old.keys() | new.keys()):
        old_fields, new_fields = old.get(path), new.get(path)
        if old_fields == new_fields:
            continue
        old_entry, new_entry = (
            parse_record(old_fields) if old_fields else None,
            parse_record(new_fields) if new_fields else None,
        )
        kinds = _changed_kinds(old_entry, new_entry) if old_entry and new_entry else ()
        if old_entry and new_entry and not kinds:
            continue
        how = "changed" if old_entry and new_entry else "added" if new_entry else "removed"
        changes.append(ChangedFile(path=f"/{os.fsdecode(path)}", how=how, kinds=kinds, old=old_entry, new=new_entry))
    return tuple(changes)


def _changed_kinds(old: OverlayEntry, new: OverlayEntry) -> tuple[str, ...]:
    if old.letter != new.letter:
        return ("type",)
    kinds: list[str] = []
    if old.letter == "f":
        marks = [(*entry.mark.split(":"), "")[:3] if entry.mark != "-" else ("0", "", "") for entry in (old, new)]
        kinds += ["content"] if marks[0][:2] != marks[1][:2] else []
        kinds += ["xattr"] if marks[0][2] != marks[1][2] else []
    elif old.mark != new.mark:
        kinds.append("link" if old.letter == "l" else "device")
    if old.mode != new.mode and old.letter != "l":
        kinds.append("mode")
    if (old.uid, old.gid) != (new.uid, new.gid):
        kinds.append("owner")
    return tuple(kinds)


def diff_packages(before: Iterable[Package], after: Iterable[Package]) -> tuple[ChangedPackage, ...]:
    """Every package whose versions, or number of installations, differ."""
    old, new = _versions(before), _versions(after)
    return tuple(
        ChangedPackage(type=key[0], name=key[1], old=old.get(key, ()), new=new.get(key, ()))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, ()) != new.get(key, ())
    )


def _versions(packages: Iterable[Package]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    by_package: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        by_package.setdefault((package.type, package.display_name), []).append(package.version)
    return {key: tuple(sorted(versions)) for key, versions in by_package.items()}


def count_by_directory(changed: Sequence[ChangedFile]) -> tuple[DirectoryDifferences, ...]:
    """The differences by directory, those with the most first."""
    counts_by_directory: dict[str, list[int]] = {}
    for change in changed:
        parts = change.path.split("/")
        directory = "/".join(parts[: min(len(parts) - 1, COUNT_DEPTH + 1)]) or "/"
        counts = counts_by_directory.setdefault(directory, [0, 0, 0, 0])
        counts[("added", "removed", "changed").index(change.how)] += 1
        counts[3] += (change.new.size if change.new else 0) - (change.old.size if change.old else 0)
    return tuple(
        DirectoryDifferences(path=path, added=added, removed=removed, changed=modified, size=size)
        for path, (added, removed, modified, size) in sorted(
            counts_by_directory.items(), key=lambda pair: (-sum(pair[1][:3]), pair[0])
        )
    )

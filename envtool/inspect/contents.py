"""What lies in a layer or a stack, and who put it there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from envtool.api import Package, Tree
from envtool.build.stack_files import StackTree
from envtool.model import Json
from envtool.run.stack_contents import call_hook, list_packages
from envtool.store.layers import Layer, read_records
from envtool.store.overlay_view import OverlayEntry, merge_layers, parse_record, path_history

TYPE_NAMES = {"d": "directory", "o": "directory", "f": "file", "l": "symlink", "w": "deletion", "p": "fifo",
         "b": "block device", "c": "character device"}  # fmt: skip
SUM_DEPTH = 2  # components of a path that a sum of sizes is told for


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedLayer:
    """A made layer with its place in a spec, or with as much of that as its sheet says."""

    subject: str  # "base", "layer"
    name: str
    kind: str
    layer: Layer
    disk: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One entry. `layer` is the index of the one that has it, in a stack."""

    path: str  # absolute
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    layer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTotals:
    """Of many files. `directories` are (path, bytes of all files below), largest first."""

    entries: int
    types: Mapping[str, int]
    size: int  # bytes of contents
    directories: tuple[tuple[str, int], ...]
    files: tuple[ListedFile, ...]  # the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """A layer, looked into. `brought` are packages that are in what it makes and not in what it stands on; None where
    that is not in the store any more."""

    member: PlacedLayer
    sums: FileTotals
    brought: tuple[Package, ...] | None
    built: Mapping[str, Json]
    below: tuple[str, ...]  # keys, bottom first; empty where one is gone
    files: tuple[ListedFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackLayer:
    """A layer in a stack. `seen` are bytes of its files that no other layer hides."""

    member: PlacedLayer
    entries: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvReport:
    """A stack, looked into, bottom first."""

    env: str
    steps: tuple[StackLayer, ...]
    sums: FileTotals
    packages: Mapping[str, int]  # type -> how many
    files: tuple[ListedFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInLayer:
    """What one layer says of a path: whether that is seen, and what it is there."""

    member: PlacedLayer
    file: ListedFile
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """A path of a stack: all that layers say of it, bottom first, and the packages that it belongs to."""

    path: str
    there: bool
    said: tuple[PathInLayer, ...]
    owners: tuple[Package, ...] = field(default=())


def inspect_layer(
    member: PlacedLayer, below: Sequence[Layer] | None, plugins: Sequence[object], *, files: bool
) -> LayerReport:
    """Look into one layer; `below` is what it stands on, None where that is not all there. Raises UsageError for a
    plugin that fails, MakeError for a damaged layer."""
    found = [_listed_file(path, parse_record(fields)) for path, fields in read_records(member.layer)]
    brought: tuple[Package, ...] | None = None
    if below is not None:
        before = {_package_identity(each) for each in list_packages(StackTree(below), plugins)} if below else set()
        after = list_packages(StackTree([*below, member.layer]), plugins)
        brought = tuple(each for each in after if _package_identity(each) not in before)
    return LayerReport(
        member=member,
        sums=sum_files(found),
        brought=brought,
        built=member.layer.built,
        below=tuple(each.key for each in below or ()),
        files=tuple(found) if files else (),
    )


def _package_identity(package: Package) -> tuple[str, str, str, str]:
    return package.type, package.namespace, package.name, package.version


def inspect_env(name: str, members: Sequence[PlacedLayer], plugins: Sequence[object], *, files: bool) -> EnvReport:
    """Look into a stack. Raises as `layer`."""
    listed = [[*read_records(member.layer)] for member in members]
    seen = [_listed_file(path, parse_record(fields), at) for path, (fields, at) in sorted(merge_layers(listed).items())]
    sizes = [0] * len(members)
    for each in seen:
        sizes[each.layer] += each.size
    counts: dict[str, int] = {}
    for package in list_packages(StackTree([member.layer for member in members]), plugins):
        counts[package.type] = counts.get(package.type, 0) + 1
    return EnvReport(
        env=name,
        steps=tuple(
            StackLayer(member=member, entries=len(entries), seen=size)
            for member, entries, size in zip(members, listed, sizes, strict=True)
        ),
        sums=sum_files(seen),
        packages=counts,
        files=tuple(seen) if files else (),
    )


def inspect_path(where: str, members: Sequence[PlacedLayer], plugins: Sequence[object]) -> PathReport:
    """Who put a path there. `where` is absolute. Raises as `layer`."""
    name = os.path.normpath(where).lstrip("/")
    told = path_history(os.fsencode(name), [read_records(member.layer) for member in members])
    said = tuple(
        PathInLayer(member=members[at], file=_listed_file(os.fsencode(name), parse_record(fields), at), seen=seen)
        for at, fields, seen in told
    )
    there = any(each.seen for each in said)
    tree: Tree = StackTree([member.layer for member in members])
    whose = find_owners(tree, f"/{name}", plugins) if there else ()
    return PathReport(path=f"/{name}", there=there, said=said, owners=whose)


def find_owners(tree: Tree, where: str, plugins: Sequence[object]) -> tuple[Package, ...]:
    """The packages that say that a path is theirs."""
    return tuple(call_hook("envtool_owners", plugins, tree=tree, path=where))


def sum_files(found: Iterable[ListedFile], most: int = 10) -> FileTotals:
    """Pure."""
    types: dict[str, int] = {}
    sizes: dict[str, int] = {}
    total = count = 0
    largest: list[ListedFile] = []
    for each in found:
        count += 1
        types[each.type] = types.get(each.type, 0) + 1
        if not each.size:
            continue
        total += each.size
        parts = each.path.split("/")
        place = "/".join(parts[: min(len(parts) - 1, SUM_DEPTH + 1)]) or "/"
        sizes[place] = sizes.get(place, 0) + each.size
        largest.append(each)
    largest.sort(key=lambda each: (-each.size, each.path))
    ranked = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    return FileTotals(
        entries=count, types=types, size=total, directories=tuple(ranked[:most]), files=tuple(largest[:most])
    )


def _listed_file(name: bytes, said: OverlayEntry, at: int = 0) -> ListedFile:
    return ListedFile(
        path=f"/{os.fsdecode(name)}",
        type=TYPE_NAMES.get(said.letter, said.letter),
        mode=said.mode,
        uid=said.uid,
        gid=said.gid,
        size=said.size,
        layer=at,
    )


def hides(report: PathReport) -> tuple[PathInLayer, ...]:
    """What is there and not seen."""
    return tuple(each for each in report.said if not each.seen and each.file.type != TYPE_NAMES["w"])

"""Reports what is in a layer or a stack, and which layer and package put a file there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from envtool.api import Package, Tree
from envtool.build.stack_files import StackTree
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.run.stack_contents import call_hook, list_packages
from envtool.store.layers import Layer, read_records
from envtool.store.overlay_view import OverlayEntry, merge_layers, parse_record, path_history

TYPE_NAMES = {"d": "directory", "o": "directory", "f": "file", "l": "symlink", "w": "deletion", "p": "fifo",
         "b": "block device", "c": "character device"}  # fmt: skip
SUM_DEPTH = 2  # number of leading path components by which sizes are summed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedLayer:
    """A stored layer, with its name and kind in the spec, or as its layer.json has them."""

    subject: str  # "base", "layer"
    name: str
    kind: str
    layer: Layer
    disk: int  # bytes on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One entry of a layer. In a stack `layer` is the index of its layer, bottom first."""

    path: str  # absolute
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    layer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTotals:
    """Sums over the entries of a layer or stack. `directories`: (path, bytes of all files below), largest first."""

    entries: int
    types: Mapping[str, int]
    size: int  # bytes of contents
    directories: tuple[tuple[str, int], ...]
    files: tuple[ListedFile, ...]  # the largest files, largest first


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """The contents of a layer. `brought`: the packages that the layer adds to the layers below it; None if one of those
    is not in the store any more."""

    member: PlacedLayer
    sums: FileTotals
    brought: tuple[Package, ...] | None
    built: Mapping[str, Json]
    below: tuple[str, ...]  # keys of the layers below, bottom first; empty if one of them is gone
    files: tuple[ListedFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackLayer:
    """A layer of a stack. `seen`: bytes of its files that no layer above hides."""

    member: PlacedLayer
    entries: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvReport:
    """The contents of a stack; `steps` are its layers, bottom first."""

    env: str
    steps: tuple[StackLayer, ...]
    sums: FileTotals
    packages: Mapping[str, int]  # type -> number of packages
    files: tuple[ListedFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInLayer:
    """The entry of a path in one layer, and whether a container of the stack sees this entry."""

    member: PlacedLayer
    file: ListedFile
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """A path in a stack. `there`: whether a container sees it; `said`: its entries in the layers, bottom first;
    `owners`: the packages that it belongs to; `mounted`: the directory of this machine that a container shows there,
    "" for none: then no layer has what is below."""

    path: str
    there: bool
    said: tuple[PathInLayer, ...]
    owners: tuple[Package, ...] = field(default=())
    mounted: str = ""


def inspect_layer(
    member: PlacedLayer, below: Sequence[Layer] | None, plugins: Sequence[object], *, files: bool
) -> LayerReport:
    """Report on one layer; `below` are the layers below it, None if one of them is missing. Raises UsageError for a
    plugin that fails, MakeError for a damaged layer."""
    entries = [_listed_file(path, parse_record(fields)) for path, fields in read_records(member.layer)]
    brought: tuple[Package, ...] | None = None
    if below is not None:
        known = {_package_identity(package) for package in list_packages(StackTree(below), plugins)} if below else set()
        packages = list_packages(StackTree([*below, member.layer]), plugins)
        brought = tuple(package for package in packages if _package_identity(package) not in known)
    return LayerReport(
        member=member,
        sums=sum_files(entries),
        brought=brought,
        built=member.layer.built,
        below=tuple(layer.key for layer in below or ()),
        files=tuple(entries) if files else (),
    )


def _package_identity(package: Package) -> tuple[str, str, str, str]:
    return package.type, package.namespace, package.name, package.version


def inspect_env(name: str, members: Sequence[PlacedLayer], plugins: Sequence[object], *, files: bool) -> EnvReport:
    """Report on a stack, bottom first. Raises as inspect_layer."""
    records = [[*read_records(member.layer)] for member in members]
    visible = [
        _listed_file(path, parse_record(fields), index)
        for path, (fields, index) in sorted(merge_layers(records).items())
    ]
    sizes = [0] * len(members)
    for file in visible:
        sizes[file.layer] += file.size
    counts: dict[str, int] = {}
    for package in list_packages(StackTree([member.layer for member in members]), plugins):
        counts[package.type] = counts.get(package.type, 0) + 1
    return EnvReport(
        env=name,
        steps=tuple(
            StackLayer(member=member, entries=len(entries), seen=size)
            for member, entries, size in zip(members, records, sizes, strict=True)
        ),
        sums=sum_files(visible),
        packages=counts,
        files=tuple(visible) if files else (),
    )


def inspect_path(path: str, members: Sequence[PlacedLayer], plugins: Sequence[object]) -> PathReport:
    """Report which layers of a stack have a path, and which packages own it. `path` is absolute. Raises as
    inspect_layer."""
    name = os.path.normpath(path).lstrip("/")
    history = path_history(os.fsencode(name), [read_records(member.layer) for member in members])
    entries = tuple(
        PathInLayer(member=members[index], file=_listed_file(os.fsencode(name), parse_record(fields), index), seen=seen)
        for index, fields, seen in history
    )
    there = any(entry.seen for entry in entries)
    tree: Tree = StackTree([member.layer for member in members])
    owners = find_owners(tree, f"/{name}", plugins) if there else ()
    return PathReport(path=f"/{name}", there=there, said=entries, owners=owners)


def find_owners(tree: Tree, path: str, plugins: Sequence[object]) -> tuple[Package, ...]:
    """The packages whose file lists have this path, by the plugins' hook `envtool_owners`."""
    return tuple(call_hook("envtool_owners", plugins, tree=tree, path=path))


def sum_files(entries: Iterable[ListedFile], most: int = 10) -> FileTotals:
    """Count and sum the entries; keeps the `most` largest directories and files. Pure."""
    types: dict[str, int] = {}
    sizes: dict[str, int] = {}
    size = count = 0
    largest: list[ListedFile] = []
    for entry in entries:
        count += 1
        types[entry.type] = types.get(entry.type, 0) + 1
        if not entry.size:
            continue
        size += entry.size
        parts = entry.path.split("/")
        directory = "/".join(parts[: min(len(parts) - 1, SUM_DEPTH + 1)]) or "/"
        sizes[directory] = sizes.get(directory, 0) + entry.size
        largest.append(entry)
    largest.sort(key=lambda entry: (-entry.size, entry.path))
    ranked = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    return FileTotals(
        entries=count, types=types, size=size, directories=tuple(ranked[:most]), files=tuple(largest[:most])
    )


def _listed_file(name: bytes, entry: OverlayEntry, layer: int = 0) -> ListedFile:
    return ListedFile(
        path=f"/{os.fsdecode(name)}",
        type=TYPE_NAMES.get(entry.letter, entry.letter),
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        layer=layer,
    )

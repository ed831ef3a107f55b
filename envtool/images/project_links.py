"""Directories of layers that are seen inside the project (`Kind.in_project`), for containers that bind nothing there:
as links, at their place in the image's own project, and beside it for what tools look for upward.

One link does where all in the directory stays in it. Links of its own that lead out of it (npm's workspaces:
`node_modules/words -> ../packages/words`) mean another place when it is reached by a link: then it becomes a directory
of links, in which those lead to where they lead in the project.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence

from envtool.api import PROJECT
from envtool.build.parents import joins
from envtool.build.resolution import MadeLayer
from envtool.container import userns
from envtool.store.layers import read_records


def find_links(stack: Sequence[MadeLayer], exists: Callable[[str], bool]) -> dict[str, str]:
    """Path -> target of each link, both absolute. `exists` tells of a path (relative to the root) whether the stack has
    it."""
    found: dict[str, str] = {}
    for made in stack:
        for source, place in joins([made.settled]):
            outward = _outward_links(made, source)
            names = [os.fsdecode(path) for path, _ in read_records(made.layer)] if outward else []
            inside = _lay_out_links(source, place, names, outward)
            name = posixpath.basename(place)
            beside = posixpath.dirname(place) == PROJECT and not exists(name)
            for path, target in inside.items():
                found[place + path] = target
                if beside:
                    found[f"/{name}{path}"] = target
    return found


def _lay_out_links(source: str, place: str, names: Sequence[str], outward: Mapping[str, str]) -> dict[str, str]:
    """Path below the place ("" for itself, "/a/b") -> target. `names` are all paths of the layer, relative to the root;
    `outward` are links that lead out, by their path below the directory. Pure."""
    if not outward:
        return {"": source}
    real = {""} | {parent for path in outward for parent in _parent_paths(path)}
    found: dict[str, str] = {}
    top = source.strip("/") + "/"
    for name in names:
        below = name.removeprefix(top)
        if below == name or below in real or posixpath.dirname(below) not in real:
            continue
        link = outward.get(below)
        inside = posixpath.join(place, posixpath.dirname(below), link) if link is not None else f"{source}/{below}"
        found[f"/{below}"] = posixpath.normpath(inside)
    return found


def _parent_paths(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _outward_links(made: MadeLayer, source: str) -> dict[str, str]:
    """The relative links below a directory of a layer that lead out of it."""
    if not made.layer.tree:
        return {}
    found: dict[str, str] = userns.run_as_root(_scan_outward_links, source.strip("/"), at=made.layer.tree)
    return found


def _scan_outward_links(top: str) -> dict[str, str]:
    """Runs as container root in the layer's tree."""
    found = {}
    for directory, directories, files in os.walk(top):
        below = os.path.relpath(directory, top)
        for name in (*directories, *files):
            path = os.path.normpath(os.path.join(below, name))
            if os.path.islink(os.path.join(directory, name)):
                target = os.readlink(os.path.join(directory, name))
                if not target.startswith("/") and os.path.normpath(os.path.join(below, target)).startswith(".."):
                    found[path] = target
    return found

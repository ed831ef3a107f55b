"""Links to the directories of layers that are visible inside the project (`Kind.in_project`), for images whose
containers mount nothing there: in the image's own project, and beside it for tools that search upward.

One link is enough if all links in the directory stay in it. A link that leads out of it (npm's workspaces:
`node_modules/words -> ../packages/words`) means another file when the directory is reached by a link. Then the
directory becomes a directory of links, in which such a link leads to its target in the project.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence

from envtool.api import PROJECT
from envtool.build.stack import StoredLayer, project_mounts
from envtool.container.runner import Runner
from envtool.fs.tree_walk import walk_tree
from envtool.store.layers import read_records


def find_links(stack: Sequence[StoredLayer], exists: Callable[[str], bool], runner: Runner) -> dict[str, str]:
    """Returns path -> target of each link, both absolute. `exists` says whether the stack has a path (relative to the
    root)."""
    links: dict[str, str] = {}
    for made in stack:
        for source, target_directory in project_mounts([made.resolved])["joins"]:
            outward = _outward_links(made, source, runner)
            names = [os.fsdecode(path) for path, _ in read_records(made.layer)] if outward else []
            own_links = _lay_out_links(source, target_directory, names, outward)
            name = posixpath.basename(target_directory)
            in_root = posixpath.dirname(target_directory) == PROJECT and not exists(name)
            for path, link_target in own_links.items():
                links[target_directory + path] = link_target
                if in_root:
                    links[f"/{name}{path}"] = link_target
    return links


def _lay_out_links(
    source: str, target_directory: str, names: Sequence[str], outward: Mapping[str, str]
) -> dict[str, str]:
    """Returns path below the directory ("" for itself, "/a/b") -> target. `names` are all paths of the layer, relative
    to the root; `outward` are links that lead out, by their path below the directory. Pure."""
    if not outward:
        return {"": source}
    real_directories = {""} | {parent for path in outward for parent in _parent_paths(path)}
    links: dict[str, str] = {}
    top = source.strip("/") + "/"
    for name in names:
        relative = name.removeprefix(top)
        if relative == name or relative in real_directories or posixpath.dirname(relative) not in real_directories:
            continue
        link = outward.get(relative)
        target = (
            posixpath.join(target_directory, posixpath.dirname(relative), link)
            if link is not None
            else f"{source}/{relative}"
        )
        links[f"/{relative}"] = posixpath.normpath(target)
    return links


def _parent_paths(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _outward_links(made: StoredLayer, source: str, runner: Runner) -> dict[str, str]:
    """Returns the relative links below a directory of a layer that lead out of it."""
    if not made.layer.tree:
        return {}
    links: dict[str, str] = runner.as_root(_scan_outward_links, source.strip("/"), at=made.layer.tree)
    return links


def _scan_outward_links(top: str) -> dict[str, str]:
    """Runs as container root in the layer's tree."""
    links = {}
    for directory, directories, files in walk_tree(top):
        relative = os.path.relpath(directory, top)
        for name in (*directories, *files):
            path = os.path.normpath(os.path.join(relative, name))
            if os.path.islink(os.path.join(directory, name)):
                target = os.readlink(os.path.join(directory, name))
                if not target.startswith("/") and os.path.normpath(os.path.join(relative, target)).startswith(".."):
                    links[path] = target
    return links

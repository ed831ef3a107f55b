"""The files of a project that git does not list for us: all of them, but for the directories that tools make.

With git, .gitignore says what is no part of a project. Without, these rules do, for what tasks see, what layers depend
on and what is copied alike. A directory is a tool's by its name, by its name and a file beside it, or by what it says
of itself: `pyvenv.cfg` (PEP 405, virtual environments) or `CACHEDIR.TAG` (bford.info/cachedir, caches). On the warm
way: imports next to nothing.
"""

from __future__ import annotations

import os

from envtool.fs.beneath import open_beneath
from envtool.project import OWN, VENDOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

NAMES = frozenset((
    "__pycache__", "__pypackages__", ".venv", ".tox", ".nox", ".eggs", ".hypothesis", ".ipynb_checkpoints",
    ".mypy_cache", ".pytest_cache", ".pytype", ".ruff_cache",
    "node_modules", "bower_components", ".next", ".nuxt", ".nyc_output", ".parcel-cache", ".pnpm-store", ".svelte-kit",
    ".turbo",
    ".gradle", ".dart_tool", ".direnv", ".stack-work", ".terraform", ".vagrant", ".zig-cache", "dist-newstyle",
))  # fmt: skip
TOOL_MARKERS = {
    "target": ("Cargo.toml", "pom.xml", "build.sbt"),
    "build": ("build.gradle", "build.gradle.kts"),
    "_build": ("dune-project", "mix.exs"),
    ".build": ("Package.swift",),
    "zig-out": ("build.zig",),
}
VENV, TAG = "pyvenv.cfg", "CACHEDIR.TAG"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_IS_DIRECTORY, _IS_LINK = 1, 2
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def walk_files(
    top: int, below: str = "", *, everything: bool = False, lenient: bool = False
) -> tuple[list[str], list[str]]:
    """The files of a project, and the directories in it that are tools' (with links of such names), by their paths in
    it; in no order. `top` is a descriptor of the project, `below` the directory in it where to begin. With `everything`
    tools' directories are like others; what is git's or ours never is. Raises OSError for a directory that cannot be
    read; a `lenient` walk passes it over."""
    files: list[str] = []
    tools: list[str] = []
    pending = [below]
    while pending:
        path = pending.pop()
        try:
            found, own = _read(top, path)
        except OSError as error:
            if lenient:
                continue
            error.filename = path or "."
            raise
        if own and path and not everything:
            tools.append(path)
            continue
        prefix = f"{path}/" if path else ""
        for name, kind in found.items():
            if kind and not everything and is_tool_name(name, found):
                tools.append(prefix + name)
            elif kind != _IS_DIRECTORY:
                files.append(prefix + name)
            elif name != ".git" and (path or name not in (OWN, VENDOR)):
                pending.append(prefix + name)
    return files, tools


def is_tool_name(name: str, beside: Container[str]) -> bool:
    """Whether a directory is a tool's, as far as its name, and those `beside` it, tell."""
    return name in NAMES or any(each in beside for each in TOOL_MARKERS.get(name, ()))


def is_in_tool_directory(top: int, path: str) -> bool:
    """Whether a directory of the project is a tool's, or in one. Raises OSError."""
    way = ""
    parts = path.split("/") if path else []
    for name in parts:
        found, own = _read(top, way)
        if (own and way) or is_tool_name(name, found):
            return True
        way = f"{way}/{name}" if way else name
    return bool(way) and _read(top, way)[1]


def _read(top: int, path: str) -> tuple[dict[str, int], bool]:
    """What is in a directory: name -> _INNER, _LINK or 0; and whether it says that it is a tool's."""
    directory = open_beneath(top, path, _DIRECTORY, follow=False)
    try:
        with os.scandir(directory) as entries:
            found = {
                entry.name: _IS_DIRECTORY
                if entry.is_dir(follow_symlinks=False)
                else _IS_LINK
                if entry.is_symlink()
                else 0
                for entry in entries
            }
        return found, VENV in found or (TAG in found and _has_cachedir_tag(directory))
    finally:
        os.close(directory)


def _has_cachedir_tag(directory: int) -> bool:
    try:
        tag = os.open(TAG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        return os.read(tag, len(SIGNATURE)) == SIGNATURE
    except OSError:  # a directory, or what else is no file
        return False
    finally:
        os.close(tag)

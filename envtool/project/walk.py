"""Lists the files of a project that is in no repository: all of them, except in the directories that tools make.

With git, .gitignore says which files are no part of a project. Without git, these rules do, for what tasks see, what
layers depend on and what is copied. A directory is a tool's by its name, by its name and a file beside it, or by a file
in it: `pyvenv.cfg` (PEP 405, virtual environments) or `CACHEDIR.TAG` (bford.info/cachedir, caches). On the fast path:
imports next to nothing.
"""

from __future__ import annotations

import os

from envtool.fs.beneath import Descent
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
MAX_PATH = 4000  # characters of the path of a directory: programs open no path of more than 4,095 bytes (PATH_MAX)
_TOO_LONG = 36  # ENAMETOOLONG
_IS_DIRECTORY, _IS_LINK = 1, 2


def walk_files(
    top: int, below: str = "", *, everything: bool = False, lenient: bool = False
) -> tuple[list[str], list[str]]:
    """Returns the files of a project, and the tools' directories in it (with links of such names), by their paths in
    it, unordered. `top` is a descriptor of the project, `below` the directory in it where to begin. With `everything`
    tools' directories are like others; those of git and of envtool are always left out. Raises OSError for a directory
    that cannot be read, or is too deep; a `lenient` walk skips it."""
    files: list[str] = []
    tools: list[str] = []
    pending = [below]
    with Descent(top) as directories:
        while pending:
            path = pending.pop()
            try:
                entries, is_tool = _read(directories.open(_check_length(path)))
            except OSError as error:
                if lenient:
                    continue
                error.filename = f"{path[:80]}…" if len(path) > MAX_PATH else path or "."
                raise
            if is_tool and path and not everything:
                tools.append(path)
                continue
            prefix = f"{path}/" if path else ""
            for name, kind in entries.items():
                if kind and not everything and is_tool_name(name, entries):
                    tools.append(prefix + name)
                elif kind != _IS_DIRECTORY:
                    files.append(prefix + name)
                elif name != ".git" and (path or name not in (OWN, VENDOR)):
                    pending.append(prefix + name)
    return files, tools


def _check_length(path: str) -> str:
    if len(path) > MAX_PATH:
        raise OSError(_TOO_LONG, f"the path of a directory is longer than {MAX_PATH:,} characters")
    return path


def is_tool_name(name: str, beside: Container[str]) -> bool:
    """Returns whether a directory is a tool's by its name and the names `beside` it."""
    return name in NAMES or any(marker in beside for marker in TOOL_MARKERS.get(name, ()))


def is_in_tool_directory(top: int, path: str) -> bool:
    """Returns whether a directory of the project is a tool's, or in one. Raises OSError."""
    current = ""
    with Descent(top) as directories:
        for name in path.split("/") if path else ():
            entries, is_tool = _read(directories.open(current))
            if (is_tool and current) or is_tool_name(name, entries):
                return True
            current = f"{current}/{name}" if current else name
        return bool(current) and _read(directories.open(current))[1]


def _read(directory: int) -> tuple[dict[str, int], bool]:
    """Returns the entries of an open directory (name -> _IS_DIRECTORY, _IS_LINK or 0), and whether a file in it says
    that it is a tool's."""
    with os.scandir(directory) as entries:
        kinds = {
            entry.name: _IS_DIRECTORY if entry.is_dir(follow_symlinks=False) else _IS_LINK if entry.is_symlink() else 0
            for entry in entries
        }
    return kinds, VENV in kinds or (TAG in kinds and _has_cachedir_tag(directory))


def _has_cachedir_tag(directory: int) -> bool:
    try:
        tag = os.open(TAG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        return os.read(tag, len(SIGNATURE)) == SIGNATURE
    except OSError:  # a directory, for example
        return False
    finally:
        os.close(tag)

"""Which lock file a project has, and what of it decides an env. Pure.

`language: python` takes the file of the project's own tool: poetry.lock with [tool.poetry], pdm.lock with [tool.pdm],
else the first of FILES. The env's key `locked` names another one, or none.
"""

from __future__ import annotations

import json
import posixpath
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from envtool_python.decode import WrongFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envtool import api
    from envtool_python.decode import FileReader
    from envtool_python.locked_packages import Edge, LockedRelease, LockFile

NONE = "none"
FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
_UPDATES = {"uv.lock": "uv lock", "poetry.lock": "poetry lock", "pdm.lock": "pdm lock"}  # file -> command
_TOOLS = {"poetry": "poetry.lock", "pdm": "pdm.lock"}


def locked_file(project: FileReader, tools: Mapping[str, Any], wanted: str) -> str:
    """Returns the path of the project's lock file; "" if it has none, or the spec wants none."""
    if wanted:
        return "" if wanted == NONE else posixpath.normpath(wanted)
    own = [file for tool, file in _TOOLS.items() if tool in tools]
    return next((file for file in (*own, *FILES) if (project.read(file) or "").strip()), "")


def read_lock(text: str, path: str, *, with_files: bool = True) -> LockFile:
    """Returns what a lock file says; without files, a digest of their hashes alone. Raises WrongFileError."""
    from envtool_python.locked_packages import LockReader
    from envtool_python.pdm_lock import read_pdm_lock
    from envtool_python.poetry_lock import read_poetry_lock
    from envtool_python.pylock_toml import read_pylock
    from envtool_python.uv_lock import read_uv_lock

    reader = LockReader(text, path, with_files=with_files)
    name = posixpath.basename(path)
    readers = {"uv.lock": read_uv_lock, "poetry.lock": read_poetry_lock, "pdm.lock": read_pdm_lock}
    if name in readers:
        return readers[name](reader)
    if name == "pylock.toml" or (name.startswith("pylock.") and name.endswith(".toml")):
        return read_pylock(reader)
    raise WrongFileError(
        f"{path} is no lock file that is known by its name",
        file=path,
        hint=f"the names are {', '.join(FILES)} and pylock.NAME.toml",
    )


def digest_of(lock: LockFile, names: Iterable[str]) -> str:
    """Returns the sha256 of all that the lock says of the packages that can be reached from these names, under whatever
    marker: the rest of the file decides nothing."""
    documents = [package.document() for package in reachable(lock, names)]
    return sha256(json.dumps([lock.flat, documents], sort_keys=True).encode()).hexdigest()


def reachable(lock: LockFile, names: Iterable[str]) -> list[LockedRelease]:
    """Returns the packages that can be reached from these names, in the order of the lock; all of a flat lock."""
    if lock.flat:
        return [*lock.packages]
    packages = lock.named()
    todo, seen = [*names], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [edge.name for package in packages.get(name, ()) for edge in edges_of(package)]
    return [package for package in lock.packages if package.name in seen]


def edges_of(package: LockedRelease) -> list[Edge]:
    """Returns all edges of a package, those of its extras too."""
    return [*package.edges, *(edge for edges in package.extras.values() for edge in edges)]


def locked_options(
    lock: LockFile, own: Iterable[str], other: Iterable[str], groups: Iterable[str], extras: Iterable[str]
) -> dict[str, api.Json]:
    """Returns the value of a layer's `locked`. `own` are the requirements of the project's own files, which a lock that
    is up to date satisfies; `other` may be beside it."""
    from envtool_python.requirements import name_of

    own = [*own]
    options: dict[str, api.Json] = {"file": lock.path}
    if lock.flat:
        options |= {key: [*names] for key, names in (("groups", groups), ("extras", extras)) if names}
    options["digest"] = digest_of(lock, filter(None, map(name_of, (*own, *other))))
    if stale := stale_lines(lock, own):
        options["stale"] = [*stale]
    return options


def stale_lines(lock: LockFile, lines: Iterable[str]) -> list[str]:
    """Returns the requirements that no version in the lock satisfies, of those that some Python on Linux has."""
    from envtool_python.locked_selection import is_within, plain_requirement
    from envtool_python.requirements import normal

    packages = lock.named()
    stale = []
    for line in lines:
        requirement = plain_requirement(line)
        if requirement is None:
            continue
        versions = [package.version for package in packages.get(normal(requirement.name), ())]
        if any(is_within(version, str(requirement.specifier)) for version in versions):
            continue
        if requirement.marker is None or _may_hold(str(requirement.marker)):
            stale.append(line)
    return stale


def stale_warning(file: str, stale: Sequence[str]) -> str:
    """Returns what every run says of a lock file that does not satisfy these requirements; "" for none."""
    if not stale:
        return ""
    more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
    mend = _UPDATES.get(posixpath.basename(file), "")
    mends = f"`{mend}` updates it" if mend else "the tool that wrote it updates it"
    return (
        f"{file} does not satisfy `{stale[0]}`{more}, which the project requires: other versions are installed, as near"
        f" to it as possible; {mends}"
    )


def _may_hold(marker: str) -> bool:
    """Whether a marker holds for some Python on Linux."""
    from envtool_python.locked_selection import holds_somewhere

    return holds_somewhere(marker)


def describe_locked(request: api.Request, pins: api.Json) -> str:
    """Returns what the summary of a layer says of its lock file; "" without one."""
    locked = pins.get("locked") if isinstance(pins, dict) else None
    if not isinstance(locked, dict):
        return ""
    file, beside = locked["file"], locked["beside"]
    options: Any = request.options
    stale = options["locked"].get("stale", [])
    text = f", near {file}, which does not satisfy `{stale[0]}`" if stale else f", by {file}"
    names = [str(name) for name in beside] if isinstance(beside, list) else []
    if names and not stale:
        text += f" but for {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    return text

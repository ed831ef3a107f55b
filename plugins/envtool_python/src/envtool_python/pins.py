"""The pins of a virtual environment, and what follows from them alone. Pure.

Pins are JSON:

    {"python": {"version", "implementation", "abi", "platform", "libc", "extends"},
     "pip": file name,
     "uv": file name,                                     # only if uv chose the files, and installs them
     "files": [{"name", "version", "file", "sha256", "size",
                "use": "install" | "project" | "build",  # installed; for the project's own build; for other builds
                "build": [file names],                   # of a source distribution: the files that its build needs
                "url": …,                                # only if a requirement names it: `name @ URL`
                "path": …}],                             # of an archive of the project: its path in the project
     …}

A file comes after all files in its `build`. Pins name no indexes: another machine finds the same files where its own
pip looks (simple_index).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from envtool import api

if TYPE_CHECKING:
    from collections.abc import Sequence

Entry: TypeAlias = dict[str, Any]

PINS: dict[str, api.Json] = {  # the pins of both kinds
    "python": {"type": "object"},
    "pip": api.shapes.FILE,
    "files": api.shapes.rows(
        api.shapes.record(
            {
                "name": api.shapes.TEXT,
                "version": api.shapes.TEXT,
                "file": api.shapes.FILE,
                "sha256": api.shapes.SHA256,
                "size": api.shapes.SIZE,
                "use": {"enum": ["install", "build", "project"]},
            },
            {"build": api.shapes.rows(api.shapes.FILE), "url": api.shapes.URL, "path": api.shapes.PATH},
        )
    ),
}
OPTIONAL_PINS: dict[str, api.Json] = {"uv": api.shapes.FILE}


def project_path_of(url: str) -> str:
    """Returns the path in the project of a file: URL that a container saw there; empty for every other URL."""
    prefix = f"file://{api.PROJECT}/"
    from urllib.parse import unquote

    return unquote(url.removeprefix(prefix)) if url.startswith(prefix) else ""


def fetches(pins: api.Json) -> tuple[api.Fetch, ...]:
    """Returns the fetches of all pinned files. Raises LookupError if pip or uv is none of them."""
    assert isinstance(pins, dict)
    files = [entry["file"] for entry in files_of(pins)]
    for tool in ("pip", "uv"):
        if tool in pins and pins[tool] not in files:
            raise LookupError(f"{tool} is none of the files")
    return tuple(
        api.Fetch(url=entry.get("url", ""), sha256=entry["sha256"], name=entry["file"], size=int(entry["size"]))
        for entry in files_of(pins)
    )


def keep_constraints(pins: api.Json, requirements: Sequence[str]) -> list[api.Json]:
    """Returns constraints that keep the versions of earlier pins, except those that the requirements now rule out."""
    files = files_of(pins) if isinstance(pins, dict) else []
    return [
        f"{entry['name']}=={entry['version']}"
        for entry in files
        if entry["use"] == "install" and not {"url", "path"} & entry.keys() and not _ruled_out(entry, requirements)
    ]


def _ruled_out(entry: Entry, requirements: Sequence[str]) -> bool:
    from packaging.requirements import Requirement

    from envtool_python.requirements import name_of, normal

    for line in requirements:
        if name_of(line) != normal(entry["name"]):
            continue
        try:
            requirement = Requirement(line)
        except (ValueError, RecursionError):  # with options behind it, for example
            return True
        if requirement.url or not requirement.specifier.contains(entry["version"], prereleases=True):
            return True
    return False


def files_of(pins: api.Json) -> list[Entry]:
    """Returns the entries of the pinned files, in the order of the pins."""
    assert isinstance(pins, dict)
    return pins["files"]  # type: ignore[return-value]

"""`--find-links DIRECTORY` in requirement files: archives of the project that pip may choose from. Pure.

pip takes a relative path from the directory of the requirement file where there is such a one, else from where it is
started (pip documentation, "pip install", --find-links). One out of the project is refused: this machine's own are in
its pip configuration.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from envtool_python.sources import ARCHIVES, Wrong, at

if TYPE_CHECKING:
    from collections.abc import Collection

    from envtool_python.requirements import Lines
    from envtool_python.sources import Sources
    from envtool_python.texts import Texts

_OPTION = re.compile(r"^(?:--find-links|-f)[=\s]*(\S+)$")


def find_links(lines: Lines, project: Texts, sources: Sources) -> list[str]:
    """The directories of the project that requirement files look for archives in; what cannot be honoured goes to
    `sources.wrong`."""
    found: list[str] = []
    for line in lines.requirements:
        value = _value(line)
        if not value:
            continue
        file, number = lines.places.get(line, ("requirements.txt", 1))
        places = candidates(value, file)
        inner = [place for place in places if not _leaves(place, sources.depth)]
        full = [place for place in inner if any(project.glob(f"{_prefix(place)}*{ending}") for ending in ARCHIVES)]
        if full:
            found.append(full[0])
            continue
        why = (
            f"{inner[0]} has no archive that is part of the project"
            if inner
            else f"{places[0]} is outside of the project"
        )
        hint = "files that git ignores are none of it: commit them, or name each: `NAME @ file:./DIRECTORY/FILE`"
        if not inner:
            hint = "directories of this machine are named in its own configuration: `pip config set global.find-links`"
        sources.wrong.setdefault(line, Wrong(message=f"`{line}`: {why}", hint=hint, file=file, line=number))
    return found


def seen(line: str, file: str, known: Collection[str], directory: str) -> tuple[str, str]:
    """The line as pip in a container is to be told it, and the directory that is missing among the files of the project
    that are `known` (relative to it; the line's are relative to the spec's `directory`), empty where none is."""
    value = _value(line)
    if not value:
        return line, ""
    places = candidates(value, file)
    for place in places:
        whole = posixpath.normpath(posixpath.join(directory, place))
        if any(path.startswith(f"{whole}/") or whole == "." for path in known):
            return f"--find-links {at(place, directory)}", ""
    return line, places[0]


def candidates(value: str, file: str) -> list[str]:
    """Where a path may be, as a requirement file writes it."""
    path = unquote(re.sub(r"^file:(//)?", "", value)) if value.startswith("file:") else value
    return [
        *dict.fromkeys(posixpath.normpath(place) for place in (posixpath.join(posixpath.dirname(file), path), path))
    ]


def _value(line: str) -> str:
    """The directory that a line names; empty for other lines, and for URLs."""
    match = _OPTION.match(line)
    value = match[1] if match else ""
    return "" if re.match(r"(?!file:)[a-z+]+://", value) else value


def _leaves(path: str, depth: int) -> bool:
    return path.startswith("/") or path.split("/").count("..") > depth


def _prefix(place: str) -> str:
    return "" if place == "." else f"{place}/"

"""`--find-links DIRECTORY` of requirement files and layers: archives of the project that pip may choose from. Pure.

pip takes a relative path from the directory of the requirement file where there is such a one, else from where it is
started (pip documentation, "pip install", --find-links). One out of the project is refused: this machine's own are in
its pip configuration.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import unquote

from envtool_python.dependency_sources import ARCHIVES, WrongSource, container_url
from envtool_python.requirements import unique

if TYPE_CHECKING:
    from collections.abc import Collection

    from envtool_python.decode import DecodedFiles
    from envtool_python.dependency_sources import DependencySources
    from envtool_python.layer_inputs import PipInputs
    from envtool_python.requirements import RequirementLines

_OPTION = re.compile(r"^(?:--find-links|-f)[=\s]*(\S.*)$")
_PAGES = (".html", ".htm")


def find_links(lines: RequirementLines, project: DecodedFiles, sources: DependencySources) -> list[str]:
    """The directories of the project that requirement files look for archives in; what cannot be honoured goes to
    `sources.wrong`."""
    found: list[str] = []
    for line in unique((*lines.requirements, *lines.constraints)):
        value = _value(line)
        if not value:
            continue
        file, number = lines.places.get(line, ("requirements.txt", 1))
        places = candidate_paths(value, file)
        inner = [place for place in places if not _leaves(place, sources.depth)]
        full = [place for place in inner if any(project.glob(f"{_prefix(place)}*{ending}") for ending in ARCHIVES)]
        if full:
            found.append(full[0])
            continue
        if not inner:
            sources.wrong.setdefault(line, _outside(line, places[0], file, number))
            continue
        why = f"`{line}`: {inner[0]} has no archive that is part of the project"
        hint = "files that git ignores are none of it: commit them, or name each: `NAME @ file:./DIRECTORY/FILE`"
        sources.wrong.setdefault(line, WrongSource(message=why, hint=hint, file=file, line=number))
    return found


def _outside(line: str, place: str, file: str, number: int) -> WrongSource:
    hint = "directories of this machine are named in its own configuration: `pip config set global.find-links`"
    return WrongSource(message=f"`{line}`: {place} is outside of the project", hint=hint, file=file, line=number)


def check_find_links(line: str, file: str, number: int, files: PipInputs) -> WrongSource | None:
    """What is wrong with the directory that a line names, as far as the project's files tell."""
    value = _value(line)
    if not value or "${" in value:  # a variable, of which pip puts in the value
        return None
    places = candidate_paths(value, file)
    inner = [place for place in places if not _leaves(place, files.depth)]
    if not inner:
        return _outside(line, places[0], file, number)
    there = [place for place in inner if files.has(place)]
    if not there:
        why = f"there is no {' and no '.join(inner)} in the project"
        hint = "write the path of a directory of the project, from the requirement file's or the spec's own"
    elif files.has(there[0]) == "file" and not there[0].endswith((*_PAGES, *ARCHIVES)):
        why = f"{there[0]} is a file, and neither a page of links nor an archive"
        hint = "write the path of a directory of the project that has archives"
    elif not any(files.reached(place) for place in there):
        why, hint = f"the layer does not depend on {there[0]}", f"name it: `inputs: [{there[0]}]`"
    else:
        return None
    return WrongSource(message=f"`{line}`: {why}", hint=hint, file=file, line=number, code="requirements")


def container_line(line: str, file: str, known: Collection[str], directory: str) -> str:
    """The line as pip in a container is to be told it, by the files of the project that are `known` (relative to it;
    the line's are relative to the spec's `directory`)."""
    value = _value(line)
    if not value:
        return line
    for place in candidate_paths(value, file):
        whole = posixpath.normpath(posixpath.join(directory, place))
        if whole in known or any(path.startswith(f"{whole}/") or whole == "." for path in known):
            return f"--find-links {container_url(place, directory)}"
    return line


def candidate_paths(value: str, file: str) -> list[str]:
    """Where a path may be, as a requirement file writes it."""
    path = unquote(re.sub(r"^file:(//)?", "", value)) if value.startswith("file:") else value
    return [
        *dict.fromkeys(posixpath.normpath(place) for place in (posixpath.join(posixpath.dirname(file), path), path))
    ]


def _value(line: str) -> str:
    """The directory that a line names; empty for other lines, and for URLs."""
    match = _OPTION.match(line)
    try:
        value = shlex.split(match[1])[0] if match else ""
    except ValueError:
        value = ""
    return "" if re.match(r"(?!file:)[a-z+]+://", value) else value


def _leaves(path: str, depth: int) -> bool:
    return path.startswith("/") or path.split("/").count("..") > depth


def _prefix(place: str) -> str:
    return "" if place == "." else f"{place}/"

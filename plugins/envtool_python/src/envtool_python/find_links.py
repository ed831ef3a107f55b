"""`--find-links DIRECTORY` of requirement files and layers: archives of the project that pip may choose from. Pure.

pip resolves a relative path from the directory of the requirement file if that path exists, else from its working
directory (pip documentation, "pip install", --find-links). A path outside of the project is refused: this machine's own
directories belong into its pip configuration.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from envtool_python.dependency_sources import WrongSource
from envtool_python.requirements import unique
from envtool_python.source_values import ARCHIVES, container_url

if TYPE_CHECKING:
    from collections.abc import Collection

    from envtool_python.decode import DecodedFiles
    from envtool_python.dependency_sources import DependencySources
    from envtool_python.layer_inputs import PipInputs
    from envtool_python.requirements import RequirementLines

_OPTION = re.compile(r"^(?:--find-links|-f)[=\s]*(\S.*)$")
_PAGES = (".html", ".htm")


def find_links(lines: RequirementLines, project: DecodedFiles, sources: DependencySources) -> list[str]:
    """Returns the directories of the project in which requirement files look for archives; adds errors to
    `sources.wrong`."""
    directories: list[str] = []
    for line in unique((*lines.requirements, *lines.constraints)):
        value = _value(line)
        if not value:
            continue
        file, number = lines.places.get(line, ("requirements.txt", 1))
        paths = candidate_paths(value, file)
        inside = [path for path in paths if not _leaves(path, sources.depth)]
        with_archives = [
            path for path in inside if any(project.glob(f"{_prefix(path)}*{ending}") for ending in ARCHIVES)
        ]
        if with_archives:
            directories.append(with_archives[0])
            continue
        if not inside:
            sources.wrong.setdefault(line, _outside_error(line, paths[0], file, number))
            continue
        message = f"`{line}`: {inside[0]} has no archive that is part of the project"
        hint = "files that git ignores are none of it: commit them, or name each: `NAME @ file:./DIRECTORY/FILE`"
        sources.wrong.setdefault(line, WrongSource(message=message, hint=hint, file=file, line=number))
    return directories


def _outside_error(line: str, path: str, file: str, number: int) -> WrongSource:
    hint = "directories of this machine are named in its own configuration: `pip config set global.find-links`"
    return WrongSource(message=f"`{line}`: {path} is outside of the project", hint=hint, file=file, line=number)


def check_find_links(line: str, file: str, number: int, files: PipInputs) -> WrongSource | None:
    """Returns the error of the directory that a line names, or None."""
    value = _value(line)
    if not value or "${" in value:  # pip puts in the value of the variable
        return None
    paths = candidate_paths(value, file)
    inside = [path for path in paths if not _leaves(path, files.depth)]
    if not inside:
        return _outside_error(line, paths[0], file, number)
    existing = [path for path in inside if files.entry_type(path)]
    if not existing:
        reason = f"there is no {' and no '.join(inside)} in the project"
        hint = "write the path of a directory of the project, from the requirement file's or the spec's own"
    elif files.entry_type(existing[0]) == "file" and not existing[0].endswith((*_PAGES, *ARCHIVES)):
        reason = f"{existing[0]} is a file, and neither a page of links nor an archive"
        hint = "write the path of a directory of the project that has archives"
    elif not any(files.depends_on(path) for path in existing):
        reason, hint = f"the layer does not depend on {existing[0]}", f"name it: `inputs: [{existing[0]}]`"
    else:
        return None
    return WrongSource(message=f"`{line}`: {reason}", hint=hint, file=file, line=number, code="requirements")


def container_line(line: str, file: str, project_files: Collection[str], directory: str) -> str:
    """Returns the line as pip in a container needs it, with the URL of the directory there.

    `project_files` are the project's files, relative to its top; the line is relative to the spec's `directory`.
    """
    value = _value(line)
    if not value:
        return line
    for candidate in candidate_paths(value, file):
        project_path = posixpath.normpath(posixpath.join(directory, candidate))
        if project_path in project_files or any(
            path.startswith(f"{project_path}/") or project_path == "." for path in project_files
        ):
            return f"--find-links {container_url(candidate, directory)}"
    return line


def candidate_paths(value: str, file: str) -> list[str]:
    """Returns the paths that a value may mean: from the file's directory, and from the spec's."""
    from urllib.parse import unquote

    path = unquote(re.sub(r"^file:(//)?", "", value)) if value.startswith("file:") else value
    return [
        *dict.fromkeys(
            posixpath.normpath(candidate) for candidate in (posixpath.join(posixpath.dirname(file), path), path)
        )
    ]


def _value(line: str) -> str:
    """Returns the directory that a line names; empty for other lines, and for URLs."""
    match = _OPTION.match(line)
    try:
        value = shlex.split(match[1])[0] if match else ""
    except ValueError:
        value = ""
    return "" if re.match(r"(?!file:)[a-z+]+://", value) else value


def _leaves(path: str, depth: int) -> bool:
    return path.startswith("/") or path.split("/").count("..") > depth


def _prefix(directory: str) -> str:
    return "" if directory == "." else f"{directory}/"

"""The project's files that a layer's options name, and those that build backends read for them. Pure."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from envtool import api

if TYPE_CHECKING:
    from collections.abc import Mapping


def inputs_of(settings: Mapping[str, Any]) -> tuple[api.Input, ...]:
    """Returns the inputs of a `pip` layer: the files that the options name, those that requirement files may include,
    those that build backends read to say what projects require, and the lock file."""
    lock = [settings["locked"]["file"]] if "locked" in settings else []
    return (
        *map(api.Input, _named_files(settings)),
        *(api.Input(pattern, required=False) for pattern in _included_files(settings)),
        *(api.Input(pattern, required=False, use="resolve") for pattern in _metadata_files(settings)),
        *(api.Input(path, use="resolve") for path in lock),
    )


def _named_files(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the files that the options of a `pip` layer name, and pyproject.toml for dependency groups."""
    from envtool_python.pip_calls import archives_of
    from envtool_python.requirements import unique

    paths = [*settings.get("requirements", ()), *settings.get("constraints", ())]
    if settings.get("groups"):
        paths.append("pyproject.toml")
    return unique([*paths, *archives_of(settings), *settings.get("inputs", ())])


def _included_files(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns patterns for the files that requirement files may include from their own directories."""
    from envtool_python.requirements import unique

    paths: list[str] = []
    for path in (*settings.get("requirements", ()), *settings.get("constraints", ())):
        directory = posixpath.dirname(path)
        patterns = ("*.txt", "*.in") if "requirements" in directory else ("*requirements*.txt", "*constraints*.txt")
        paths += (posixpath.join(directory, pattern) for pattern in patterns)
    return unique(paths)


def _metadata_files(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns patterns for the files that build backends read to say what projects require."""
    from envtool_python.editable import BUILD_FILES, METADATA_FILES, MODULES, VERSIONS
    from envtool_python.pip_calls import asks_project, directories_of
    from envtool_python.requirements import unique

    directories = directories_of(settings).values()
    patterns = (*METADATA_FILES, *settings.get("reads", (*MODULES, *VERSIONS))) if asks_project(settings) else ()
    if "reads" in settings:
        patterns = (*patterns, *settings["reads"])
    else:
        default_patterns = (*METADATA_FILES, *MODULES, *VERSIONS)
        patterns = (
            *patterns,
            *(posixpath.join(directory, pattern) for directory in directories for pattern in default_patterns),
        )
    return unique((*patterns, *(posixpath.join(directory, name) for directory in directories for name in BUILD_FILES)))

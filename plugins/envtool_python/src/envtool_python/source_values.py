"""Values of the spec's `installer`, and of its `sources`: a directory or an archive of the project, the URL of an
archive, or `index`. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from envtool import api

INDEX = "index"  # a value of the spec's `sources`: the name comes from where this machine's pip looks
INSTALLER: dict[str, Any] = {
    "enum": ["uv", "pip"],
    "description": "what resolves and installs (default: uv, and pip where uv cannot, which the lock says); `uv` makes "
    "it an error where uv cannot",
}
SOURCES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 1},
    "description": "where requirements come from, over what the project's files say: name -> a directory of the "
    "project, which is installed from there, a wheel or source archive in it, the URL of one, or `index`: where this "
    "machine's pip looks; `'*': index`: all",
}
ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


def is_url(value: str) -> bool:
    """Whether a source is the URL of an archive."""
    return value.startswith(("http://", "https://"))


def is_archive(value: str) -> bool:
    """Whether a source is a wheel or source archive of the project."""
    return not is_url(value) and value.endswith(ARCHIVES)


def is_directory(value: str) -> bool:
    """Whether a source is a directory of the project."""
    return value != INDEX and not is_url(value) and not is_archive(value)


def archive_project_name(path: str) -> str:
    """Returns the normalised project name that an archive's file name begins with."""
    from envtool_python.requirements import normal

    name = posixpath.basename(path)
    if name.endswith(".whl"):
        return normal(name.partition("-")[0])
    ending = next(ending for ending in ARCHIVES if name.endswith(ending))
    return normal(name.removesuffix(ending).rpartition("-")[0])


def container_url(path: str, directory: str) -> str:
    """Returns the file: URL, in a container, of a project's file; `path` is relative to the spec's `directory`."""
    from urllib.parse import quote

    return "file://" + quote(posixpath.normpath(posixpath.join(api.PROJECT, directory, path)))

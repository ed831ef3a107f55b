"""Values of the spec's `installer`, of its `sources` (a directory or an archive of the project, the URL of an archive,
or `index`), and of `locked`. Pure."""

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
_NAMES: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}}
LOCKED: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "description": "the lock file of uv, Poetry or PDM, or of PEP 751, whose versions and hashes are installed "
    "(default: uv.lock, poetry.lock, pdm.lock or pylock.toml, of the project's own tool if there are several); "
    "`none`: newest versions, whatever such a file says",
}
LOCKED_LAYER: dict[str, Any] = {  # of the layer `pip`
    "type": "object",
    "additionalProperties": False,
    "required": ["file"],
    "description": "a lock file of uv, Poetry or PDM, or of PEP 751: packages have its versions and hashes",
    "properties": {
        "file": {"type": "string", "minLength": 1, "description": "its path"},
        "groups": {**_NAMES, "description": "of a pylock.toml: the dependency groups to install"},
        "extras": {**_NAMES, "description": "of a pylock.toml: the extras to install"},
        "bound": {**_NAMES, "description": "names that the project takes from one index alone, as the lock has them"},
        "digest": {
            "type": "string",
            "description": "digest of what in the lock file decides this layer, where nothing else does; "
            "`language: python` writes it",
        },
        "stale": {
            **_NAMES,
            "description": "requirements of the project that the lock file does not satisfy; `language: python` "
            "writes them",
        },
    },
}
LOCKED_PINS: api.Json = api.shapes.record({"file": api.shapes.TEXT, "beside": api.shapes.rows(api.shapes.TEXT)})
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

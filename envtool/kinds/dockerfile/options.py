"""The value under `dockerfile:` as it is written -> the Dockerfile, its context, and what both ignore. Pure."""

from __future__ import annotations

import posixpath
from typing import Any, cast

from envtool.api import Json

PATH: dict[str, Json] = {
    "type": "string",
    "minLength": 1,
    "not": {"pattern": r"(^/|(^|/)\.\.(/|$))"},
    "errorMessage": "a path inside the project without `..`, relative to this file, as in docker/Dockerfile",
}


def as_mapping(value: Json) -> dict[str, Any]:
    """The value under `dockerfile:` as a mapping."""
    return {"file": value} if isinstance(value, str) else cast("dict[str, Any]", value)


def dockerfile_and_context(value: Json) -> tuple[str, str]:
    """The Dockerfile and its context, relative to the spec's directory."""
    found = as_mapping(value)
    directory = posixpath.normpath(str(found.get("context", ".")))
    return posixpath.normpath(str(found.get("file") or posixpath.join(directory, "Dockerfile"))), directory


def text_inputs(value: Json) -> tuple[str, str, str]:
    """The Dockerfile, what is ignored for it alone, and what its context ignores."""
    file, directory = dockerfile_and_context(value)
    return file, f"{file}.dockerignore", posixpath.normpath(posixpath.join(directory, ".dockerignore"))

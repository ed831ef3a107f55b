"""Reads the value under `dockerfile:`: the paths of the Dockerfile, its context and the ignore files. Pure."""

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
    """Returns the value under `dockerfile:` as a mapping."""
    return {"file": value} if isinstance(value, str) else cast("dict[str, Any]", value)


def dockerfile_and_context(value: Json) -> tuple[str, str]:
    """Returns the paths of the Dockerfile and of its context, relative to the spec's directory."""
    mapping = as_mapping(value)
    directory = posixpath.normpath(str(mapping.get("context", ".")))
    return posixpath.normpath(str(mapping.get("file") or posixpath.join(directory, "Dockerfile"))), directory


def text_inputs(value: Json) -> tuple[str, str, str]:
    """Returns the paths of the Dockerfile, of the ignore file for it alone, and of its context's `.dockerignore`."""
    file, directory = dockerfile_and_context(value)
    return file, f"{file}.dockerignore", posixpath.normpath(posixpath.join(directory, ".dockerignore"))

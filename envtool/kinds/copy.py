"""`copy`: files of the project into the stack."""

from __future__ import annotations

import posixpath
import re
from typing import Any, ClassVar, cast

from envtool import globs
from envtool.api import PROJECT, Json, Kind, Place, Recipe, Request

MODE: Json = {
    "description": "permissions of the files, octal (`0755`); default: 0755 for what is executable, else 0644",
    "oneOf": [{"type": "string", "pattern": "^0?[0-7]{3,4}$"}, {"type": "integer", "minimum": 0, "maximum": 4095}],
}
TARGET: dict[str, Json] = {"type": "string", "pattern": "^/", "not": {"pattern": r"(^|/)\.\.(/|$)"}}


class Copy(Kind):
    """A layer of project files. Of a directory its content is copied; a file keeps its name below a `to` with a slash
    at the end, or when there are several."""

    name: ClassVar[str] = "copy"
    schema: ClassVar[Json] = {
        "description": "copy project files into the environment",
        "type": "object",
        "required": ["from", "to"],
        "additionalProperties": False,
        "properties": {
            "from": {
                "description": "a file, a directory or a glob, or a list of them, relative to the project",
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
                ],
            },
            "to": {"description": "absolute path; with `/` at its end a directory", **TARGET},
            "mode": MODE,
        },
    }

    def inputs(self, options: Json) -> tuple[str, ...]:
        """See Kind."""
        return sources(options)

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        options = cast("dict[str, Any]", request.options)
        to = str(options["to"])
        patterns = sources(options)
        mode = parse_mode(options.get("mode"))
        paths = [item.path for item in request.inputs]
        pairs: dict[str, str] = {}
        for pattern in patterns:
            pairs |= _targets(_clean(pattern), paths, to, several=len(patterns) > 1)
        steps = tuple(Place(source=f"{PROJECT}/{path}", target=target, mode=mode) for path, target in pairs.items())
        return Recipe(steps=steps)

    def summary(self, request: Request, pins: Json) -> str:
        """The number of files."""
        count = len(request.inputs)
        return f"{count} file{'s' if count != 1 else ''}"


def _targets(pattern: str, paths: list[str], to: str, *, several: bool) -> dict[str, str]:
    if pattern in paths:
        into = several or to.endswith("/")
        return {pattern: posixpath.join(to, posixpath.basename(pattern)) if into else to}
    if not re.search(r"[*?\[]", pattern):  # a directory: its content, under the names it has there
        prefix = f"{pattern}/" if pattern else ""
        return {path: posixpath.join(to, path.removeprefix(prefix)) for path in paths if path.startswith(prefix)}
    fixed = posixpath.dirname(re.split(r"[*?\[]", pattern)[0])
    prefix = f"{fixed}/" if fixed else ""
    matched = globs.matcher((pattern, f"{pattern}/**"))
    return {
        path: posixpath.join(to, path.removeprefix(prefix))
        for path in paths
        if path.startswith(prefix) and matched.fullmatch(path)
    }


def sources(options: Json) -> tuple[str, ...]:
    """The patterns under `from`."""
    value = cast("dict[str, Any]", options)["from"]
    return (value,) if isinstance(value, str) else tuple(value)


def _clean(pattern: str) -> str:
    return "/".join(part for part in pattern.split("/") if part not in ("", "."))


def parse_mode(value: Any) -> int | None:
    """Permission bits: text is octal, a number is what YAML made of it (`0755` is octal there too)."""
    if value is None:
        return None
    return int(value, 8) if isinstance(value, str) else int(value)

"""`copy`: files of the project into the stack."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from envtool.api import PROJECT, Json, Kind, Place, Recipe, Request
from envtool.fs import globs
from envtool.project import symlinks

# Text alone: the number 755 is 01363 to chmod(2), 493 is 0755, and nobody could tell which of them 644 is meant as.
MODE: Json = {
    "description": 'permissions of the files, octal digits in quotes (`"0755"`); default: 0755 for what is executable, '
    "else 0644",
    "type": "string",
    "pattern": "^(0o?)?[0-7]{3,4}$",
    "errorMessage": "three or four octal digits, as in 0755 or 644",
}
TARGET: dict[str, Json] = {
    "type": "string",
    "pattern": "^/",
    "not": {"pattern": r"(^|/)\.\.(/|$)"},
    "errorMessage": "an absolute path without `..`, as in /etc/app.conf",
}


class Copy(Kind):
    """A layer of project files. Of a directory its content is copied; a file keeps its name below a `to` with a slash
    at the end, or when there are several. A source that is a link is what it leads to; links in directories stay links,
    as Docker's COPY has it."""

    name: ClassVar[str] = "copy"
    schema: ClassVar[Json] = {
        "description": "copy project files into the environment",
        "examples": [{"from": "etc/app.conf", "to": "/etc/app.conf"}],
        "type": "object",
        "required": ["from", "to"],
        "additionalProperties": False,
        "properties": {
            "from": {
                "description": "a file, a directory or a glob, or a list of them, relative to the project",
                "examples": ["etc/app.conf"],
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
        return source_patterns(options)

    def follows(self, options: Json, link: str, path: str) -> bool:
        """Sources are followed, what lies in them is not."""
        return globs.matcher(tuple(_clean(pattern) for pattern in source_patterns(options))).fullmatch(link) is not None

    def build(self, request: Request, pins: Json) -> Recipe:
        """See Kind."""
        options = cast("dict[str, Any]", request.options)
        mode = parse_mode(options.get("mode"))
        steps = tuple(
            Place(source=f"{PROJECT}/{path}", target=target, mode=mode)
            for target, path in _target_files(request).items()
        )
        return Recipe(steps=steps, phase="copying")

    def summary(self, request: Request, pins: Json) -> str:
        """The number of files."""
        count = len(_target_files(request))
        return f"{count} file{'s' if count != 1 else ''}"


def _target_files(request: Request) -> dict[str, str]:
    """Target -> the file of the project."""
    options = cast("dict[str, Any]", request.options)
    patterns = source_patterns(options)
    links = {item.path: item.link for item in request.inputs}
    found: dict[str, str] = {}
    for pattern in patterns:
        wanted = posixpath.join(request.directory, pattern)
        found |= _targets_of_pattern(_clean(wanted), links, str(options["to"]), several=len(patterns) > 1)
    return found


def _targets_of_pattern(pattern: str, links: Mapping[str, str], to: str, *, several: bool) -> dict[str, str]:
    """What one pattern means of the files that there are, each with where it leads if it is a link."""
    if not globs.is_glob(pattern):
        into = several or to.endswith("/")
        return _map_source(pattern, links, posixpath.join(to, posixpath.basename(pattern)) if into else to, to)
    fixed = posixpath.dirname(re.split(r"[*?\[]", pattern)[0])
    prefix = f"{fixed}/" if fixed else ""
    source, below = globs.matcher((pattern,)), globs.matcher((f"{pattern}/**",))
    found: dict[str, str] = {}
    for path in links:
        target = posixpath.join(to, path.removeprefix(prefix))
        if source.fullmatch(path):
            found |= _map_source(path, links, target, target)
        elif below.fullmatch(path):
            found[target] = path
    return found


def _map_source(path: str, links: Mapping[str, str], file: str, directory: str) -> dict[str, str]:
    """What a source means: to be `file`, or of a directory its content, under the names it has there, in `directory`. A
    link that leads to nothing of the project stays one."""
    real = symlinks.resolve_known_links(path, links)
    if real in links:
        return {file: real}
    prefix = f"{real}/" if real else ""
    content = {posixpath.join(directory, each.removeprefix(prefix)): each for each in links if each.startswith(prefix)}
    return content or ({file: path} if path in links else {})


def source_patterns(options: Json) -> tuple[str, ...]:
    """The patterns under `from`."""
    value = cast("dict[str, Any]", options)["from"]
    return (value,) if isinstance(value, str) else tuple(value)


def _clean(pattern: str) -> str:
    return "/".join(part for part in pattern.split("/") if part not in ("", "."))


def parse_mode(value: Any) -> int | None:
    """Permission bits of octal digits; None where the spec does not say."""
    return None if value is None else int(value, 8)

"""The kind `copy`: files of the project, copied into the stack."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from envtool.api import PROJECT, Input, Json, Kind, Request
from envtool.api.untrusted_text import is_glob, matcher, resolve_known_links

if TYPE_CHECKING:
    from envtool.api import Recipe

# Only a text: as a number, 755 would be 01363 to chmod(2) and 493 would be 0755, so that the meaning of 644 is unclear.
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
    """A layer of project files. Of a directory its content is copied; a file keeps its name if `to` ends with a slash
    or there are several sources. A source that is a link is replaced by the file or directory that it leads to; links
    in directories stay links, as in Docker's COPY."""

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

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns the patterns under `from`. Links are followed where the source itself is a link; links in directories
        are not."""
        patterns = source_patterns(options)

        def follows(link: str, _: str) -> bool:
            return matcher(tuple(_clean(pattern) for pattern in patterns)).fullmatch(link) is not None

        return tuple(Input(pattern, follows=follows) for pattern in patterns)

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that places each file."""
        from envtool.api import Place, Recipe

        options = cast("dict[str, Any]", request.options)
        mode = parse_mode(options.get("mode"))
        steps = tuple(
            Place(source=f"{PROJECT}/{path}", target=target, mode=mode)
            for target, path in _target_files(request).items()
        )
        return Recipe(steps=steps, phase="copying")

    def summary(self, request: Request, pins: Json) -> str:
        """Returns the number of files, as in "3 files"."""
        count = len(_target_files(request))
        return f"{count} file{'s' if count != 1 else ''}"


def _target_files(request: Request) -> dict[str, str]:
    """Returns a mapping of targets to files of the project."""
    options = cast("dict[str, Any]", request.options)
    patterns = source_patterns(options)
    links = {item.path: item.link for item in request.inputs}
    files: dict[str, str] = {}
    for pattern in patterns:
        path = posixpath.join(request.directory, pattern)
        files |= _targets_of_pattern(_clean(path), links, str(options["to"]), several=len(patterns) > 1)
    return files


def _targets_of_pattern(pattern: str, links: Mapping[str, str], to: str, *, several: bool) -> dict[str, str]:
    """Returns the files that a pattern matches, by their targets. `links` has all files, each with the target of its
    link or ""."""
    if not is_glob(pattern):
        in_directory = several or to.endswith("/")
        return _map_source(pattern, links, posixpath.join(to, posixpath.basename(pattern)) if in_directory else to, to)
    parent = posixpath.dirname(re.split(r"[*?\[]", pattern)[0])
    prefix = f"{parent}/" if parent else ""
    source, content = matcher((pattern,)), matcher((f"{pattern}/**",))
    files: dict[str, str] = {}
    for path in links:
        target = posixpath.join(to, path.removeprefix(prefix))
        if source.fullmatch(path):
            files |= _map_source(path, links, target, target)
        elif content.fullmatch(path):
            files[target] = path
    return files


def _map_source(source: str, links: Mapping[str, str], file: str, directory: str) -> dict[str, str]:
    """Returns the files of a source, by their targets: a file becomes `file`, the content of a directory is placed in
    `directory`. A link that leads to no file of the project stays a link."""
    real = resolve_known_links(source, links)
    if real in links:
        return {file: real}
    prefix = f"{real}/" if real else ""
    content = {posixpath.join(directory, path.removeprefix(prefix)): path for path in links if path.startswith(prefix)}
    return content or ({file: source} if source in links else {})


def source_patterns(options: Json) -> tuple[str, ...]:
    """Returns the patterns under `from`."""
    value = cast("dict[str, Any]", options)["from"]
    return (value,) if isinstance(value, str) else tuple(value)


def _clean(pattern: str) -> str:
    return "/".join(part for part in pattern.split("/") if part not in ("", "."))


def parse_mode(value: Any) -> int | None:
    """Returns the permission bits of octal digits; None if the spec has no mode."""
    return None if value is None else int(value, 8)

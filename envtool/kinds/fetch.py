"""The kind `fetch`: a file from a URL, pinned by its sha256, placed or unpacked."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from envtool.api import BLOBS, Json, Kind, Request, shapes
from envtool.api.untrusted_text import MAX_SIZE, parse_size
from envtool.kinds.copy import MODE, TARGET, parse_mode

if TYPE_CHECKING:
    from envtool.api import Fetch, Recipe

EXAMPLE = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
HASH: dict[str, Json] = {
    "type": "string",
    "pattern": "^[0-9a-fA-F]{64}$",
    "errorMessage": "a sha256 of 64 hex digits, as `sha256sum FILE` prints it",
}
LIMIT: Json = {
    "description": "the largest file that is fetched: `20GiB`, or a number of bytes; default: 8GiB",
    "oneOf": [
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?([kKmMgG][iI]?)?[bB]?$",
            "errorMessage": "a size, as in 20GiB or 500MB",
        },
        {"type": "integer", "minimum": 1, "maximum": MAX_SIZE},
    ],
}


class FetchLayer(Kind):
    """A layer of one fetched file, or of its content."""

    name: ClassVar[str] = "fetch"
    schema: ClassVar[Json] = {
        "description": "fetch a file by URL and put it, or its content, into the environment",
        "examples": [{"url": "https://example.org/app", "sha256": EXAMPLE, "to": "/opt/app"}],
        "type": "object",
        "required": ["url", "sha256", "to"],
        "additionalProperties": False,
        "properties": {
            "url": {
                "description": "http, https or file URL; a file outside of the project needs `--allow-file`",
                **shapes.PLACE,
                "errorMessage": "a URL of http, https or file, as in https://example.org/app.tar.gz",
            },
            "sha256": {"description": "of the file, in hex", **HASH},
            "to": {"description": "absolute path: of the file, or of the directory it is unpacked to", **TARGET},
            "unpack": {"description": "unpack it: tar (gz, xz, bz2, zst) or zip", "type": "boolean", "default": False},
            "strip": {
                "description": "number of leading directories to drop from each name when unpacking; files that are"
                " no deeper are left out; an error if no file is left",
                "type": "integer",
                "minimum": 0,
            },
            "mode": MODE,
            "limit": LIMIT,
        },
        "dependentSchemas": {"strip": {"properties": {"unpack": {"const": True}}, "required": ["unpack"]}},
    }

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the file."""
        from envtool.api import Fetch

        options = _options(request)
        return (
            Fetch(
                url=options["url"],
                sha256=options["sha256"].lower(),
                name=file_name(options["url"]),
                limit=parse_limit(options),
            ),
        )

    def material(self, request: Request, pins: Json) -> Json:
        """Returns where and how the file is placed. The URL is no part of it: the file's hash is in the key."""
        options = _options(request)
        target, mode = _target_and_mode(options)
        return {
            "to": target,
            "unpack": bool(options.get("unpack", False)),
            "strip": int(options.get("strip", 0)),
            "mode": mode,
        }

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that unpacks or places the file."""
        from envtool.api import Place, Recipe, Unpack

        options = _options(request)
        name = file_name(options["url"])
        target, mode = _target_and_mode(options)
        if options.get("unpack", False):
            return Recipe(
                steps=(Unpack(name=name, target=target, strip=int(options.get("strip", 0))),), phase="unpacking"
            )
        return Recipe(steps=(Place(source=f"{BLOBS}/{name}", target=target, mode=mode),), phase="copying")

    def summary(self, request: Request, pins: Json) -> str:
        """Returns the file's name."""
        return file_name(_options(request)["url"])


def parse_limit(options: Mapping[str, Any]) -> int:
    """Returns the bytes of `limit:`, which fits its schema; 0 without a limit."""
    limit = options.get("limit", 0)
    return (parse_size(limit) or 0) if isinstance(limit, str) else int(limit)


def file_name(url: str) -> str:
    """Returns the last component of a URL's path, made safe as a file name."""
    from urllib.parse import unquote, urlsplit

    component = posixpath.basename(unquote(urlsplit(url).path).rstrip("/"))
    name = "".join(
        character if character.isprintable() and character not in '/\\:"' else "_" for character in component
    )
    return name if name not in ("", ".", "..") else "file"


def _target_and_mode(options: dict[str, Any]) -> tuple[str, int | None]:
    to = str(options["to"])
    if to.endswith("/") and not options.get("unpack", False):
        to = posixpath.join(to, file_name(options["url"]))
    return to, parse_mode(options.get("mode"))


def _options(request: Request) -> dict[str, Any]:
    return cast("dict[str, Any]", request.options)

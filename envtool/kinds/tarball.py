"""The kind `tarball`: a base from an archive of a root file system."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from envtool.api import Base, Json, Problem, Request, ResolveError, Site, SpecError, shapes
from envtool.kinds.fetch import EXAMPLE, HASH, LIMIT, parse_limit

if TYPE_CHECKING:
    from envtool.api import Fetch, Recipe

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst", ".zip")


class Tarball(Base):
    """The base kind. Its pins: `url`, or `path` of the project, and `sha256`. The owners in the archive are kept."""

    name: ClassVar[str] = "tarball"
    pins: ClassVar[Json] = {
        "oneOf": [
            shapes.record({"url": shapes.URL, "sha256": shapes.SHA256}, closed=True),
            shapes.record({"path": shapes.PATH, "sha256": shapes.SHA256}, closed=True),
        ]
    }
    schema: ClassVar[Json] = {
        "description": "A root file system from a tar archive, named by its hash.",
        "examples": [{"url": "https://example.org/root.tar.xz", "sha256": EXAMPLE}],
        "type": "object",
        "additionalProperties": False,
        "required": ["sha256"],
        "oneOf": [{"required": ["url"]}, {"required": ["path"]}],
        "properties": {
            "url": {
                **shapes.PLACE,
                "errorMessage": "a URL of http, https or file, as in https://example.org/root.tar.xz",
                "description": "URL of the archive.",
            },
            "path": {"type": "string", "minLength": 1, "description": "Or a file of the project."},
            "sha256": {**HASH, "description": "Hash of the whole file."},
            "strip": {
                "type": "integer",
                "minimum": 0,
                "description": "Number of leading directories to drop from each name; files that are no deeper are"
                " left out; an error if no file is left. Default: 0.",
            },
            "limit": LIMIT,
        },
    }

    def check(self, request: Request, site: Site) -> None:
        """Raises SpecError if the project does not have the file."""
        options: Any = request.options
        if "path" not in options:
            return
        try:
            site.open(_path(request)).close()
        except ResolveError as error:
            code = "tarball-missing" if error.code == "no-file" else error.code
            hint = (
                error.hint or "`path:` names a tar archive of the project, relative to the spec; `url:` one elsewhere"
            )
            problem = Problem(where=request.where, message=error.message, code=code, hint=hint)
            raise SpecError((problem,)) from None

    def resolve(self, request: Request, site: Site) -> Json:
        """Returns the hash, and the URL or the path relative to the project."""
        options: Any = request.options
        if "url" in options:
            return {"url": options["url"], "sha256": options["sha256"].lower()}
        self.check(request, site)
        path = _path(request)
        return {"path": path, "sha256": options["sha256"].lower()}

    def fetches(self, request: Request, pins: Any) -> tuple[Fetch, ...]:
        """Returns the archive, under a name whose ending says how it is compressed."""
        from envtool.api import Fetch

        location = pins["url"].partition("?")[0] if "url" in pins else pins["path"]
        ending = max((suffix for suffix in _ENDINGS if location.endswith(suffix)), key=len, default=".tar")
        limit = parse_limit(cast("dict[str, Any]", request.options))
        return (Fetch(url=pins.get("url", ""), sha256=pins["sha256"], name=f"root{ending}", limit=limit),)

    def locate(self, request: Request, pins: Any, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the archive with its URL: that of a file of the project depends on the checkout."""
        if "url" in pins:
            return fetches
        return [replace(fetch, url=site.url(pins["path"])) for fetch in fetches]

    def material(self, request: Request, pins: Json) -> Json:
        """Returns `strip`; the archive's hash is in the key."""
        options: Any = request.options
        return {"strip": options.get("strip", 0)}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns a recipe that unpacks the archive with its owners."""
        from envtool.api import Recipe, Unpack

        (fetch,) = self.fetches(request, pins)
        options: Any = request.options
        strip = options.get("strip", 0)
        return Recipe(steps=(Unpack(name=fetch.name, target="/", strip=strip, owners=True),), phase="unpacking")

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns the packages that have the files: on Debian and Ubuntu, from the Contents index of the suite."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_for_site(ends, site)

    def summary(self, request: Request, pins: Any) -> str:
        """Returns the archive's name, as in "root.tar.xz"."""
        return str(pins.get("url") or pins["path"]).rpartition("/")[2]


def _path(request: Request) -> str:
    options: Any = request.options
    return posixpath.normpath(posixpath.join(request.directory, options["path"]))

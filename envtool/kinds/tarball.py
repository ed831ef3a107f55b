"""`tarball: {url or path, sha256}`: a base from an archive of a root file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

from envtool.api import Fetch, Json, Kind, Problem, Recipe, Request, Site, SpecError, Unpack
from envtool.kinds.fetch import LIMIT, limit

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst", ".zip")


class Tarball(Kind):
    """The base kind. Its pins: `url` or `path` (of the project), `sha256`; the archive's owners are kept, its hash
    decides."""

    name: ClassVar[str] = "tarball"
    schema: ClassVar[Json] = {
        "description": "A root file system from a tar archive, named by its hash.",
        "type": "object",
        "additionalProperties": False,
        "required": ["sha256"],
        "oneOf": [{"required": ["url"]}, {"required": ["path"]}],
        "properties": {
            "url": {"type": "string", "pattern": "^(https?|file):", "description": "Where it is fetched from."},
            "path": {"type": "string", "minLength": 1, "description": "Or a file of the project."},
            "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "Hash of the whole file."},
            "strip": {
                "type": "integer",
                "minimum": 0,
                "description": "Leading directories of each name that are dropped. Default: 0.",
            },
            "limit": LIMIT,
        },
    }

    def resolve(self, request: Request, site: Site) -> Json:
        """Nothing floats; a path of the project becomes one that means the same in every checkout."""
        options: Any = request.options
        if "url" in options:
            return {"url": options["url"], "sha256": options["sha256"].lower()}
        path = os.path.normpath(os.path.join(request.directory, options["path"]))
        if not os.path.isfile(os.path.join(site.project, path)):
            raise SpecError(
                (Problem(where=request.where, message=f"there is no file `{options['path']}`", code="tarball-missing"),)
            )
        return {"path": path, "sha256": options["sha256"].lower()}

    def fetches(self, request: Request, pins: Any) -> tuple[Fetch, ...]:
        """The archive, named so that its ending tells what it is."""
        place = pins["url"].partition("?")[0] if "url" in pins else pins["path"]
        ending = max((it for it in _ENDINGS if place.endswith(it)), key=len, default=".tar")
        most = limit(cast("dict[str, Any]", request.options))
        return (Fetch(url=pins.get("url", ""), sha256=pins["sha256"], name=f"root{ending}", limit=most),)

    def locate(self, request: Request, pins: Any, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """A file of the project is where the project is."""
        if "url" in pins:
            return fetches
        return [replace(fetch, url=(site.project / pins["path"]).absolute().as_uri()) for fetch in fetches]

    def material(self, request: Request, pins: Json) -> Json:
        """The archive's hash is in the key; beside it only `strip` matters."""
        options: Any = request.options
        return {"strip": options.get("strip", 0)}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Unpack it, owners and all."""
        (fetch,) = self.fetches(request, pins)
        options: Any = request.options
        strip = options.get("strip", 0)
        return Recipe(steps=(Unpack(name=fetch.name, target="/", strip=strip, owners=True),))

    def summary(self, request: Request, pins: Any) -> str:
        """As in: root.tar.xz."""
        return str(pins.get("url") or pins["path"]).rpartition("/")[2]

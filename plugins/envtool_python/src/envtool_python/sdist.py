"""The layer kind `sdist`: a released source distribution, found where the host's pip looks, fetched by hash."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


class Sdist(api.Kind):
    """`sdist: {name: attrs, version: "25.3.0", sha256: …, to: /src}`."""

    name: ClassVar[str] = "sdist"
    pins: ClassVar[api.Json] = api.shapes.record({"file": api.shapes.FILE})
    schema: ClassVar[api.Json] = {
        "description": "the files of a released source distribution, as its authors packed them, found where this "
        "machine's pip looks and fetched by hash",
        "type": "object",
        "required": ["name", "version", "sha256", "to"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
                "errorMessage": "the name of a project on the index, as in attrs",
                "description": "the project's name",
            },
            "version": {"type": "string", "minLength": 1, "description": "its exact version"},
            "sha256": {
                "type": "string",
                "pattern": "^[0-9a-fA-F]{64}$",
                "errorMessage": "a sha256 of 64 hex digits, as `sha256sum FILE` prints it",
                "description": "of the archive, in hex",
            },
            "to": {
                "type": "string",
                "pattern": "^/",
                "errorMessage": "an absolute path, as in /src",
                "description": "absolute path of the directory that its files are put into, without the archive's own",
            },
        },
    }

    def resolve(self, request: api.Request, site: api.Site) -> api.Json:
        """Finds the archive. Raises ResolveError if no index has this version."""
        from envtool.api.pip_indexes import strip_credentials
        from envtool_python import simple_index
        from envtool_python.pip_config import file_name, read_index
        from envtool_python.requirements import normal

        options = _options(request)
        name, version = normal(options["name"]), options["version"]
        site.note(f"looking for {name} {version}")
        pages = simple_index.list_files(read_index(site), name, site)
        urls = [url for url in pages if version_of(file_name(url), name) is not None]
        matching_urls = [url for url in urls if _is_same_version(version_of(file_name(url), name) or "", version)]
        if not matching_urls:
            raise _missing_error(name, version, urls)
        # prefer the link with this hash; links may have none: the fetch checks it
        digest = options["sha256"].lower()
        from urllib.parse import urlsplit

        url = next((url for url in matching_urls if digest in urlsplit(url).fragment), matching_urls[0])
        site.seen(digest, strip_credentials(url))
        return {"file": file_name(url)}

    def fetches(self, request: api.Request, pins: api.Json) -> tuple[api.Fetch, ...]:
        """The archive."""
        assert isinstance(pins, dict)
        return (api.Fetch(sha256=_options(request)["sha256"].lower(), name=str(pins["file"])),)

    def locate(
        self, request: api.Request, pins: api.Json, fetches: Sequence[api.Fetch], site: api.Site
    ) -> Sequence[api.Fetch]:
        """Finds the archive where this machine's pip looks."""
        from envtool_python import simple_index

        return simple_index.locate_files(fetches, {fetch.sha256: _options(request)["name"] for fetch in fetches}, site)

    def material(self, request: api.Request, pins: api.Json) -> api.Json:
        """Returns the target directory: the archive's hash is in the key already."""
        return {"to": posixpath.normpath(_options(request)["to"])}

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the archive without its own top directory."""
        assert isinstance(pins, dict)
        target = posixpath.normpath(_options(request)["to"])
        return api.Recipe(steps=(api.Unpack(name=str(pins["file"]), target=target, strip=1),), phase="unpacking")

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `attrs 25.3.0`."""
        return f"{_options(request)['name']} {_options(request)['version']}"


def version_of(file: str, name: str) -> str | None:
    """Returns the version in the file name of a source distribution of `name` (normalised); None for other files."""
    from envtool_python.requirements import normal

    for ending in _ENDINGS:
        if file.endswith(ending):
            stem = file.removesuffix(ending)
            dash = next((i for i, letter in enumerate(stem) if letter == "-" and normal(stem[:i]) == name), 0)
            return stem[dash + 1 :] if dash else None
    return None


def _is_same_version(version: str, requested: str) -> bool:
    from packaging.version import Version

    try:
        return Version(version) == Version(requested)
    except ValueError:
        return version == requested


def _missing_error(name: str, version: str, urls: list[str]) -> api.ResolveError:
    from envtool_python.pip_config import file_name

    versions = list(dict.fromkeys(version_of(file_name(url), name) or "" for url in urls))
    if not versions:
        return api.ResolveError(
            f"no source distribution of {name} was found",
            code="sdist",
            hint="it was looked for where `pip config list` says on this machine; is the name right?",
        )
    return api.ResolveError(
        f"there is no source distribution of {name} {version}",
        code="sdist",
        hint=f"versions: {', '.join(versions[-6:])}",
    )


def _options(request: api.Request) -> dict[str, Any]:
    assert isinstance(request.options, dict)
    return request.options

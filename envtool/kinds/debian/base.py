"""`debian: SUITE`: a minimal Debian or Ubuntu system, bootstrapped from the signed archive."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from envtool.api import Call, Fetch, Json, Kind, Recipe, Request, Site, shapes
from envtool.kinds.debian import bootstrap
from envtool.kinds.debian import pins as pinned
from envtool.kinds.debian.suite_options import SuiteOptions

_STRINGS: dict[str, Json] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SUITE: dict[str, Json] = {
    "examples": ["bookworm"],
    "type": "string",
    "pattern": "^[a-z][a-z0-9.-]*$",
    "errorMessage": "the name of a suite in small letters, as in bookworm, trixie or noble",
}
_URL: dict[str, Json] = {
    **shapes.PLACE,
    "errorMessage": "the URL of an archive, as in https://deb.example.org/debian",
}


class Debian(Kind):
    """The base kind. Its pins: `epoch` (date of the index), `suite`, `arch`, `lists` (Packages files and the
    InRelease that vouches for each; `url` only where the spec names the mirror), `debs`.
    """

    name: ClassVar[str] = "debian"
    version: ClassVar[int] = 2
    pins: ClassVar[Json] = shapes.record(
        {**pinned.SCHEMA, "epoch": {"type": "integer", "minimum": 0, "maximum": 4102444800}}  # 2100
    )
    schema: ClassVar[Json] = {
        "description": "A minimal Debian or Ubuntu system from its signed archive: a suite, or a mapping.",
        "examples": ["bookworm"],
        "anyOf": [
            _SUITE | {"description": "The suite: bookworm, trixie, noble …"},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["suite"],
                "properties": {
                    "suite": _SUITE | {"description": "bookworm, noble …"},
                    "mirror": {
                        **_URL,
                        "description": "URL of the archive (the directory that has `dists/`). Default: the variable "
                        "ENVTOOL_DEBIAN_MIRROR or ENVTOOL_UBUNTU_MIRROR, else what the host's own apt uses.",
                    },
                    "security_mirror": {
                        **_URL,
                        "description": "URL of the security archive. Default: the host's, or the mirror's with "
                        "`-security` at its end.",
                    },
                    "components": _STRINGS | {"description": "Default: [main], for Ubuntu [main, universe]."},
                    "packages": _STRINGS | {"description": "More packages for the base itself."},
                    "pockets": _STRINGS
                    | {"description": "Which of the suite's pockets count. Default: [updates, security]; [] for none."},
                    "keyring": {
                        "type": "string",
                        "minLength": 1,
                        "description": "File of OpenPGP keys, in the project, that also may sign the archive.",
                    },
                    "valid_until": {
                        "type": "boolean",
                        "description": "false: accept an index long past its Valid-Until (archived suites, snapshots).",
                    },
                },
            },
        ],
    }

    def inputs(self, options: Json) -> tuple[str, ...]:
        """The keyring, when the project brings one."""
        keyring = SuiteOptions.read(options).keyring
        return (keyring,) if keyring else ()

    def resolve(self, request: Request, site: Site) -> Json:
        """Verify the suite's index, and choose the packages of a minimal system."""
        from envtool.kinds.debian import mirrors, suite_index
        from envtool.kinds.debian.dependencies import minimal_system

        wish = _located(request)
        mirrors.allow_host_archives(site)
        site.note(f"reading the index of {wish.suite}")
        archive = suite_index.find_suite(wish, site, environ=os.environ, sources=mirrors.read_host_sources())
        index = suite_index.fetch_index(archive.lists, site)
        chosen = minimal_system(index, wish.packages, suite=archive.suite)
        named = {wish.mirror.rstrip("/"), wish.security_mirror.rstrip("/")}
        return {
            "epoch": archive.date,
            "suite": archive.suite,
            "arch": archive.arch,
            # a mirror of this machine is nobody else's: only what the spec names is pinned
            "lists": [(item if item.url in named else replace(item, url="")).json() for item in archive.lists],
            "debs": [pinned.pin_package(package) for package in chosen],
        }

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The debs."""
        return pinned.deb_fetches(pins)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """On the mirrors of this machine, or of the spec."""
        return pinned.locate_debs(request, pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """The debs (whose names and hashes are in the key) decide; mirrors, pockets and keys do not."""
        return {}

    def epoch(self, pins: Any) -> int:
        """The date of the suite's index, pockets left out: these change every day."""
        return int(pins["epoch"])

    def faketime(self, request: Request, pins: Any, site: Site) -> bytes | None:
        """Out of the package `libfaketime` of the same index."""
        from envtool.kinds.debian import mirrors, suite_index
        from envtool.kinds.debian.deb import decompress, iter_members, read_deb_parts

        mirrors.allow_host_archives(site)
        found = pinned.package_lists(pins)
        places = [mirrors.archive_urls(item.url, pins["suite"], item.suite, int(pins["epoch"])) for item in found]
        wanted = [item.fetch(where) for item, where in zip(found, places, strict=True)]
        index = suite_index.read_index(found, site.fetch(wanted))
        if "libfaketime" not in index:
            return None
        one = {**pins, "debs": [pinned.pin_package(index["libfaketime"])]}
        (path,) = site.fetch(pinned.locate_debs(request, one, pinned.deb_fetches(one), site))
        _, (name, content) = read_deb_parts(str(path))
        data = decompress(name, content)
        named = [it for it in iter_members(data) if it.path.endswith("/libfaketime.so.1")]
        return data[named[0].start : named[0].start + named[0].size] if named else None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """By the suite's Contents index."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_with_files(_located(request), ends, site)

    def build(self, request: Request, pins: Any) -> Recipe:
        """Unpack all, write dpkg's database, run what the packages bring."""
        from envtool.kinds.debian import unpack_debs

        debs = sorted(pins["debs"], key=lambda item: (-item["size"], item["name"]))
        return Recipe(
            steps=(
                Call(
                    function=unpack_debs.unpack,
                    arguments=([pinned.file_name(item) for item in debs], True),
                    counts=len(debs),
                    phase="unpacking",
                ),
                *bootstrap.configure_steps(pins["arch"]),
                bootstrap.recompile_step(),
                Call(function=unpack_debs.finish),
            ),
            drop=bootstrap.DROP,
            phase="configuring",
        )

    def summary(self, request: Request, pins: Json) -> str:
        """As in: 88 packages, 41 MB."""
        return pinned.summary(pins)


def _located(request: Request) -> SuiteOptions:
    """What the spec says, with the keyring's path in the project."""
    wish = SuiteOptions.read(request.options)
    if not wish.keyring:
        return wish
    return replace(wish, keyring=posixpath.normpath(posixpath.join(request.directory, wish.keyring)))

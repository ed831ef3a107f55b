"""The kind `debian`: a minimal Debian or Ubuntu system, bootstrapped from the signed archive."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import Base, Input, Json, Request, Site, shapes
from envtool.kinds.debian import bootstrap
from envtool.kinds.debian import pins as pinned
from envtool.kinds.debian.suite_options import SuiteOptions

if TYPE_CHECKING:
    from envtool.api import Fetch, Recipe

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


class Debian(Base):
    """The base kind. Its pins: `epoch` (date of the index), `suite`, `arch`, `lists` (Packages files, each with the
    sha256 of the InRelease that signs it; `url` only where the spec names the mirror), `debs`."""

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
                        "ENVTOOL_DEBIAN_MIRROR or ENVTOOL_UBUNTU_MIRROR, else the mirror of the host's own apt.",
                    },
                    "security_mirror": {
                        **_URL,
                        "description": "URL of the security archive. Default: the host's, or the mirror's with "
                        "`-security` at its end.",
                    },
                    "components": _STRINGS | {"description": "Default: [main], for Ubuntu [main, universe]."},
                    "packages": _STRINGS | {"description": "More packages for the base itself."},
                    "pockets": _STRINGS
                    | {
                        "description": "Which of the suite's pockets to use. Default: [updates, security]; [] for none."
                    },
                    "keyring": {
                        "type": "string",
                        "minLength": 1,
                        "description": "File of the project with more OpenPGP keys that may sign the archive.",
                    },
                    "valid_until": {
                        "type": "boolean",
                        "description": "false: accept an index long past its Valid-Until (archived suites, snapshots).",
                    },
                },
            },
        ],
    }

    def inputs(self, options: Json) -> tuple[Input, ...]:
        """Returns the keyring, if the spec names one of the project."""
        keyring = SuiteOptions.read(options).keyring
        return (Input(keyring),) if keyring else ()

    def resolve(self, request: Request, site: Site) -> Json:
        """Verifies the suite's index, and chooses the packages of a minimal system."""
        from envtool.kinds.debian import mirrors, suite_index
        from envtool.kinds.debian.dependencies import minimal_system

        options = _located(request)
        mirrors.allow_host_archives(site)
        site.note(f"reading the index of {options.suite}")
        archive = suite_index.find_suite(options, site, environ=os.environ, sources=mirrors.read_host_sources())
        index = suite_index.fetch_index(archive.lists, site)
        packages = minimal_system(index, options.packages, suite=archive.suite)
        named_mirrors = {options.mirror.rstrip("/"), options.security_mirror.rstrip("/")}
        return {
            "epoch": archive.date,
            "suite": archive.suite,
            "arch": archive.arch,
            # Other machines have other mirrors: a URL is pinned only if the spec names it.
            "lists": [(item if item.url in named_mirrors else replace(item, url="")).json() for item in archive.lists],
            "debs": [pinned.pin_package(package) for package in packages],
        }

    def package(self, file: str) -> tuple[str, str]:
        """Returns ("gcc", "4:12.2.0-3") for `gcc_4%3a12.2.0-3_amd64.deb`."""
        return pinned.package_of_deb(file)

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the debs."""
        return pinned.deb_fetches(pins)

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the debs with their URLs on the mirrors of the spec, or of this machine."""
        return pinned.locate_debs(request, pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """Returns nothing: the names and hashes of the debs are in the key; mirrors, pockets and keyrings change no
        file."""
        return {}

    def epoch(self, pins: Any) -> int:
        """Returns the date of the suite's index. The pockets do not count: they change every day."""
        return int(pins["epoch"])

    def faketime(self, request: Request, pins: Any, site: Site) -> bytes | None:
        """Returns the library of the package `libfaketime` of the pinned index, None if the index has no such
        package."""
        from envtool.kinds.debian import mirrors, suite_index
        from envtool.kinds.debian.deb import decompress, iter_members, read_deb_parts

        mirrors.allow_host_archives(site)
        lists = pinned.package_lists(pins)
        archives = [mirrors.archive_urls(item.url, pins["suite"], item.suite, int(pins["epoch"])) for item in lists]
        fetches = [item.fetch(urls) for item, urls in zip(lists, archives, strict=True)]
        index = suite_index.read_index(lists, site.fetch(fetches))
        if "libfaketime" not in index:
            return None
        libfaketime_pins = {**pins, "debs": [pinned.pin_package(index["libfaketime"])]}
        (path,) = site.fetch(pinned.locate_debs(request, libfaketime_pins, pinned.deb_fetches(libfaketime_pins), site))
        _, (name, content) = read_deb_parts(str(path))
        data = decompress(name, content)
        libraries = [member for member in iter_members(data) if member.path.endswith("/libfaketime.so.1")]
        return data[libraries[0].start : libraries[0].start + libraries[0].size] if libraries else None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns the packages that have the files, from the suite's Contents index."""
        from envtool.kinds.debian import contents_index

        return contents_index.packages_with_files(_located(request), ends, site)

    def build(self, request: Request, pins: Any) -> Recipe:
        """Returns a recipe that unpacks the debs, writes dpkg's database and configures the packages."""
        from envtool.api import Call, Recipe
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
        """Returns the number and size of the debs, as in "88 packages, 41 MB"."""
        return pinned.summary(pins)


def _located(request: Request) -> SuiteOptions:
    """Returns the options of the spec, with the keyring's path relative to the project."""
    options = SuiteOptions.read(request.options)
    if not options.keyring:
        return options
    return replace(options, keyring=posixpath.normpath(posixpath.join(request.directory, options.keyring)))

"""Build tools in wheels of this machine's package indexes: which versions there are, and their files. The wheels'
names are those of the binary distribution format (packaging.python.org); nothing of a wheel runs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envtool import api
from envtool.api.pip_indexes import Link, default_index, is_on, package_links, read_options
from envtool.api.toolchains import ToolArchive, is_release

NAME = "Python package index"
_WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9_.]{1,50})-(?P<version>[0-9][A-Za-z0-9.]{0,40})(?:-\d\w{0,20})?"
    r"-(?P<python>[a-z0-9.]{1,40})-none-(?P<platforms>[A-Za-z0-9_.]{1,200})\.whl"
)
_LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}  # -> minor version of glibc, PEP 600
_MODERN = re.compile(r"manylinux_2_(\d{1,3})")


class Wheel(NamedTuple):
    """A wheel that a container may use; `glibc` is the oldest minor version of glibc 2 that it runs on."""

    version: str
    glibc: int
    link: Link


class WheelIndex:
    """A source of one build tool: the wheels of a package in the indexes of this machine's pip."""

    name = NAME

    def __init__(self, package: str) -> None:
        self.package = package

    def versions(self, site: api.Site) -> Sequence[str]:
        """See api.toolchains.ToolchainSource. Yanked files do not count."""
        return [*self._wheels(site)]

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """The wheel. Raises ResolveError if the index has no hash of it."""
        link = self._wheels(site)[version].link
        if not link.digest and not link.url.startswith("file:"):  # a directory of this machine has no hashes
            raise api.ResolveError(f"the index has no hash of {link.name}", code="toolchain-hash")
        sealed = api.Sealed(urls=(link.url,), name=link.name, integrity=_integrity(link.digest))
        return [ToolArchive(name=self.package, version=version, path=link.name, sealed=sealed)]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """Yanked files too: an exact file is wanted. Raises ResolveError if no index has it."""
        links = [link for link in self._links(site) if link.name == row["path"]]
        links.sort(key=lambda link: link.digest != f"sha256:{row['sha256']}")  # the fetch checks the hash
        if not links:
            message = f"no index of this machine's pip has {row['path']}"
            raise api.ResolveError(message, code="toolchain-version")
        return tuple(dict.fromkeys(link.url for link in links)), ""

    def _links(self, site: api.Site) -> tuple[Link, ...]:
        answers: dict[str, tuple[Link, ...]] = site.shared("cc toolchains: files", dict)
        if self.package not in answers:  # two threads may ask at once: what `shared` calls must not use the site
            answers[self.package] = find_links(self.package, site)
        return answers[self.package]

    def _wheels(self, site: api.Site) -> dict[str, Wheel]:
        """Returns version -> the wheel that runs on the oldest glibc."""
        wheels: dict[str, Wheel] = {}
        for link in self._links(site):
            wheel = None if link.yanked else read_wheel(link, self.package, site.arch)
            if wheel is not None and (wheel.version not in wheels or wheel.glibc < wheels[wheel.version].glibc):
                wheels[wheel.version] = wheel
        return wheels


def find_links(package: str, site: api.Site) -> tuple[Link, ...]:
    """Returns the files of a package in all of this machine's indexes, in pip's order. Raises FetchError if no index
    answers, or if one may not be asked; and ResolveError."""
    options = read_options(site)
    indexes: tuple[str, ...] = ()
    if not is_on(options.get("no-index", "")):
        main = options.get("index-url", "").strip() or default_index(site)
        indexes = (main, *options.get("extra-index-url", "").split())
    found = package_links(package, options.get("find-links", "").split(), indexes, site)
    for error in found.errors:
        if error.code == "offline" or not (found.answered or found.links):
            raise error
    return found.links


def read_wheel(link: Link, package: str, arch: str) -> Wheel | None:
    """Returns the wheel that a link leads to, or None if it is another file, or one for another machine, libc or a
    single version of Python."""
    match = _WHEEL.fullmatch(link.name)
    if match is None or match["name"].lower() != package or "py3" not in match["python"].split("."):
        return None
    oldest = [glibc for tag in match["platforms"].split(".") if (glibc := _glibc_of(tag, arch)) is not None]
    if not oldest or not is_release(release_of(match["version"])):
        return None
    return Wheel(match["version"], min(oldest), link)


def release_of(version: str) -> str:
    """Returns the version of the program in a wheel: without the number of the packaging, as in 0.17.0.post1."""
    return re.sub(r"\.post\d{1,9}$", "", version)


def _glibc_of(tag: str, arch: str) -> int | None:
    if tag == "any":
        return 0
    if not tag.endswith(f"_{arch}"):
        return None
    name = tag[: -len(arch) - 1]
    modern = _MODERN.fullmatch(name)
    return int(modern[1]) if modern else _LEGACY.get(name)


def _integrity(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}-{base64.b64encode(bytes.fromhex(value)).decode()}" if value else ""

"""Releases of the JDK on a server with the interface of Adoptium, version 3: the assets of a feature release (21) say
which releases there are, with the hash of each archive; `binary/version` leads to an archive.

What a server says is a stranger's. An archive is asked of the server itself by the name of its release: the links that
the assets name are not followed.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from envtool import api
from envtool.api.toolchains import ToolArchive

VARIABLE = "ENVTOOL_ADOPTIUM_MIRROR"
ARCHITECTURES = {"x86_64": "x64", "aarch64": "aarch64"}
MAX_ANSWER = 8 << 20  # bytes of one page
_PAGE = 20  # releases on a page: the most that the interface gives
_MAX_PAGES = 40
_MAX_NUMBER = 10**9
_RELEASE = re.compile(r"jdk-?[0-9][0-9A-Za-z.+_-]{0,60}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,150}\.tar\.gz")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Jdk(NamedTuple):
    """An archive of a release. `build` orders the builds of one version."""

    version: str
    build: tuple[int, int]
    release: str
    file: str
    sha256: str


class AdoptiumServer:
    """A source of JDKs: the servers of the spec and of this machine, in this order. `wanted` says of which feature
    release the assets are asked."""

    name = "Adoptium server"

    def __init__(self, wanted: str, mirror: str) -> None:
        self.feature, self.mirror = wanted.partition(".")[0], mirror

    def versions(self, site: api.Site) -> Sequence[str]:
        """Returns the versions of the feature release; if no server has it, other feature releases, for people. Raises
        FetchError if no server answers, and ResolveError."""
        return [*self._releases(site)[0]] or self._releases(site)[1]

    def archives(self, version: str, site: api.Site) -> Sequence[ToolArchive]:
        """The JDK."""
        jdk = self._releases(site)[0][version]
        path = f"binary/version/{quote(jdk.release, safe='')}/linux/{_architecture(site)}/jdk/hotspot/normal/eclipse"
        sealed = api.Sealed(
            urls=tuple(f"{server}/v3/{path}" for server in self._servers()),
            name=jdk.file,
            integrity=f"sha256-{base64.b64encode(bytes.fromhex(jdk.sha256)).decode()}",
        )
        return [ToolArchive(name="jdk", version=version, path=path, sealed=sealed)]

    def urls(self, row: Mapping[str, api.Json], site: api.Site) -> tuple[tuple[str, ...], str]:
        """See api.toolchains.ToolchainSource."""
        return tuple(f"{server}/v3/{row['path']}" for server in self._servers()), ""

    def _servers(self) -> tuple[str, ...]:
        """Returns the URLs of the servers, without a slash at their end. Raises ResolveError if there is none."""
        named = (self.mirror, os.environ.get(VARIABLE, ""))
        servers = tuple(dict.fromkeys(server.rstrip("/").removesuffix("/v3") for server in named if server))
        if not servers:
            raise api.ResolveError(
                "this machine names no server of JDKs",
                code="toolchain-registry",
                hint=f"set {VARIABLE}, or write `toolchain: {{java: {{version: …, mirror: URL}}}}`",
            )
        return servers

    def _releases(self, site: api.Site) -> tuple[dict[str, Jdk], list[str]]:
        """Returns the newest build of each version of the feature release, by the first server that has it; if none
        does, the feature releases that there are."""
        answers: dict[tuple[str, ...], tuple[dict[str, Jdk], list[str]]] = site.shared("java-toolchain: releases", dict)
        key = (site.arch, self.feature, *self._servers())
        if key not in answers:  # two threads may ask at once: what `shared` calls must not use the site
            answers[key] = self._ask(site)
        return answers[key]

    def _ask(self, site: api.Site) -> tuple[dict[str, Jdk], list[str]]:
        first: api.FetchError | None = None
        for server in self._servers():
            try:
                return {jdk.version: jdk for jdk in sorted(_read_pages(server, self.feature, site))}, []
            except api.FetchError as error:
                if error.code == "offline":
                    raise
                first = first or error
        features: set[int] = set()
        for server in self._servers():
            try:
                features |= read_features(_get(f"{server}/v3/info/available_releases", site))
            except api.FetchError:
                continue
        if first is not None and (not features or self.feature in map(str, features)):
            raise first
        return {}, [str(feature) for feature in sorted(features)]


def _architecture(site: api.Site) -> str:
    if site.arch not in ARCHITECTURES:
        raise api.ResolveError(f"it has JDKs for {', '.join(ARCHITECTURES)}, and not for {site.arch}", code="platform")
    return ARCHITECTURES[site.arch]


def _read_pages(server: str, feature: str, site: api.Site) -> Iterator[Jdk]:
    """Yields what the pages of a feature release have. Raises FetchError if there is no first page; ResolveError."""
    architecture = _architecture(site)
    for page in range(_MAX_PAGES):
        query = assets_query(architecture, page)
        try:
            answer = _get(f"{server}/v3/assets/feature_releases/{feature}/ga?{query}", site)
        except api.FetchError as error:
            if page and error.code != "offline":  # the page behind the last one is not there
                return
            raise
        jdks, count = read_assets(answer, architecture)
        yield from jdks
        if count < _PAGE:
            return


def assets_query(architecture: str, page: int) -> str:
    """Returns the query for one page of assets."""
    return urlencode(
        {
            "architecture": architecture, "heap_size": "normal", "image_type": "jdk", "jvm_impl": "hotspot",
            "os": "linux", "page": page, "page_size": _PAGE, "project": "jdk", "sort_order": "DESC",
            "vendor": "eclipse",
        }
    )  # fmt: skip


def _get(url: str, site: api.Site) -> Any:
    content = site.get(url)
    try:
        return json.loads(content) if len(content) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        return None


def read_features(answer: Any) -> set[int]:
    """Returns the feature releases that a server says it has; what is none is left out."""
    listed = answer.get("available_releases") if isinstance(answer, dict) else None
    return {feature for feature in listed if _is_number(feature)} if isinstance(listed, list) else set()


def read_assets(answer: Any, architecture: str) -> tuple[list[Jdk], int]:
    """Returns the archives for an architecture on a page of assets, and how many releases the page has. A release
    without such an archive is left out. Raises ResolveError for what is no such page."""
    if not isinstance(answer, list) or len(answer) > 1000:
        raise api.ResolveError("what the server says is no list of assets", code="toolchain-registry")
    found: list[Jdk] = []
    for release in answer:
        try:
            found += _read_release(release, architecture)
        except (TypeError, KeyError, AttributeError, ValueError):
            message = "the server has a release that is described in another form than Adoptium's"
            raise api.ResolveError(message, code="toolchain-registry") from None
    return found, len(answer)


def _read_release(release: Mapping[str, Any], architecture: str) -> Iterator[Jdk]:
    """Raises TypeError, KeyError, AttributeError, ValueError."""
    data = release["version_data"]
    numbers = [data["major"], data["minor"], data["security"], data.get("patch") or 0]
    build = (data.get("build") or 0, data.get("adopt_build_number") or 0)
    if not all(map(_is_number, (*numbers, *build))):
        raise ValueError("no version")
    version = ".".join(str(number) for number in (numbers if numbers[3] else numbers[:3]))
    for binary in release["binaries"]:
        wanted = ("linux", architecture, "jdk", "hotspot")
        if (binary["os"], binary["architecture"], binary["image_type"], binary["jvm_impl"]) != wanted:
            continue
        package, name = binary["package"], release["release_name"]
        if not _RELEASE.fullmatch(name) or not _FILE.fullmatch(package["name"]):
            raise ValueError("a name that leads elsewhere")
        if not _SHA256.fullmatch(package["checksum"]):
            raise ValueError("no hash")
        yield Jdk(version, build, name, package["name"], package["checksum"])


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER

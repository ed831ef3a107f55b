"""Finds and fetches the index that an apt layer chooses from.

On a `debian` base it is the index of the base's pins. On any other system with apt (an image, a tarball) it is the
index of the archives in the system's own sources, verified with the system's own keyrings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from envtool.api import Command, FetchError, Problem, Request, ResolveError, Site, SpecError
from envtool.kinds.debian import mirrors, release, suite_index
from envtool.kinds.debian.deb import iter_members
from envtool.kinds.debian.pins import PackageList, package_lists
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSources:
    """Packages files to choose from, and the path of each on this machine."""

    suite: str
    arch: str
    lists: tuple[PackageList, ...]
    paths: Sequence[PathLike[str]]


def read_apt_sources(request: Request, site: Site) -> AptSources:
    """Returns the index for a layer. Raises SpecError, ResolveError, FetchError."""
    if request.base_kind == "host":
        problem = Problem(
            where=request.where,
            message=f"layer `{request.name}` installs packages, but the host's own system is read-only",
            code="apt-on-host",
            hint="use a base of kind `debian`: {debian: bookworm}",
        )
        raise SpecError((problem,))
    if request.base_kind == "debian":
        pins: Any = request.base_pins
        return _fetch_lists(pins["suite"], pins["arch"], package_lists(pins), site, request)
    return _sources_of_stack(request, site)


def _fetch_lists(suite: str, arch: str, lists: tuple[PackageList, ...], site: Site, request: Request) -> AptSources:
    mirrors.allow_host_archives(site)
    try:
        paths = site.fetch(
            [item.fetch(mirrors.archive_urls(item.url, suite, item.suite, request.epoch)) for item in lists]
        )
    except FetchError as error:
        if not suite_index.is_not_found(error):
            raise
        raise ResolveError(
            f"the index that base {suite} was made from is gone from its mirror: {error.message}",
            code="index-gone",
            hint=f"`envtool lock --upgrade {request.base_name}` moves base and layers to one new index",
        ) from error
    return AptSources(suite=suite, arch=arch, lists=lists, paths=paths)


# ---- systems of other bases ----------------------------------------------------------------------------------

# Writes apt's configuration and keyrings as one tar to standard output, and the architecture to standard error. Follows
# links, so that it reads the files that apt would read.
_READ = """
dpkg --print-architecture >&2
cd /
set -- etc/apt
for path in usr/share/keyrings etc/apt/keyrings; do [ -d "$path" ] && set -- "$@" "$path"; done
exec tar -chf - --ignore-failed-read "$@" 2>/dev/null
"""


def _sources_of_stack(request: Request, site: Site) -> AptSources:
    result = site.run(Command(argv=("/bin/sh", "-c", _READ)))
    arch = result.stderr.decode(errors="replace").strip().splitlines()[:1]
    if result.status not in (0, 2) or not arch or not result.stdout:
        raise ResolveError(
            f"the system below layer `{request.name}` has no apt",
            code="no-apt",
            hint="use a Debian or Ubuntu system as the base: the kind `debian`, or an image",
        )
    files = {item.path: result.stdout[item.start : item.start + item.size] for item in iter_members(result.stdout)}
    sources = [item for item in _sources(files) if item.url.startswith(("http://", "https://", "file:"))]
    lists: list[PackageList] = []
    for url, suite in dict.fromkeys((item.url, item.suite) for item in sources):
        suite_sources = [item for item in sources if (item.url, item.suite) == (url, suite)]
        release_url = f"{url}/dists/{suite}/InRelease"
        suite_release = release.parse_inrelease(
            site.get(release_url), keyrings=_keyrings(files, suite_sources), url=release_url
        )
        remark = release.check_release(suite_release, suite=suite, url=release_url, now=time.time())
        if remark:
            site.note(remark)
        components = dict.fromkeys(name for item in suite_sources for name in item.components)
        lists += [
            suite_index.find_package_list(url, suite_release, suite, component, arch[0])
            for component in components
            if suite_index.has_component(suite_release, component, arch[0])
        ]
    if not lists:
        text = f"layer `{request.name}`: the apt of the system below has no archives configured"
        hint = "a `copy` layer below can add an /etc/apt/sources.list; a `debian:` base needs none"
        raise ResolveError(text, code="no-sources", hint=hint)
    return _fetch_lists(sources[0].suite, arch[0], tuple(lists), site, request)


def _sources(files: dict[str, bytes]) -> list[mirrors.AptSource]:
    sources: list[mirrors.AptSource] = []
    for path in sorted(files, key=lambda name: (name != "etc/apt/sources.list", name)):
        text = files[path].decode(errors="replace")
        if path.startswith("etc/apt/sources.list.d/") and path.endswith(".sources"):
            sources.extend(mirrors.parse_deb822(text))
        elif path == "etc/apt/sources.list" or (path.startswith("etc/apt/sources.list.d/") and path.endswith(".list")):
            sources.extend(mirrors.parse_one_line(text))
    return sources


def _keyrings(files: dict[str, bytes], sources: list[mirrors.AptSource]) -> tuple[release.Keyring, ...]:
    # As in apt: the keys that the source names, else all keys that the system trusts.
    named = [item.signed_by.lstrip("/") for item in sources if item.signed_by]
    trusted = [path for path in files if path.startswith("etc/apt/trusted.gpg") and path.endswith((".gpg", ".asc"))]
    return tuple(release.Keyring(path=path, data=files[path]) for path in named or trusted if files.get(path))

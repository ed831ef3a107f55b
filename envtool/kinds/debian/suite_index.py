"""The index of a suite: its InReleases verified, its Packages files fetched."""

from __future__ import annotations

import os
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envtool.api import FetchError, ResolveError, Site
from envtool.kinds.debian import mirrors, release, suites
from envtool.kinds.debian.deb import decompress_limited
from envtool.kinds.debian.package_index import PackageIndex
from envtool.kinds.debian.pins import PackageList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.kinds.debian.suite_options import SuiteOptions

_FORMS = ("xz", "gz")
MOST_KEYS = 16 << 20  # bytes of a keyring
LARGEST = 1 << 30  # bytes of a Packages file: those of Debian have 60 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSuite:
    """A suite with its pockets, verified. `date` (seconds) is the main suite's; `suite` its code name."""

    suite: str
    arch: str  # as Debian calls it
    date: int
    lists: tuple[PackageList, ...]


def architecture(machine: str) -> str:
    """Debian's name of what `uname -m` says. Raises ResolveError."""
    if machine not in suites.ARCHITECTURES:
        raise ResolveError(f"there is no Debian for `{machine}` machines", code="arch")
    return suites.ARCHITECTURES[machine]


def find_suite(
    wish: SuiteOptions, site: Site, *, environ: Mapping[str, str], sources: tuple[mirrors.AptSource, ...]
) -> VerifiedSuite:
    """Ask the mirrors for a suite and its pockets. Raises ResolveError, FetchError."""
    arch = architecture(site.arch)
    asked = find_release(wish, site, environ=environ, sources=sources)
    where, url, main, keyrings = asked.mirrors, asked.url, asked.main, asked.keyrings
    suite = main.codename or wish.suite
    components = wish.components or suites.COMPONENTS.get(where.archive, ("main",))
    lists = [find_package_list(url, main, wish.suite, component, arch) for component in components]
    wanted = wish.pockets is not None
    for pocket in wish.pockets if wish.pockets is not None else suites.default_pockets(suite):
        name = f"{suite}-{pocket}"
        places = where.security if pocket == "security" else (url,)
        try:
            at, found = _release(places, name, wish, site, keyrings)
        except FetchError as error:
            if wanted or not is_not_found(error):
                raise
            site.note(f"{name}: not on this mirror")
            continue
        lists += [
            find_package_list(at, found, name, part, arch) for part in components if has_component(found, part, arch)
        ]
    return VerifiedSuite(suite=suite, arch=arch, date=main.date, lists=tuple(lists))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRelease:
    """A suite's own InRelease, verified, and the mirror that had it."""

    mirrors: mirrors.SuiteMirrors
    url: str
    main: release.Release
    keyrings: tuple[release.Keyring, ...]


def find_release(
    wish: SuiteOptions, site: Site, *, environ: Mapping[str, str], sources: tuple[mirrors.AptSource, ...]
) -> FoundRelease:
    """Ask the mirrors for a suite, without its pockets. Raises ResolveError, FetchError."""
    where = mirrors.choose_mirrors(
        wish.suite, mirror=wish.mirror, security=wish.security_mirror, sources=sources, environ=environ
    )
    named = [path for path in where.signed_by if os.path.exists(path)]
    keyrings = release.keyrings(where.archive, extra=named)
    if wish.keyring:
        with site.open(wish.keyring) as file:
            keyrings += (release.Keyring(path=wish.keyring, data=file.read(MOST_KEYS)),)
    url, main = _release(where.main, wish.suite, wish, site, keyrings)
    return FoundRelease(mirrors=where, url=url, main=main, keyrings=keyrings)


def is_not_found(error: FetchError) -> bool:
    """Whether a fetch failed because the file is not there, rather than because the network is not."""
    return error.code in ("fetch-missing", "fetch-gone") or any(
        text in error.message for text in ("HTTP 404", "HTTP 410", "No such file")
    )


def _release(
    urls: tuple[str, ...], suite: str, wish: SuiteOptions, site: Site, keyrings: tuple[release.Keyring, ...]
) -> tuple[str, release.Release]:
    first: FetchError | None = None
    for url in urls:
        what = f"{url}/dists/{suite}/InRelease"
        try:
            data = site.get(what)
        except FetchError as error:
            if error.code == "outside":  # the whole archive is what has to be allowed
                error.hint = error.hint.replace(_path(what), _path(url))
                raise
            # A network that is down says more than a mirror beside it that never had the suite.
            first = error if first is None or is_not_found(first) else first
            continue
        found = release.parse_inrelease(data, keyrings=keyrings, what=what)
        remark = release.check_release(found, suite=suite, what=what, now=time.time(), strict=wish.valid_until)
        if remark:
            site.note(remark)
        return url, found
    assert first is not None
    if is_not_found(first) and suite == wish.suite:
        like = suites.nearest_suite(suite)
        hint = f"did you mean `{like}`?" if like else "name a mirror that has it: `mirror:`"
        raise ResolveError(f"no suite `{suite}` on {' or '.join(urls)}", code="no-suite", hint=hint) from first
    raise first


def _path(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path)


def has_component(found: release.Release, component: str, arch: str) -> bool:
    """Whether a component is there for an architecture."""
    return any(f"{component}/binary-{arch}/Packages.{form}" in found.files for form in _FORMS)


def find_package_list(url: str, found: release.Release, suite: str, component: str, arch: str) -> PackageList:
    """The Packages file of a component, by its hash where the archive offers that. Raises ResolveError."""
    for form in _FORMS:
        entry = found.files.get(f"{component}/binary-{arch}/Packages.{form}")
        if entry is None:
            continue
        folder = os.path.dirname(entry.path)
        # Without by-hash a mirror that is being updated serves a Packages file that its InRelease does not know.
        path = f"{folder}/by-hash/SHA256/{entry.sha256}" if found.by_hash else entry.path
        return PackageList(
            url=url,
            suite=suite,
            component=component,
            path=f"dists/{suite}/{path}",
            sha256=entry.sha256,
            size=entry.size,
            inrelease=found.sha256,
            form=form,
        )
    raise ResolveError(f"suite `{suite}` has no component `{component}` for {arch}", code="no-component")


def fetch_index(lists: tuple[PackageList, ...], site: Site) -> PackageIndex:
    """Fetch Packages files (checked by size and hash) and scan them. Raises FetchError, ResolveError."""
    return read_index(lists, site.fetch([item.fetch() for item in lists]))


def read_index(lists: Sequence[PackageList], paths: Sequence[os.PathLike[str]]) -> PackageIndex:
    """Scan Packages files that are at hand. Raises ResolveError."""
    return PackageIndex([_text(path, item) for path, item in zip(paths, lists, strict=True)])


def _text(path: os.PathLike[str], item: PackageList) -> str:
    import lzma
    import zlib

    with open(path, "rb") as file:
        data = file.read()
    try:
        plain = decompress_limited("xz" if data.startswith(b"\xfd7zXZ") else "gz", data, LARGEST)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise ResolveError(f"the package list of {item.suite} is damaged: {error}", code="index") from error
    if plain is None:
        raise ResolveError(f"the package list of {item.suite} unpacks to more than {LARGEST >> 20} MiB", code="index")
    return plain.decode("utf-8", "replace")

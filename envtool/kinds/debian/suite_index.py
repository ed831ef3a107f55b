"""Finds the index of a suite and its pockets: verifies each InRelease, and fetches the Packages files."""

from __future__ import annotations

import os
import time
import urllib.parse
from typing import TYPE_CHECKING

from envtool.api import FetchError, ResolveError, Site
from envtool.kinds.debian import mirrors, release, suites
from envtool.kinds.debian.deb import decompress_limited
from envtool.kinds.debian.package_index import PackageIndex
from envtool.kinds.debian.pins import PackageList
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.kinds.debian.suite_options import SuiteOptions

_FORMS = ("xz", "gz")
MAX_KEYRING_SIZE = 16 << 20  # bytes of a keyring
MAX_INDEX_SIZE = 1 << 30  # bytes of a Packages file: Debian's have 60 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSuite:
    """A suite with its pockets, verified. `date` (seconds) is the main suite's; `suite` is the code name."""

    suite: str
    arch: str  # Debian's name, as in amd64
    date: int
    lists: tuple[PackageList, ...]


def architecture(machine: str) -> str:
    """Returns Debian's name of a machine (`uname -m`). Raises ResolveError."""
    if machine not in suites.ARCHITECTURES:
        raise ResolveError(f"there is no Debian for `{machine}` machines", code="arch")
    return suites.ARCHITECTURES[machine]


def find_suite(
    options: SuiteOptions, site: Site, *, environ: Mapping[str, str], sources: tuple[mirrors.AptSource, ...]
) -> VerifiedSuite:
    """Finds a suite and its pockets on the mirrors. Raises ResolveError, FetchError."""
    arch = architecture(site.arch)
    found_release = find_release(options, site, environ=environ, sources=sources)
    suite_mirrors, url, main, keyrings = (
        found_release.mirrors,
        found_release.url,
        found_release.main,
        found_release.keyrings,
    )
    suite = main.codename or options.suite
    components = options.components or suites.COMPONENTS.get(suite_mirrors.archive, ("main",))
    lists = [find_package_list(url, main, options.suite, component, arch) for component in components]
    pockets_named = options.pockets is not None
    for pocket in options.pockets if options.pockets is not None else suites.default_pockets(suite):
        name = f"{suite}-{pocket}"
        urls = suite_mirrors.security if pocket == "security" else (url,)
        try:
            pocket_url, pocket_release = _release(urls, name, options, site, keyrings)
        except FetchError as error:
            if pockets_named or not is_not_found(error):
                raise
            site.note(f"{name}: not on this mirror")
            continue
        lists += [
            find_package_list(pocket_url, pocket_release, name, part, arch)
            for part in components
            if has_component(pocket_release, part, arch)
        ]
    return VerifiedSuite(suite=suite, arch=arch, date=main.date, lists=tuple(lists))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRelease:
    """A suite's own InRelease, verified, and the URL of the mirror that has it."""

    mirrors: mirrors.SuiteMirrors
    url: str
    main: release.Release
    keyrings: tuple[release.Keyring, ...]


def find_release(
    options: SuiteOptions, site: Site, *, environ: Mapping[str, str], sources: tuple[mirrors.AptSource, ...]
) -> FoundRelease:
    """Finds a suite on the mirrors, without its pockets. Raises ResolveError, FetchError."""
    suite_mirrors = mirrors.choose_mirrors(
        options.suite, mirror=options.mirror, security=options.security_mirror, sources=sources, environ=environ
    )
    keyring_paths = [path for path in suite_mirrors.signed_by if os.path.exists(path)]
    keyrings = release.keyrings(suite_mirrors.archive, extra=keyring_paths)
    if options.keyring:
        with site.open(options.keyring) as file:
            keyrings += (release.Keyring(path=options.keyring, data=file.read(MAX_KEYRING_SIZE)),)
    url, main = _release(suite_mirrors.main, options.suite, options, site, keyrings)
    return FoundRelease(mirrors=suite_mirrors, url=url, main=main, keyrings=keyrings)


def is_not_found(error: FetchError) -> bool:
    """Whether a fetch failed because the mirror does not have the file; False for a network failure."""
    return error.code in ("fetch-missing", "fetch-gone") or any(
        text in error.message for text in ("HTTP 404", "HTTP 410", "No such file")
    )


def _release(
    urls: tuple[str, ...], suite: str, options: SuiteOptions, site: Site, keyrings: tuple[release.Keyring, ...]
) -> tuple[str, release.Release]:
    first_error: FetchError | None = None
    for mirror in urls:
        release_url = f"{mirror}/dists/{suite}/InRelease"
        try:
            data = site.get(release_url)
        except FetchError as error:
            if error.code == "outside":  # the user has to allow the whole archive, not one file of it
                error.hint = error.hint.replace(_path(release_url), _path(mirror))
                raise
            # A network failure is a better explanation than a second mirror that never had the suite.
            first_error = error if first_error is None or is_not_found(first_error) else first_error
            continue
        verified = release.parse_inrelease(data, keyrings=keyrings, url=release_url)
        remark = release.check_release(
            verified, suite=suite, url=release_url, now=time.time(), strict=options.valid_until
        )
        if remark:
            site.note(remark)
        return mirror, verified
    assert first_error is not None
    if is_not_found(first_error) and suite == options.suite:
        similar = suites.nearest_suite(suite)
        hint = f"did you mean `{similar}`?" if similar else "name a mirror that has it: `mirror:`"
        raise ResolveError(f"no suite `{suite}` on {' or '.join(urls)}", code="no-suite", hint=hint) from first_error
    raise first_error


def _path(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path)


def has_component(suite_release: release.Release, component: str, arch: str) -> bool:
    """Whether a release has a component for an architecture."""
    return any(f"{component}/binary-{arch}/Packages.{form}" in suite_release.files for form in _FORMS)


def find_package_list(url: str, suite_release: release.Release, suite: str, component: str, arch: str) -> PackageList:
    """Returns the Packages file of a component, by its hash if the archive has it by hash. Raises ResolveError."""
    for form in _FORMS:
        entry = suite_release.files.get(f"{component}/binary-{arch}/Packages.{form}")
        if entry is None:
            continue
        directory = os.path.dirname(entry.path)
        # Without by-hash a mirror may, during an update, serve a Packages file that its InRelease does not list.
        path = f"{directory}/by-hash/SHA256/{entry.sha256}" if suite_release.by_hash else entry.path
        return PackageList(
            url=url,
            suite=suite,
            component=component,
            path=f"dists/{suite}/{path}",
            sha256=entry.sha256,
            size=entry.size,
            inrelease=suite_release.sha256,
            form=form,
        )
    raise ResolveError(f"suite `{suite}` has no component `{component}` for {arch}", code="no-component")


def fetch_index(lists: tuple[PackageList, ...], site: Site) -> PackageIndex:
    """Fetches Packages files (checked by size and hash) and scans them. Raises FetchError, ResolveError."""
    return read_index(lists, site.fetch([item.fetch() for item in lists]))


def read_index(lists: Sequence[PackageList], paths: Sequence[os.PathLike[str]]) -> PackageIndex:
    """Scans Packages files at their local paths. Raises ResolveError."""
    return PackageIndex([read_list(path, item) for path, item in zip(paths, lists, strict=True)])


def read_list(path: os.PathLike[str], item: PackageList) -> str:
    """Returns the text of a Packages or Sources file at its local path. Raises ResolveError."""
    import lzma
    import zlib

    with open(path, "rb") as file:
        data = file.read()
    try:
        unpacked = decompress_limited("xz" if data.startswith(b"\xfd7zXZ") else "gz", data, MAX_INDEX_SIZE)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise ResolveError(f"the package list of {item.suite} is damaged: {error}", code="index") from error
    if unpacked is None:
        raise ResolveError(
            f"the package list of {item.suite} unpacks to more than {MAX_INDEX_SIZE >> 20} MiB", code="index"
        )
    return unpacked.decode("utf-8", "replace")

"""Finds the package that has a file, from the Contents index of a suite. It is used for hints only, and fetched when a
build has failed.

Format: https://wiki.debian.org/DebianRepository/Format#A.22Contents.22_indices"""

from __future__ import annotations

import os
import re
import zlib
from typing import TYPE_CHECKING

from envtool.api import Command, Fetch, FetchError, Site
from envtool.kinds.debian import mirrors, suite_index, suites
from envtool.kinds.debian.suite_options import SuiteOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK_SIZE = 1 << 20  # bytes that are read at once
MAX_SIZE = 4 << 30  # bytes of an unpacked index: Debian's have 500 MB
_TRIPLET = re.compile(r"/[a-z0-9_]+-linux-gnu[a-z0-9]*/")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+$")


def packages_with_files(options: SuiteOptions, ends: Sequence[str], site: Site) -> dict[str, str]:
    """Returns the package for each end of a path (`ffi.h`, `pkgconfig/x.pc`) that some package of the suite has. Of
    several packages it is the one with the most usual path. Raises ResolveError, FetchError."""
    mirrors.allow_host_archives(site)
    arch = suite_index.architecture(site.arch)
    release = suite_index.find_release(options, site, environ=os.environ, sources=mirrors.read_host_sources())
    components = options.components or suites.COMPONENTS.get(release.mirrors.archive, ("main",))
    packages: dict[str, str] = {}
    for architecture in (arch, "all"):  # `all` second: its index is large, and few of its files are looked for
        remaining = [end for end in ends if end not in packages]
        names = [f"{component}/Contents-{architecture}.gz" for component in components] + [
            f"Contents-{architecture}.gz"
        ]
        entries = [entry for name in names if (entry := release.main.files.get(name))]
        if not remaining or not entries:
            continue
        site.note(f"looking up which package has {', '.join(remaining)}")
        fetches = []
        for number, entry in enumerate(entries):
            directory = os.path.dirname(entry.path)
            path = f"{directory}/by-hash/SHA256/{entry.sha256}".lstrip("/") if release.main.by_hash else entry.path
            url = f"{release.url}/dists/{options.suite}/{path}"
            fetches.append(
                Fetch(url=url, sha256=entry.sha256, size=entry.size, name=f"{number}-Contents-{architecture}.gz")
            )
        rows = [row for path in site.fetch(fetches) for row in scan_contents(path, remaining)]
        for end in remaining:
            candidates = sorted(_rank(path, package) for row_end, path, package in rows if row_end == end)
            if candidates:
                packages[end] = candidates[0][-1]
    return packages


def packages_for_site(ends: Sequence[str], site: Site) -> dict[str, str]:
    """Returns the same for the system in a site's containers; nothing if it is not Debian or Ubuntu. Raises
    ResolveError, FetchError."""
    os_release = site.run(Command(argv=("/bin/cat", "/etc/os-release"))).stdout.decode(errors="replace")
    suite = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", os_release, re.MULTILINE)
    if not suite or not suites.suite_family(suite[1]):
        return {}
    return packages_with_files(SuiteOptions(suite=suite[1]), ends, site)


def _rank(path: str, package: str) -> tuple[bool, int, bool, int, str]:
    """Returns a sort key: smaller for a path that compilers and shells search, and for a package that is meant for
    builds."""
    is_searched = path.startswith(("usr/include/", "usr/lib/", "usr/bin/", "usr/share/pkgconfig/"))
    depth = _TRIPLET.sub("/", path).count("/")
    return not is_searched, depth, not package.endswith("-dev"), len(package), package


def scan_contents(path: str | os.PathLike[str], ends: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yields (end, path, package) for each row whose path ends with one of `ends`. Raises FetchError if the index is
    damaged."""
    suffixes = [(end, b"/" + end.encode()) for end in ends]
    decoder, remainder, size = zlib.decompressobj(31), b"", 0
    try:
        with open(path, "rb") as file:
            while (compressed := decoder.unconsumed_tail or file.read(CHUNK_SIZE)) and size < MAX_SIZE:
                unpacked = decoder.decompress(compressed, 16 * CHUNK_SIZE)
                size += len(unpacked)
                if decoder.eof:
                    compressed, decoder = decoder.unused_data, zlib.decompressobj(31)
                    unpacked += decoder.decompress(compressed, 16 * CHUNK_SIZE) if compressed else b""
                text, newline, remainder = (remainder + unpacked).rpartition(b"\n")
                yield from _rows(text + newline, suffixes)
                remainder = remainder[-CHUNK_SIZE:]
    except zlib.error as error:
        raise FetchError(f"the Contents index is damaged: {error}", code="index") from error


def _rows(text: bytes, suffixes: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, str, str]]:
    for end, suffix in suffixes:
        start = text.find(suffix)
        while start >= 0:
            stop = start + len(suffix)
            if text[stop : stop + 1] in (b" ", b"\t"):
                line_end = text.find(b"\n", stop)
                path = text[text.rfind(b"\n", 0, start) + 1 : stop].decode(errors="replace")
                for entry in text[stop:line_end].decode(errors="replace").strip().split(","):
                    package = entry.rpartition("/")[2]
                    if _NAME.match(package):
                        yield end, path, package
            start = text.find(suffix, stop)

"""Which package has a file: the Contents index of a suite, for hints alone. It is fetched when a build has failed.

Format: https://wiki.debian.org/DebianRepository/Format#A.22Contents.22_indices
"""

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

PIECE = 1 << 20  # bytes that are unpacked at once
LARGEST = 4 << 30  # bytes of an unpacked index: those of Debian have 500 MB
_TRIPLET = re.compile(r"/[a-z0-9_]+-linux-gnu[a-z0-9]*/")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+$")


def packages_with_files(wish: SuiteOptions, ends: Sequence[str], site: Site) -> dict[str, str]:
    """Of each path's end, as in `ffi.h` or `pkgconfig/x.pc`: the package of the suite that has such a file in the most
    usual place. What no package has is left out. Raises ResolveError, FetchError."""
    mirrors.allow_host_archives(site)
    arch = suite_index.architecture(site.arch)
    asked = suite_index.find_release(wish, site, environ=os.environ, sources=mirrors.read_host_sources())
    components = wish.components or suites.COMPONENTS.get(asked.mirrors.archive, ("main",))
    found: dict[str, str] = {}
    for part in (arch, "all"):  # packages for all architectures are many, and few have what is looked for
        left = [end for end in ends if end not in found]
        names = [f"{component}/Contents-{part}.gz" for component in components] + [f"Contents-{part}.gz"]
        entries = [entry for name in names if (entry := asked.main.files.get(name))]
        if not left or not entries:
            continue
        site.note(f"looking up which package has {', '.join(left)}")
        fetches = []
        for number, entry in enumerate(entries):
            folder = os.path.dirname(entry.path)
            path = f"{folder}/by-hash/SHA256/{entry.sha256}".lstrip("/") if asked.main.by_hash else entry.path
            url = f"{asked.url}/dists/{wish.suite}/{path}"
            fetches.append(Fetch(url=url, sha256=entry.sha256, size=entry.size, name=f"{number}-Contents-{part}.gz"))
        rows = [row for path in site.fetch(fetches) for row in scan_contents(path, left)]
        for end in left:
            here = sorted(_rank(path, package) for wanted, path, package in rows if wanted == end)
            if here:
                found[end] = here[0][-1]
    return found


def packages_for_site(ends: Sequence[str], site: Site) -> dict[str, str]:
    """The same for the system that a site's containers have, where that is Debian or Ubuntu. Raises ResolveError,
    FetchError."""
    said = site.run(Command(argv=("/bin/cat", "/etc/os-release"))).stdout.decode(errors="replace")
    suite = re.search(r"^VERSION_CODENAME=\"?([a-z]+)\"?$", said, re.MULTILINE)
    if not suite or not suites.suite_family(suite[1]):
        return {}
    return packages_with_files(SuiteOptions(suite=suite[1]), ends, site)


def _rank(path: str, package: str) -> tuple[bool, int, bool, int, str]:
    """Smaller for what a compiler or a shell finds by itself, and for what is there to build with."""
    usual = path.startswith(("usr/include/", "usr/lib/", "usr/bin/", "usr/share/pkgconfig/"))
    depth = _TRIPLET.sub("/", path).count("/")
    return not usual, depth, not package.endswith("-dev"), len(package), package


def scan_contents(path: str | os.PathLike[str], ends: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(end, path, package) of each row whose path ends so. Raises FetchError where the index is damaged."""
    wanted = [(end, b"/" + end.encode()) for end in ends]
    decoder, rest, size = zlib.decompressobj(31), b"", 0
    try:
        with open(path, "rb") as file:
            while (packed := decoder.unconsumed_tail or file.read(PIECE)) and size < LARGEST:
                plain = decoder.decompress(packed, 16 * PIECE)
                size += len(plain)
                if decoder.eof:
                    packed, decoder = decoder.unused_data, zlib.decompressobj(31)
                    plain += decoder.decompress(packed, 16 * PIECE) if packed else b""
                text, newline, rest = (rest + plain).rpartition(b"\n")
                yield from _rows(text + newline, wanted)
                rest = rest[-PIECE:]
    except zlib.error as error:
        raise FetchError(f"the Contents index is damaged: {error}", code="index") from error


def _rows(text: bytes, wanted: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, str, str]]:
    for end, name in wanted:
        at = text.find(name)
        while at >= 0:
            after = at + len(name)
            if text[after : after + 1] in (b" ", b"\t"):
                stop = text.find(b"\n", after)
                place = text[text.rfind(b"\n", 0, at) + 1 : after].decode(errors="replace")
                for each in text[after:stop].decode(errors="replace").strip().split(","):
                    package = each.rpartition("/")[2]
                    if _NAME.match(package):
                        yield end, place, package
            at = text.find(name, after)

"""The index of a suite's source packages, and their archives. Formats: dsc(5) and the Sources index of a repository
(https://wiki.debian.org/DebianRepository/Format)."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from envtool.api import Json, ResolveError, Site, Unpack, shapes
from envtool.api.untrusted_text import natural
from envtool.kinds.debian import mirrors, suite_index, suites
from envtool.kinds.debian.pins import SOURCE_PINS, PackageList
from envtool.kinds.debian.suite_options import SuiteOptions

_ARCHIVE = re.compile(r"\.(?:tar\.(?:gz|xz|bz2|zst)|tgz)$")
_COMPONENT = re.compile(r"\.orig(?:-([A-Za-z0-9-]+))?\.tar\.")


def find_source(name: str, suite: str, wanted: str | None, site: Site) -> dict[str, Any]:
    """Returns the pins of a source package; `wanted` is its authors' version, or None for any. Raises ResolveError,
    FetchError."""
    site.note(f"looking for the sources of {name}")
    versions = []
    for text in _read_indexes(suite, site):
        for stanza in _stanzas(text, name):
            pins = _pins(stanza, suite)
            version = upstream_version(pins["version"])
            if wanted in (None, version):
                return pins
            versions.append(version)
    hint = f"it has {', '.join(versions)}" if versions else "is it the name of the source package?"
    raise ResolveError(
        f"suite `{suite}` has no sources of {name}{f' {wanted}' if wanted else ''}", code="no-source", hint=hint
    )


def unpack_steps(names: Sequence[str], target: str) -> tuple[Unpack, ...]:
    """Returns what unpacks archives without their top directories: the authors' own, and those of components below."""
    steps = []
    for name in names:
        component = _COMPONENT.search(name)
        below = posixpath.join(target, component[1]) if component and component[1] else target
        steps.append(Unpack(name=name, target=below, strip=1))
    return tuple(steps)


def _read_indexes(suite: str, site: Site) -> list[str]:
    """Returns the texts of the suite's Sources files, checked by the signed InRelease. Raises ResolveError,
    FetchError."""
    mirrors.allow_host_archives(site)
    found = suite_index.find_release(
        SuiteOptions(suite=suite), site, environ=os.environ, sources=mirrors.read_host_sources()
    )
    lists = []
    for component in suites.COMPONENTS.get(found.mirrors.archive, ("main",)):
        for form in ("xz", "gz"):
            if entry := found.main.files.get(f"{component}/source/Sources.{form}"):
                directory = posixpath.dirname(entry.path)
                path = f"{directory}/by-hash/SHA256/{entry.sha256}" if found.main.by_hash else entry.path
                lists.append(
                    PackageList(
                        url=found.url, suite=suite, component=component, path=f"dists/{suite}/{path}",
                        sha256=entry.sha256, size=entry.size, inrelease=found.main.sha256, form=form,
                    )
                )  # fmt: skip
                break
    paths = site.fetch([item.fetch() for item in lists])
    return [suite_index.read_list(path, item) for path, item in zip(paths, lists, strict=True)]


def _stanzas(text: str, name: str) -> list[str]:
    """Returns the stanzas of a package in a Sources file, the last (of the newest version) first."""
    starts = [match.start() for match in re.finditer(rf"^Package: {re.escape(name)}$", text, re.MULTILINE)]
    ends = [text.find("\n\n", start) for start in starts]
    return [text[start : end if end >= 0 else None] for start, end in zip(starts, ends, strict=True)][::-1]


def _pins(stanza: str, suite: str) -> dict[str, Any]:
    """Returns the pins of a stanza. Raises ResolveError if it is not as dsc(5) has it."""
    fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE))
    rows = re.findall(r"^[ \t]*([0-9a-f]{64}) (\d{1,15}) (\S+)$", fields.get("Checksums-Sha256", ""), re.MULTILINE)
    files: list[Json] = [
        {"file": file, "sha256": sha256, "size": natural(size, 1 << 40) or 0}
        for sha256, size, file in sorted(rows, key=lambda row: row[2])
        if _ARCHIVE.search(file) and ".debian.tar." not in file
    ]
    pins: dict[str, Any] = {
        "name": fields.get("Package", ""), "version": fields.get("Version", ""), "suite": suite,
        "directory": fields.get("Directory", ""), "files": files,
    }  # fmt: skip
    if not files or shapes.fault(pins, SOURCE_PINS):
        raise ResolveError(f"the index of sources of {suite} is damaged: {pins['name']}", code="index")
    return pins


def upstream_version(version: str) -> str:
    """Returns "1.2.13" for `1:1.2.13.dfsg-1`: without epoch, Debian's revision and the mark of a repacked archive."""
    without = version.partition(":")[2] if ":" in version else version
    return re.sub(r"[.+~](?:dfsg|ds|repack)[\d.+~]*$", "", without.rpartition("-")[0] or without)

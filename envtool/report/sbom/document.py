"""A software bill of materials as a value: the layers of a stack, and the packages in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from envtool.api import Package
from envtool.fs import globs
from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomPackage:
    """A package, the paths of its metadata in the stack, and the sha256 of the pinned file that had it ("" if
    unknown)."""

    package: Package
    paths: tuple[str, ...]
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomLayer:
    """A base or layer of the stack."""

    name: str
    kind: str
    key: str
    diff_id: str
    summary: str
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """The contents of an env's stack. `steps` are the base and layers, bottom first; `system` and `release` are from
    the stack's os-release ("debian", "12"; empty without one)."""

    env: str
    digest: str  # of the stack, hex
    epoch: int  # seconds
    steps: tuple[SbomLayer, ...]
    items: tuple[SbomPackage, ...]
    system: str = ""
    release: str = ""

    @property
    def created(self) -> datetime:
        """The time of the bill, which is the stack's epoch."""
        return datetime.fromtimestamp(self.epoch, UTC)

    @property
    def identity(self) -> uuid.UUID:
        """A UUID of env and stack (version 8 of RFC 9562, whose content the application defines)."""
        import hashlib
        import uuid

        raw = bytearray(hashlib.sha256(f"{self.env}\0{self.digest}".encode()).digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return uuid.UUID(bytes=bytes(raw))


def merge_packages(packages: Sequence[Package], files: Sequence[tuple[str, str]]) -> tuple[SbomPackage, ...]:
    """Returns the packages with the hashes of their files, one for each package URL, sorted. `files`: (name, sha256) of
    all files from which the stack's layers were built."""
    merged: dict[tuple[object, ...], SbomPackage] = {}
    for package in packages:
        key = (package.type, package.namespace, package.name, package.version, *sorted(package.qualifiers.items()))
        earlier = merged.get(key)
        paths = (*(earlier.paths if earlier else ()), package.path)
        match = globs.matcher(package.archives)
        sha256s = sorted({sha256 for name, sha256 in files if match.fullmatch(name)})
        sha256 = (
            sha256s[0] if len(sha256s) == 1 else ""
        )  # with two files of one name and version, the right one is unknown
        merged[key] = SbomPackage(package=earlier.package if earlier else package, paths=paths, sha256=sha256)
    return tuple(item for _, item in sorted(merged.items(), key=lambda pair: tuple(map(str, pair[0]))))


def to_one_line(text: str) -> str:
    """Returns an untrusted text on one line, without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def valid_url(text: str) -> str:
    """Returns an untrusted URL if it is a valid http(s) URL, else ""."""
    return text if re.fullmatch(r"https?://[\w.:-]+(/[!-;=?-Z_a-z~]*)?", text, re.ASCII) else ""


def purl(package: Package) -> str:
    """Returns the package URL (purl)."""
    from packageurl import PackageURL

    return PackageURL(
        type=package.type,
        namespace=package.namespace or None,
        name=package.name,
        version=package.version,
        qualifiers=dict(package.qualifiers) or None,
    ).to_string()

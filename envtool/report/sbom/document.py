"""A software bill of materials as a value: the layers of a stack, and the packages in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from envtool.api import Package
from envtool.fs import globs

if TYPE_CHECKING:
    import uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomPackage:
    """A package, every place in the stack that says it is there, and the sha256 of the pinned file it came in (or
    empty)."""

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
    """What is in the stack of an env. `steps` are bottom first, the base among them; `system` and `release` are what
    its os-release calls itself ("debian", "12"; empty where there is none)."""

    env: str
    digest: str  # of the stack, hex
    epoch: int  # seconds
    steps: tuple[SbomLayer, ...]
    items: tuple[SbomPackage, ...]
    system: str = ""
    release: str = ""

    @property
    def created(self) -> datetime:
        """The stack's epoch: a bill has no other time."""
        return datetime.fromtimestamp(self.epoch, UTC)

    @property
    def identity(self) -> uuid.UUID:
        """A UUID (version 8, RFC 9562: of our own making) of env and stack."""
        import hashlib
        import uuid

        raw = bytearray(hashlib.sha256(f"{self.env}\0{self.digest}".encode()).digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return uuid.UUID(bytes=bytes(raw))


def merge_packages(packages: Sequence[Package], files: Sequence[tuple[str, str]]) -> tuple[SbomPackage, ...]:
    """Packages with the hashes of what they came in, one for each package URL, sorted. `files`: (name, sha256) of
    everything that the stack's layers were made of."""
    found: dict[tuple[object, ...], SbomPackage] = {}
    for package in packages:
        key = (package.type, package.namespace, package.name, package.version, *sorted(package.qualifiers.items()))
        known = found.get(key)
        paths = (*(known.paths if known else ()), package.path)
        match = globs.matcher(package.archives)
        sha256s = sorted({sha256 for name, sha256 in files if match.fullmatch(name)})
        sha256 = sha256s[0] if len(sha256s) == 1 else ""  # two files of one name and version: who can say which
        found[key] = SbomPackage(package=known.package if known else package, paths=paths, sha256=sha256)
    return tuple(item for _, item in sorted(found.items(), key=lambda pair: tuple(map(str, pair[0]))))


def to_one_line(text: str) -> str:
    """A stranger's text on one line, without control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def valid_url(text: str) -> str:
    """A stranger's URL where it is one, else empty."""
    return text if re.fullmatch(r"https?://[\w.:-]+(/[!-;=?-Z_a-z~]*)?", text, re.ASCII) else ""


def purl(package: Package) -> str:
    """The package URL."""
    from packageurl import PackageURL

    return PackageURL(
        type=package.type,
        namespace=package.namespace or None,
        name=package.name,
        version=package.version,
        qualifiers=dict(package.qualifiers) or None,
    ).to_string()

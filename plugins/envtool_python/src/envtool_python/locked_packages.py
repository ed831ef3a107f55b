"""The values that the readers of lock files return, and the bounds of what they read. Pure.

A lock file is a stranger's: its size, the number of its packages, files and edges, the lengths of its texts and the
depth of its tables are bounded, and every name and hash is checked before it is used.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from envtool.api.toml_reader import read_toml
from envtool_python.decode import WrongFileError
from envtool_python.requirements import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envtool import api

MAX_SIZE = 16 << 20  # characters of a lock file
MAX_PACKAGES = 20_000
MAX_VERSIONS = 30  # of one package: a few, for different environments
MAX_FILES = 2_000  # of one package
MAX_EDGES = 2_000  # dependencies of one package
MAX_EXTRA_EDGES = 500_000  # dependencies of all extras together
MAX_TEXT = 10_000  # characters of one text, such as a marker
MAX_DEPTH = 40  # brackets within each other in one line
FILES_DIGEST = "envtool-files"  # key of a package in the place of its files
# `wheels = [` or `files = [` as uv, Poetry and PDM write it, a file a line: most of a lock, and slow to parse
_FILES = re.compile(r"^(?:wheels|files) = \[\n((?: {4}\{[^\n]*\},?\n)+)\]$", re.MULTILINE)
_HASHES = re.compile(r"\b(?:sha256|sha384|sha512)(?::| = \")[0-9a-f]+")
_FILE_NAMES = re.compile(r'\b(?:url|path|file|filename|name) = "(?:[^"]*/)?([^"/]*)"')
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][\w.+!~-]*")
_HASH = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A wheel or source archive. `sha256` is "" where the lock has another hash, `integrity` (W3C Subresource
    Integrity), or none; `size` in bytes, 0: unknown."""

    name: str
    sha256: str = ""
    integrity: str = ""
    size: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What a package requires: a name, under a marker ("": always), with bounds (PEP 440; "": any version)."""

    name: str
    marker: str = ""
    extras: tuple[str, ...] = ()
    bounds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRelease:
    """One version of a project. `source` is `index` (`location`: its URL, "" for the usual one), `url`, `archive`,
    `directory`, or `repository`. `markers`: it is for environments that satisfy one of them; () for all."""

    name: str
    version: str
    line: int
    source: str = "index"
    location: str = ""
    markers: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()
    extras: Mapping[str, tuple[Edge, ...]] = field(default_factory=dict)
    files: tuple[LockedFile, ...] = ()
    files_digest: str = ""  # of the names and hashes of files that were not parsed

    def document(self) -> api.Json:
        """Returns all that decides what is installed, for a digest: no URL of a file, no time of an upload."""
        return [
            self.name,
            self.version,
            self.source,
            self.location,
            [*self.markers],
            [_edge_document(edge) for edge in self.edges],
            {name: [_edge_document(edge) for edge in edges] for name, edges in sorted(self.extras.items())},
            self.files_digest,
            [f"{file.name} {file.sha256 or file.integrity}" for file in sorted(self.files, key=lambda file: file.name)],
        ]


def _edge_document(edge: Edge) -> api.Json:
    return [edge.name, edge.marker, [*edge.extras], edge.bounds]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """A lock file. `renew` is the command that brings it up to date. `flat`: its markers alone say what is installed
    (PEP 751); otherwise it is what can be reached from the requirements."""

    path: str
    packages: tuple[LockedRelease, ...]
    renew: str
    flat: bool = False
    default_groups: tuple[str, ...] = ()

    def named(self) -> dict[str, list[LockedRelease]]:
        """Returns the packages by their names; several versions of one name are for different environments."""
        packages: dict[str, list[LockedRelease]] = {}
        for package in self.packages:
            packages.setdefault(package.name, []).append(package)
        return packages


class LockReader:
    """The checked values of one lock file; its methods raise WrongFileError at the line of the current package."""

    def __init__(self, text: str, path: str, *, with_files: bool = True) -> None:
        """Without files, only a digest of their hashes is read, ten times as fast: names and URLs decide nothing."""
        self.text, self.path = text, path
        self.with_files = with_files
        self.line = 1
        self._extra_edges = 0
        self._lines = [
            number for number, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[packages?\]\]", line)
        ]

    def wrong(self, message: str) -> WrongFileError:
        """Returns an error at the current package."""
        hint = "the tool that wrote it writes it anew; `locked: none` in the env leaves it out"
        return WrongFileError(f"{self.path}: {message}", file=self.path, line=self.line, hint=hint)

    def document(self) -> dict[str, Any]:
        """Parses the text."""
        if len(self.text) > MAX_SIZE:
            raise self.wrong(f"it has more than {MAX_SIZE >> 20} MB")
        for number, line in enumerate(self.text.splitlines(), 1):
            if line.count("[") + line.count("{") > MAX_DEPTH and _depth(line) > MAX_DEPTH:
                self.line = number
                raise self.wrong(f"more than {MAX_DEPTH} brackets within each other")
        try:
            return read_toml(self.text if self.with_files else _FILES.sub(_files_digest, self.text))
        except tomllib.TOMLDecodeError as error:
            position = re.search(r"\(at line (\d+)", str(error))
            self.line = int(position[1]) if position else 1
            message = re.sub(r" \(at .*\)$", "", str(error))
            raise self.wrong(message[:1].lower() + message[1:200]) from None

    def packages(self, document: Mapping[str, Any], key: str = "package") -> Iterator[dict[str, Any]]:
        """Yields the tables of the packages; errors are at the line of the last one."""
        tables = document.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
            raise self.wrong(f"`{key}` is no array of tables")
        if len(tables) > MAX_PACKAGES:
            raise self.wrong(f"it has more than {MAX_PACKAGES} packages")
        counts: dict[str, int] = {}
        for index, table in enumerate(tables):
            self.line = self._lines[index] if index < len(self._lines) else 1
            name = str(table.get("name"))[:200]
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > MAX_VERSIONS:
                raise self.wrong(f"it has more than {MAX_VERSIONS} versions of `{name[:60]}`")
            yield table

    def check_format(self, version: str, known: tuple[str, ...]) -> None:
        """Raises for a version of the format whose first number is none of the known ones."""
        if version.partition(".")[0] not in known:
            raise self.wrong(f"version {version[:40] or 'none'} of the format is not known here")

    def names_of(self, value: object, key: str) -> list[str]:
        """Returns the normalised names of extras."""
        return [self.name_of(extra, "an extra") for extra in self.tables(value, f"`{key}`", MAX_EDGES)]

    def edges_of_extra(self, edges: Iterable[Edge]) -> tuple[Edge, ...]:
        """Returns the edges of an extra. All extras of a lock have at most MAX_EXTRA_EDGES: an extra repeats edges of
        its package, so that their number is no bound for their product."""
        left = MAX_EXTRA_EDGES - self._extra_edges
        counted = tuple(itertools.islice(edges, left + 1))
        if len(counted) > left:
            raise self.wrong(f"the extras of all packages have more than {MAX_EXTRA_EDGES} dependencies")
        self._extra_edges += len(counted)
        return counted

    def name_of(self, value: object, what: str = "a package") -> str:
        """Returns a project's normalised name."""
        if not isinstance(value, str) or len(value) > 200 or not _NAME.fullmatch(value):
            raise self.wrong(f"{what} has no valid name")
        return normal(value)

    def text_of(self, value: object, what: str) -> str:
        """Returns a text of bounded length; None is ""."""
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self.wrong(f"{what} is no text of at most {MAX_TEXT} characters")
        return value

    def url_of(self, value: object, what: str) -> str:
        """Returns a URL or path, which can be split; None is ""."""
        from urllib.parse import urlsplit

        text = self.text_of(value, what)
        try:
            urlsplit(text)
        except ValueError:
            raise self.wrong(f"{what} is no URL: `{text[:60]}`") from None
        return text

    def version_of(self, value: object) -> str:
        """Returns a version (PEP 440); "" for None."""
        from packaging.version import Version

        text = self.text_of(value, "a version")
        try:
            return text if not text or Version(text) else ""
        except ValueError:  # InvalidVersion, or int() of more than 4300 digits
            raise self.wrong(f"`{text[:40]}` is no version") from None

    def tables(self, value: object, what: str, limit: int) -> list[Any]:
        """Returns an array of bounded length; None is empty."""
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > limit:
            raise self.wrong(f"{what} is no array of at most {limit} items")
        return value

    def table(self, value: object, what: str, limit: int = MAX_EDGES) -> dict[str, Any]:
        """Returns a table of bounded size; None is empty."""
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > limit:
            raise self.wrong(f"{what} is no table of at most {limit} keys")
        return value

    def file(self, name: str, hashes: Mapping[str, Any], size: object = 0, url: str = "") -> LockedFile:
        """Returns a file, whose name cannot lead to another directory, and whose sha256 is one or missing."""
        if len(name) > 255 or not _FILE_NAME.fullmatch(name):
            raise self.wrong(f"`{name[:60]}` is no name of a file")
        for algorithm, value in hashes.items():
            length = _HASH.get(algorithm)
            if length and not (isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value)):
                raise self.wrong(f"the {algorithm} of {name} is none")
        stronger = next((name for name in ("sha512", "sha384") if name in hashes and "sha256" not in hashes), "")
        integrity = f"{stronger}-{b64encode(bytes.fromhex(hashes[stronger])).decode()}" if stronger else ""
        number = size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 50 else 0
        return LockedFile(name=name, sha256=str(hashes.get("sha256", "")), integrity=integrity, size=number, url=url)

    def hash_of(self, value: object) -> dict[str, str]:
        """Returns `sha256:…` as a mapping."""
        algorithm, colon, digest = self.text_of(value, "a hash").partition(":")
        if value is not None and not colon:
            raise self.wrong("a hash names no algorithm")
        return {algorithm: digest} if colon else {}

    def edge(self, line: str, marker: str = "") -> Edge:
        """Returns the edge of a requirement (PEP 508)."""
        from packaging.requirements import Requirement

        text = self.text_of(line, "a requirement")
        try:
            requirement = Requirement(text)
            bounds = str(requirement.specifier)
        except (ValueError, RecursionError):  # InvalidRequirement, or int() of more than 4300 digits
            raise self.wrong(f"`{str(line)[:60]}` is no requirement") from None
        return Edge(
            name=normal(requirement.name),
            marker=marker or (str(requirement.marker) if requirement.marker else ""),
            extras=tuple(sorted(map(normal, requirement.extras))),
            bounds=bounds,
        )


def _files_digest(match: re.Match[str]) -> str:
    """Returns a line with the digest of the names and hashes in the place of files, and as many lines as they had; what
    has escapes stays, for a parser that reads them."""
    if "\\" in match[1]:
        return match[0]
    files = (" ".join((*_FILE_NAMES.findall(line), *_HASHES.findall(line))) for line in match[1].splitlines())
    digest = sha256("\n".join(sorted(files)).encode()).hexdigest()
    return f'{FILES_DIGEST} = "{digest}"' + "\n" * match[0].count("\n")


def _depth(line: str) -> int:
    depth = deepest = 0
    for character in re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", line):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def file_of_url(url: str) -> str:
    """Returns the file name at the end of a URL or path."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path.rpartition("/")[2])

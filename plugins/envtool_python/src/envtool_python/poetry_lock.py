"""poetry.lock -> LockFile. Pure.

Format: as Poetry 1.1 to 2 write it (lock-version 1.1 to 2.1): `[[package]]` with `dependencies`, `extras`, `source` and
`files`; in lock-version 1.1 the files are in `[metadata.files]`. Dependencies are in Poetry's notation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool_python.locked_packages import (
    FILES_DIGEST,
    MAX_EDGES,
    MAX_FILES,
    MAX_PACKAGES,
    Edge,
    LockedFile,
    LockedRelease,
    LockFile,
)
from envtool_python.poetry import poetry_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool_python.locked_packages import LockReader

_SOURCES = {
    "": "index",
    "legacy": "index",
    "url": "url",
    "file": "archive",
    "directory": "directory",
    "git": "repository",
}


def read_poetry_lock(reader: LockReader) -> LockFile:
    """Raises WrongFileError."""
    document = reader.document()
    metadata = reader.table(document.get("metadata"), "`metadata`")
    version = reader.text_of(metadata.get("lock-version"), "`lock-version`")
    reader.check_format(version, ("1", "2"))
    older = reader.table(metadata.get("files"), "`metadata.files`", MAX_PACKAGES)
    packages = tuple(_package(reader, table, older) for table in reader.packages(document))
    return LockFile(path=reader.path, packages=packages, renew="poetry lock")


def _package(reader: LockReader, table: Mapping[str, Any], older: Mapping[str, Any]) -> LockedRelease:
    name = reader.name_of(table.get("name"))
    source = reader.table(table.get("source"), "`source`")
    kind = reader.text_of(source.get("type"), "a source")
    if kind not in _SOURCES:
        raise reader.wrong(f"`{name}` has a source `{kind[:40]}`, which is not known here")
    location = reader.url_of(source.get("url"), "a source's URL")
    dependencies = reader.table(table.get("dependencies"), "`dependencies`")
    optional: dict[str, list[Edge]] = {}
    edges: list[Edge] = []
    for dependency, value in dependencies.items():
        for edge, is_optional in _edges(reader, dependency, value):
            (optional.setdefault(edge.name, []) if is_optional else edges).append(edge)
    extras = {
        reader.name_of(extra, "an extra"): reader.edges_of_extra(_extra(reader, lines, optional))
        for extra, lines in reader.table(table.get("extras"), "`extras`").items()
    }
    files = table.get("files", older.get(str(table.get("name"))))
    return LockedRelease(
        name=name,
        version=reader.version_of(table.get("version")),
        line=reader.line,
        source=_SOURCES[kind],
        location=location if kind else "",
        markers=_markers(reader, table.get("markers")),
        edges=tuple(edges),
        extras=extras,
        files_digest=reader.text_of(table.get(FILES_DIGEST), "a digest"),
        files=tuple(_files(reader, files, location if kind == "url" else "")),
    )


def _markers(reader: LockReader, value: object) -> tuple[str, ...]:
    """Returns the markers of a package: one text, or one for each group."""
    if isinstance(value, dict):
        texts = [reader.text_of(text, "a marker") for text in reader.table(value, "`markers`").values()]
        return tuple(texts) if all(texts) else ()
    text = reader.text_of(value, "a marker")
    return (text,) if text else ()


def _edges(reader: LockReader, dependency: object, value: object) -> Iterator[tuple[Edge, bool]]:
    name = reader.name_of(dependency, "a dependency")
    for item in reader.tables(value, f"`{name}`", MAX_EDGES) if isinstance(value, list) else [value]:
        entry = {"version": item} if isinstance(item, str) else reader.table(item, "a dependency")
        version = reader.text_of(entry.get("version"), "a version")
        if len(version) > 500:
            raise reader.wrong(f"the bounds of `{name}` are too long")
        edge = Edge(
            name=name,
            marker=reader.text_of(entry.get("markers"), "a marker"),
            extras=tuple(reader.names_of(entry.get("extras"), "extras")),
            bounds=poetry_version(version) if version and "|" not in version else "",
        )
        yield edge, entry.get("optional") is True


def _extra(reader: LockReader, lines: object, optional: Mapping[str, list[Edge]]) -> Iterator[Edge]:
    """Yields the edges of an extra: lines as in `PySocks (>=1.5.6)`, whose markers stand at the dependency itself."""
    from dataclasses import replace

    for line in reader.tables(lines, "an extra", MAX_EDGES):
        edge = reader.edge(line)
        for full in optional.get(edge.name, [edge]):
            yield replace(full, extras=tuple(sorted({*full.extras, *edge.extras})))


def _files(reader: LockReader, value: object, url: str) -> Iterator[LockedFile]:
    for item in reader.tables(value, "`files`", MAX_FILES):
        entry = reader.table(item, "a file")
        name = reader.text_of(entry.get("file"), "a file's name")
        yield reader.file(name, reader.hash_of(entry.get("hash")), 0, url)

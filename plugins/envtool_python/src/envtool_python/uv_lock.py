"""uv.lock -> LockFile. Pure.

Format: https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile, version 1 as uv writes it: `[[package]]` with
`source`, `dependencies`, `optional-dependencies`, `resolution-markers`, `sdist`, `wheels`. A dependency that several
versions could satisfy names its version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool_python.locked_packages import (
    FILES_DIGEST,
    MAX_EDGES,
    MAX_FILES,
    Edge,
    LockedFile,
    LockedRelease,
    LockFile,
    file_of_url,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool_python.locked_packages import LockReader

VERSIONS = (1,)
_SOURCES = {  # key of `source` -> LockedRelease.source
    "registry": "index",
    "url": "url",
    "path": "archive",
    "directory": "directory",
    "editable": "directory",
    "virtual": "directory",
    "git": "repository",
}


def read_uv_lock(reader: LockReader) -> LockFile:
    """Raises WrongFileError."""
    document = reader.document()
    if document.get("version") not in VERSIONS:
        raise reader.wrong(f"version {str(document.get('version'))[:40]} of the format is not known here")
    packages = tuple(_package(reader, table) for table in reader.packages(document))
    return LockFile(path=reader.path, packages=packages, renew="uv lock")


def _package(reader: LockReader, table: Mapping[str, Any]) -> LockedRelease:
    name = reader.name_of(table.get("name"))
    source_table = reader.table(table.get("source"), "`source`")
    key = next((key for key in _SOURCES if key in source_table), "")
    if not key:
        raise reader.wrong(f"`{name}` has no source that is known here")
    location = reader.url_of(source_table[key], "a source")
    extras = reader.table(table.get("optional-dependencies"), "`optional-dependencies`")
    return LockedRelease(
        name=name,
        version=reader.version_of(table.get("version")),
        line=reader.line,
        source=_SOURCES[key],
        location=location,
        markers=tuple(
            reader.text_of(marker, "a marker")
            for marker in reader.tables(table.get("resolution-markers"), "`resolution-markers`", MAX_EDGES)
        ),
        edges=_edges(reader, table.get("dependencies")),
        extras={reader.name_of(extra, "an extra"): _edges(reader, value) for extra, value in extras.items()},
        files_digest=reader.text_of(table.get(FILES_DIGEST), "a digest"),
        files=_files(reader, table, location if key == "url" else ""),
    )


def _edges(reader: LockReader, value: object) -> tuple[Edge, ...]:
    edges = []
    for item in reader.tables(value, "`dependencies`", MAX_EDGES):
        entry = reader.table(item, "a dependency")
        version = reader.version_of(entry.get("version"))
        edges.append(
            Edge(
                name=reader.name_of(entry.get("name"), "a dependency"),
                marker=reader.text_of(entry.get("marker"), "a marker"),
                extras=tuple(reader.names_of(entry.get("extra"), "extra")),
                bounds=f"==={version}" if version else "",
            )
        )
    return tuple(edges)


def _files(reader: LockReader, table: Mapping[str, Any], location: str) -> tuple[LockedFile, ...]:
    files = []
    sdist = table.get("sdist")
    wheels = reader.tables(table.get("wheels"), "`wheels`", MAX_FILES)
    for item in (*wheels, *([sdist] if sdist is not None else [])):
        entry = reader.table(item, "a file")
        url = reader.url_of(entry.get("url") or entry.get("path") or location, "a URL")
        file_name = reader.text_of(entry.get("filename"), "a file's name") or file_of_url(url)
        files.append(reader.file(file_name, reader.hash_of(entry.get("hash")), entry.get("size"), url))
    return tuple(files)

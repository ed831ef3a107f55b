"""pdm.lock -> LockFile. Pure.

Format: lock_version 4, as PDM 2 writes it: `[[package]]` with `dependencies` (PEP 508), `marker` and `files`. A package
with extras has an entry of its own for them (`extras = ["socks"]`), which requires the package. `static_urls` is a
strategy: files then have a `url` in the place of `file`.
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
    file_of_url,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool_python.locked_packages import LockReader


def read_pdm_lock(reader: LockReader) -> LockFile:
    """Raises WrongFileError."""
    document = reader.document()
    metadata = reader.table(document.get("metadata"), "`metadata`")
    version = reader.text_of(metadata.get("lock_version"), "`lock_version`")
    reader.check_format(version, ("4",))
    older = reader.table(metadata.get("files"), "`metadata.files`", MAX_PACKAGES)
    plain: list[LockedRelease] = []
    extras: dict[tuple[str, str], dict[str, tuple[Edge, ...]]] = {}
    for table in reader.packages(document):
        package = _package(reader, table, older)
        names = reader.names_of(table.get("extras"), "extras")
        if not names:
            plain.append(package)
        for name in names:
            edges = (edge for edge in package.edges if edge.name != package.name or edge.extras)
            extras.setdefault((package.name, package.version), {})[name] = reader.edges_of_extra(edges)
    from dataclasses import replace

    packages = [replace(package, extras=extras.get((package.name, package.version), {})) for package in plain]
    return LockFile(path=reader.path, packages=tuple(packages), renew="pdm lock --update-reuse")


def _package(reader: LockReader, table: Mapping[str, Any], older: Mapping[str, Any]) -> LockedRelease:
    name = reader.name_of(table.get("name"))
    version = reader.version_of(table.get("version"))
    source, location = "index", ""
    if "git" in table or "hg" in table or "svn" in table:
        source, location = (
            "repository",
            reader.url_of(table.get("git") or table.get("hg") or table.get("svn"), "a URL"),
        )
    elif "url" in table:
        source, location = "url", reader.url_of(table["url"], "a URL")
    elif "path" in table:
        location = reader.url_of(table["path"], "a path")
        source = "archive" if location.endswith((".whl", ".tar.gz", ".zip")) else "directory"
    marker = reader.text_of(table.get("marker"), "a marker")
    lines = reader.tables(table.get("dependencies"), "`dependencies`", MAX_EDGES)
    return LockedRelease(
        name=name,
        version=version,
        line=reader.line,
        source=source,
        location=location,
        markers=(marker,) if marker else (),
        edges=tuple(reader.edge(line) for line in lines),
        files_digest=reader.text_of(table.get(FILES_DIGEST), "a digest"),
        files=_files(reader, table.get("files", older.get(f"{table.get('name')} {version}")), location),
    )


def _files(reader: LockReader, value: object, location: str) -> tuple[LockedFile, ...]:
    files = []
    for item in reader.tables(value, "`files`", MAX_FILES):
        entry = reader.table(item, "a file")
        url = reader.url_of(entry.get("url"), "a URL")
        name = reader.text_of(entry.get("file"), "a file's name") or file_of_url(url)
        files.append(reader.file(name, reader.hash_of(entry.get("hash")), 0, url or location))
    return tuple(files)

"""pylock.toml (PEP 751) -> LockFile. Pure.

The markers of the packages alone decide what is installed; they may ask for `extras` and `dependency_groups`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool_python.locked_packages import (
    FILES_DIGEST,
    MAX_EDGES,
    MAX_FILES,
    LockedFile,
    LockedRelease,
    LockFile,
    file_of_url,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool_python.locked_packages import LockReader

_SOURCES = {"vcs": "repository", "directory": "directory", "archive": "url"}


def read_pylock(reader: LockReader) -> LockFile:
    """Raises WrongFileError."""
    document = reader.document()
    version = reader.text_of(document.get("lock-version"), "`lock-version`")
    reader.check_format(version, ("1",))
    packages = tuple(_package(reader, table) for table in reader.packages(document, "packages"))
    groups = reader.tables(document.get("default-groups"), "`default-groups`", MAX_EDGES)
    creator = reader.text_of(document.get("created-by"), "`created-by`")
    renew = {"uv": f"uv export -o {reader.path}", "pdm": "pdm lock"}.get(creator, f"pip lock -o {reader.path} .")
    return LockFile(
        path=reader.path,
        packages=packages,
        renew=renew,
        flat=True,
        default_groups=tuple(reader.name_of(group, "a group") for group in groups),
    )


def _package(reader: LockReader, table: Mapping[str, Any]) -> LockedRelease:
    name = reader.name_of(table.get("name"))
    key = next((key for key in _SOURCES if key in table), "")
    source = reader.table(table.get(key), f"`{key}`") if key else {}
    location = reader.url_of(source.get("url") or source.get("path") or table.get("index"), "a location")
    marker = reader.text_of(table.get("marker"), "a marker")
    kind = _SOURCES.get(key, "index")
    if key == "archive" and not source.get("url"):
        kind = "archive"
    return LockedRelease(
        name=name,
        version=reader.version_of(table.get("version")),
        line=reader.line,
        source=kind,
        location=location,
        markers=(marker,) if marker else (),
        files_digest=reader.text_of(table.get(FILES_DIGEST), "a digest"),
        files=_files(reader, [source], location) if key == "archive" else _all_files(reader, table),
    )


def _all_files(reader: LockReader, table: Mapping[str, Any]) -> tuple[LockedFile, ...]:
    sdist = table.get("sdist")
    wheels = reader.tables(table.get("wheels"), "`wheels`", MAX_FILES)
    return _files(reader, [*wheels, *([sdist] if sdist is not None else [])], "")


def _files(reader: LockReader, items: list[Any], location: str) -> tuple[LockedFile, ...]:
    files = []
    for item in items:
        entry = reader.table(item, "a file")
        url = reader.url_of(entry.get("url") or entry.get("path") or location, "a URL")
        name = reader.text_of(entry.get("name"), "a file's name") or file_of_url(url)
        hashes = reader.table(entry.get("hashes"), "`hashes`")
        files.append(reader.file(name, hashes, entry.get("size"), url))
    return tuple(files)

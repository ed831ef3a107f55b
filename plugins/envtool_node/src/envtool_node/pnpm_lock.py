"""pnpm-lock.yaml -> the tarballs of an installation. Pure.

Read are the versions 5.3 to 9.0 of the format, as pnpm 6 to 10 write them
(https://github.com/pnpm/spec/tree/master/lockfile). Keys of `packages` are `/name/1.0.0_peers` (5),
`/name@1.0.0(peers)` (6) and `name@1.0.0` (9).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from envtool_node.locked_sources import (
    SERVER,
    LockedSources,
    fits_words,
    foreign_source,
    inside,
    mapping,
    parse_yaml,
    registry_package,
    registry_path,
    text_of,
)
from envtool_node.lockfile import LockedPackage, NodePlatform, WrongLockError

LOCKFILE = "pnpm-lock.yaml"
# Major version of the format -> the pnpm that installs from it; 8 and later need Node.js 16, 9 needs 18.12.
VERSIONS = {"5": "7.33.7", "6": "8.15.9", "9": "9.15.9"}
DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies")
_URL = re.compile(r"(?m)(\btarball: )(['\"]?)(https?://[^\s,}'\"]+)\2")


def parse_pnpm_lock(text: str, name: str, platform: NodePlatform | None) -> LockedSources:
    """Returns what pnpm fetches on this platform; None: on all platforms. Raises WrongLockError."""
    document = parse_yaml(text, name)
    major = format_version(document, name)
    if document.get("patchedDependencies") is not None:
        mapping(document["patchedDependencies"], f"{name}: `patchedDependencies`")
    needed = _needed(document, major, name)
    packages: dict[tuple[str, str], LockedPackage] = {}
    for key, entry in mapping(document.get("packages"), f"{name}: `packages`").items():
        values = mapping(entry, f"{name}: {key}")
        is_optional = key not in needed if major == "9" else values.get("optional") == "true"
        if platform and is_optional and not fits_words(platform, _words(values, f"{name}: {key[:200]}")):
            continue
        package = _package(key, values, major, name)
        packages[package.identity] = package
    directories, linked = _importers(document, name)
    return LockedSources(packages=tuple(packages.values()), directories=directories, linked=linked)


def format_version(document: Mapping[str, Any], name: str) -> str:
    """Returns the major version of the format. Raises WrongLockError."""
    version = document.get("lockfileVersion")
    major = version.partition(".")[0] if isinstance(version, str) else ""
    if major not in VERSIONS:
        shown = version[:20] if isinstance(version, str) else "None" if version is None else "that is no text"
        raise WrongLockError(f"{name}: lockfileVersion {shown} is not known: 5, 6 and 9 are")
    return major


def stale_catalogs(text: str, name: str, workspace: str, workspace_name: str) -> str:
    """Returns the first entry of a catalog (https://pnpm.io/catalogs) that the lock file has with another range than
    pnpm-workspace.yaml, as a sentence; "" if there is none. Not each pnpm compares them. Raises WrongLockError."""
    locked = mapping(parse_yaml(text, name).get("catalogs"), f"{name}: `catalogs`")
    if not locked:
        return ""
    document = parse_yaml(workspace, workspace_name)
    written = {
        "default": document.get("catalog"),
        **mapping(document.get("catalogs"), f"{workspace_name}: `catalogs`"),
    }
    for catalog, entries in locked.items():
        ranges = mapping(written.get(catalog), f"{workspace_name}: the catalog {catalog[:100]}")
        for package, entry in mapping(entries, f"{name}: the catalog {catalog[:100]}").items():
            where = f"{name}: {package[:200]} of the catalog {catalog[:100]}"
            wanted, has = text_of(ranges, package, workspace_name), text_of(mapping(entry, where), "specifier", where)
            if wanted != has:
                asked = f"`{wanted[:50]}`" if wanted else "none"
                return f"{where} is for `{has[:50]}`, and {workspace_name} wants {asked}"
    return ""


def offline_lock(text: str) -> str:
    """Returns the lock file with the addresses of tarballs replaced by those of the build's own server."""

    def replace(match: re.Match[str]) -> str:
        path = registry_path(match[3])
        return f"{match[1]}{SERVER}{path}" if path else match[0]

    return _URL.sub(replace, text)


def _needed(document: Mapping[str, Any], major: str, name: str) -> set[str]:
    """Returns the keys of packages that are not only optional (version 9, which has that in `snapshots`)."""
    if major != "9":
        return set()
    snapshots = mapping(document.get("snapshots"), f"{name}: `snapshots`")
    return {
        key.partition("(")[0]
        for key, entry in snapshots.items()
        if mapping(entry, f"{name}: {key}").get("optional") != "true"
    }


def _words(entry: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    words = {key: entry[key] for key in ("os", "cpu", "libc") if isinstance(entry.get(key), list)}
    if not all(isinstance(word, str) for members in words.values() for word in members):
        raise WrongLockError(f"{where}: the names of its platforms are no texts")
    return words


def _split(key: str, major: str) -> tuple[str, str]:
    """Returns the name and version of a key of `packages`; the version of another source is its address."""
    if major == "5":
        plain, _, version = key.removeprefix("/").rpartition("/")
        return plain, version.partition("_")[0]
    plain = key.removeprefix("/").partition("(")[0]
    position = plain.find("@", 1)
    return (plain[:position], plain[position + 1 :]) if position > 0 else (plain, "")


def _package(key: str, entry: Mapping[str, Any], major: str, name: str) -> LockedPackage:
    where = f"{name}: {key[:200]}"
    resolution = mapping(entry.get("resolution"), where)
    plain, version = _split(key, major)
    plain, version = text_of(entry, "name", where) or plain, text_of(entry, "version", where) or version
    sort, integrity = text_of(resolution, "type", where), text_of(resolution, "integrity", where)
    tarball = text_of(resolution, "tarball", where)
    if sort == "git" or "repo" in resolution or resolution.get("gitHosted") == "true":
        raise WrongLockError(f"{plain} comes from a git repository, whose files have no hash")
    if sort == "directory" or "directory" in resolution:
        directory = text_of(resolution, "directory", where)
        raise WrongLockError(f"{plain} is a copy of the directory {directory[:200]}, which has no hash")
    if sort not in ("", "tarball"):
        raise WrongLockError(f"{where}: its resolution is of the type {sort[:50]}, which is not known")
    if tarball.startswith("file:"):
        local = posixpath.normpath(tarball.removeprefix("file:"))
        inside(local, where)
        return LockedPackage(name=plain, version=version, local=local, integrity=integrity)
    if tarball and not registry_path(tarball):
        raise foreign_source(plain, tarball)
    return registry_package(plain, version, integrity=integrity, url=tarball, where=where)


def _importers(document: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Returns the directories that get a node_modules, and those that they link."""
    importers = mapping(document.get("importers"), f"{name}: `importers`") or {".": document}
    directories, linked = {""}, {}
    for path, importer in importers.items():
        directory = inside(path, f"{name}: the importer {path[:200]}")
        values = mapping(importer, f"{name}: {path}")
        for key in DEPENDENCIES:
            dependencies = mapping(values.get(key), f"{name}: {key} of {path}")
            if dependencies:
                directories.add(directory)
            for dependency, entry in dependencies.items():
                version = entry.get("version") if isinstance(entry, dict) else entry
                if isinstance(version, str) and version.startswith("link:"):
                    target = posixpath.join(directory, version.removeprefix("link:"))
                    linked[dependency] = inside(target, f"{name}: {dependency}") or "."
    return tuple(sorted(directories)), linked

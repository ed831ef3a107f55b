"""package-lock.json and npm-shrinkwrap.json -> the tarballs of an installation. Pure.

Versions 2 and 3 of the format are read (npm 7 and later). Version 1 has too little in it: the npm of the stack converts
it to version 3 (resolver). A *location* is a key of `packages`: "node_modules/a/node_modules/b".
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from envtool_node.places import REGISTRY

Entry: TypeAlias = Mapping[str, Any]

_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_NODE_MODULES = "node_modules/"


class WrongLockError(ValueError):
    """A lock file that cannot be used; the message says which package, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlatform:
    """The platform of an env, in Node's words: os "linux", cpu "x64", libc "glibc" or "musl" ("" unknown)."""

    os: str
    cpu: str
    libc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A tarball. One of three is set: `path` (below the registry of the name), `url`, `local` (relative to
    package.json)."""

    name: str
    version: str
    path: str = ""
    url: str = ""
    local: str = ""
    integrity: str = ""
    resolved: str = ""  # its URL in the lock file

    @property
    def identity(self) -> tuple[str, str]:
        """What distinguishes the tarball from others: one tarball may be installed at many locations."""
        return self.path or self.url or self.local, self.integrity


def parse_lockfile(text: str, name: str) -> Mapping[str, Entry] | None:
    """Returns the `packages` of a lock file; None for version 1, which has none. Raises WrongLockError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongLockError(f"{name} is not JSON: {error}") from None
    version = document.get("lockfileVersion", 1) if isinstance(document, dict) else None
    if version not in (1, 2, 3):
        raise WrongLockError(f"{name}: lockfileVersion {version} is not known: 1, 2 and 3 are")
    packages = document.get("packages")
    if version == 1 or packages is None:
        return None
    if not isinstance(packages, dict) or not all(isinstance(entry, dict) for entry in packages.values()):
        raise WrongLockError(f"{name}: `packages` is not a mapping of mappings")
    return packages


def name_of(location: str, entry: Entry) -> str:
    """Returns the package's own name: that of an alias (`npm:…`) differs from its directory."""
    return str(entry.get("name") or location.rpartition(_NODE_MODULES)[2])


def is_installed(location: str) -> bool:
    """Whether npm installs the package at this location; otherwise it is the project itself or a workspace."""
    return location.startswith(_NODE_MODULES) or f"/{_NODE_MODULES}" in location


def tarball_of_entry(location: str, entry: Entry) -> LockedPackage | None:
    """Returns the tarball of an entry; None for links, workspaces and packages inside another package's tarball. Raises
    WrongLockError, which names the package, if there is no tarball with a hash.
    """
    if not is_installed(location) or entry.get("link") or entry.get("inBundle"):
        return None
    name, version = name_of(location, entry), str(entry.get("version", ""))
    if not version and not entry.get("resolved"):  # npm 11 leaves some out (npm/cli issue 9342), and then refuses them
        raise WrongLockError(f"{location} has no version: remove node_modules and the lock file, and `npm install`")
    resolved, integrity = str(entry.get("resolved") or ""), str(entry.get("integrity") or "")
    path = url = local = ""
    try:
        scheme = urlsplit(resolved).scheme.lower()
    except ValueError:
        raise WrongLockError(f"{name} comes from `{resolved}`, which is no URL") from None
    if not resolved:
        path = f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    elif scheme in ("http", "https"):
        path = _below_registry(resolved, name)
        url = "" if path else resolved
    elif scheme == "file" and resolved.endswith(_ARCHIVES):
        local = posixpath.normpath(resolved.removeprefix("file:"))
    elif scheme == "file":
        raise WrongLockError(f"{name} is a copy of the directory {resolved.removeprefix('file:')}, which has no hash")
    else:
        origin = "a git repository" if "git" in scheme or scheme == "ssh" else f"`{resolved}`"
        raise WrongLockError(f"{name} comes from {origin}, which has no hash")
    return LockedPackage(
        name=name, version=version, path=path, url=url, local=local, integrity=integrity, resolved=resolved
    )


def _below_registry(url: str, name: str) -> str:
    """Returns `name/-/name-1.0.0.tgz` of a registry's URL, the same in all registries; "" for any other URL."""
    match = re.search(r"(?:^|/)((?:@[^/]+/)?[^/@]+/-/[^/]+)$", unquote(urlsplit(url).path))
    path = match.group(1) if match else ""
    return path if path.startswith(f"{name}/-/") else ""


def select_tarballs(
    packages: Mapping[str, Entry], platform: NodePlatform, omit: Iterable[str] = ()
) -> dict[str, LockedPackage]:
    """Returns location -> tarball, of all packages that npm may unpack on this platform, without the omitted ones.
    Raises WrongLockError.
    """
    omitted = frozenset(omit)
    tarballs: dict[str, LockedPackage] = {}
    for location, entry in sorted(packages.items()):
        if _is_omitted(entry, omitted) or (entry.get("optional") and not fits_platform(entry, platform)):
            continue
        package = tarball_of_entry(location, entry)
        if package is not None:
            tarballs[location] = package
    return tarballs


def _is_omitted(entry: Entry, omit: frozenset[str]) -> bool:
    """Whether npm leaves the package out, by the rules of its module reify."""
    return bool(
        (entry.get("peer") and "peer" in omit)
        or (entry.get("dev") and "dev" in omit)
        or (entry.get("optional") and "optional" in omit)
        or (entry.get("devOptional") and {"dev", "optional"} <= omit)
    )


def fits_platform(entry: Entry, platform: NodePlatform) -> bool:
    """Whether a package is made for this platform, by its `os`, `cpu` and `libc`."""
    return (
        _is_allowed(platform.os, entry.get("os"))
        and _is_allowed(platform.cpu, entry.get("cpu"))
        and (not platform.libc or _is_allowed(platform.libc, entry.get("libc")))
    )


def _is_allowed(value: str, names: object) -> bool:
    """Whether `names` include the value, or only exclude others ("!win32"), by the rules of npm-install-checks."""
    if not names:
        return True
    values = [names] if isinstance(names, str) else [str(name) for name in names] if isinstance(names, list) else []
    if values == ["any"] or f"!{value}" in values:
        return values == ["any"]
    return value in values or all(name.startswith("!") for name in values)


def linked_directories(packages: Mapping[str, Entry]) -> dict[str, str]:
    """Returns the location of each link -> its target directory, relative to package.json (workspaces, `file:`
    directories)."""
    return {
        location: posixpath.normpath(str(entry.get("resolved") or ""))
        for location, entry in sorted(packages.items())
        if entry.get("link") and is_installed(location)
    }


def node_modules_parents(locations: Iterable[str]) -> tuple[str, ...]:
    """Returns the directories, relative to package.json, that get a node_modules: "" is the project's own."""
    directories = {
        "" if location.startswith(_NODE_MODULES) else location.partition(f"/{_NODE_MODULES}")[0]
        for location in locations
    }
    return tuple(sorted(directories))


def strip_registry_hosts(packages: Mapping[str, Entry]) -> dict[str, Any]:
    """Returns the packages without the hosts of registries, as pins may have them."""
    document: dict[str, Any] = {}
    for location, entry in packages.items():
        package = tarball_of_entry(location, entry)
        dropped_key = "resolved" if package is not None and package.path else ""
        document[location] = {key: value for key, value in entry.items() if key != dropped_key}
    return document


def without_unfit_bundled(packages: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """Returns the packages without those inside another package's tarball that a package outside of this tarball finds
    first, and whose version it does not accept, if one further out fits.

    npm (11) makes such lock files: it places `globby` below `xo`, whose tarball has an old `fast-glob`. Installing
    from one, npm asks the registry for another version, and unpacks the old one over it. Without the entry, npm asks
    for nothing, and the tarball brings the same files.
    """
    unfit: set[str] = set()
    for location, entry in packages.items():
        if entry.get("inBundle") or not is_installed(location):
            continue
        required = entry.get("dependencies")
        for name, wanted in required.items() if isinstance(required, dict) else ():
            first, *others = [*_candidates(packages, location, str(name))] or [""]
            is_unfit = packages.get(first, {}).get("inBundle") and not _accepts(packages[first], wanted)
            if is_unfit and any(_accepts(packages[other], wanted) for other in others):
                unfit.add(first)
    return {location: entry for location, entry in packages.items() if location not in unfit} if unfit else packages


def _candidates(packages: Mapping[str, Entry], location: str, name: str) -> Iterator[str]:
    """Yields the locations of a name in the order in which Node.js looks for it from a package."""
    directory = location
    while True:
        if (candidate := posixpath.join(directory, _NODE_MODULES + name)) in packages:
            yield candidate
        if not directory:
            return
        directory = directory.rpartition(_NODE_MODULES)[0].rstrip("/")


def _accepts(entry: Entry, wanted: object) -> bool:
    """Whether a range accepts an entry; what is no range of versions accepts all: npm decides."""
    from envtool_node.version_ranges import satisfies

    try:
        return satisfies(str(entry.get("version", "")), str(wanted))
    except ValueError:
        return True


def offline_lockfile(packages: Mapping[str, Entry], integrities: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Returns a lock file (version 3) for an offline `npm ci`: each tarball has a hash that is in the cache, and a URL
    that does not depend on its registry. `integrities`: identity -> the hash.
    """
    document: dict[str, Any] = {}
    for location, entry in packages.items():
        document[location] = dict(entry)
        try:
            package = tarball_of_entry(location, entry)
        except WrongLockError:
            continue  # the package is left out: otherwise `select_tarballs` had refused it
        if package is None or package.local:
            continue
        document[location]["resolved"] = REGISTRY + package.path if package.path else package.url
        integrity = integrities.get(package.identity)
        if integrity is not None:
            document[location]["integrity"] = integrity
    root = packages.get("", {})
    header = {key: root[key] for key in ("name", "version") if key in root}
    return {**header, "lockfileVersion": 3, "requires": True, "packages": document}

"""package-lock.json and npm-shrinkwrap.json -> the tarballs that an installation wants. Pure.

Versions 2 and 3 of the format are read (npm 7 and later); version 1 has too little in it, and is brought to version 3
by the npm of the stack (resolving.py). A *place* is a key of `packages`: "node_modules/a/node_modules/b".
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

Entry: TypeAlias = Mapping[str, Any]

NAMES = ("npm-shrinkwrap.json", "package-lock.json")  # the first that is there counts, as npm has it
OMIT = ("dev", "optional", "peer")
REGISTRY = "https://registry.invalid/"  # stands for whichever registry it was in what a build sees
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_NODE_MODULES = "node_modules/"


class WrongLockError(ValueError):
    """A lock file that cannot be used; the message says which package, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlatform:
    """Where packages are to run, in Node's words: os "linux", cpu "x64", libc "glibc" or "musl" ("" unknown)."""

    os: str
    cpu: str
    libc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A tarball. Set is one of `path` (below whichever registry has the name), `url`, `local` (beside package.json)."""

    name: str
    version: str
    path: str = ""
    url: str = ""
    local: str = ""
    integrity: str = ""
    resolved: str = ""  # where the lock file says that it was

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from others: the same tarball may be wanted in many places."""
        return self.path or self.url or self.local, self.integrity


def parse_lockfile(text: str, name: str) -> Mapping[str, Entry] | None:
    """The `packages` of a lock file; None for version 1, which has none. Raises WrongLockError."""
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


def name_of(place: str, entry: Entry) -> str:
    """The package's own name: an alias (`npm:…`) has another than its directory."""
    return str(entry.get("name") or place.rpartition(_NODE_MODULES)[2])


def is_installed(place: str) -> bool:
    """Whether npm puts it there: else it is the project itself or a workspace."""
    return place.startswith(_NODE_MODULES) or f"/{_NODE_MODULES}" in place


def tarball_of_entry(place: str, entry: Entry) -> LockedPackage | None:
    """The tarball of an entry; None for links, workspaces and what comes inside of another package's tarball. Raises
    WrongLockError naming the package for what has no tarball with a hash.
    """
    if not is_installed(place) or entry.get("link") or entry.get("inBundle"):
        return None
    name, version = name_of(place, entry), str(entry.get("version", ""))
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
        what = "a git repository" if "git" in scheme or scheme == "ssh" else f"`{resolved}`"
        raise WrongLockError(f"{name} comes from {what}, which has no hash")
    return LockedPackage(
        name=name, version=version, path=path, url=url, local=local, integrity=integrity, resolved=resolved
    )


def _below_registry(url: str, name: str) -> str:
    """`name/-/name-1.0.0.tgz` of a registry's URL, which all registries share; "" for any other URL."""
    found = re.search(r"(?:^|/)((?:@[^/]+/)?[^/@]+/-/[^/]+)$", unquote(urlsplit(url).path))
    path = found.group(1) if found else ""
    return path if path.startswith(f"{name}/-/") else ""


def select_tarballs(
    packages: Mapping[str, Entry], platform: NodePlatform, omit: Iterable[str] = ()
) -> dict[str, LockedPackage]:
    """Place -> tarball, of all that npm may unpack here: what is omitted or made for another platform is not among
    them. Raises WrongLockError.
    """
    left_out = frozenset(omit)
    found: dict[str, LockedPackage] = {}
    for place, entry in sorted(packages.items()):
        if _omitted(entry, left_out) or (entry.get("optional") and not fits_platform(entry, platform)):
            continue
        package = tarball_of_entry(place, entry)
        if package is not None:
            found[place] = package
    return found


def _omitted(entry: Entry, omit: frozenset[str]) -> bool:
    """As npm's own reify has it."""
    return bool(
        (entry.get("peer") and "peer" in omit)
        or (entry.get("dev") and "dev" in omit)
        or (entry.get("optional") and "optional" in omit)
        or (entry.get("devOptional") and {"dev", "optional"} <= omit)
    )


def fits_platform(entry: Entry, platform: NodePlatform) -> bool:
    """Whether a package is made for this platform, by its `os`, `cpu` and `libc`."""
    return (
        _listed(platform.os, entry.get("os"))
        and _listed(platform.cpu, entry.get("cpu"))
        and (not platform.libc or _listed(platform.libc, entry.get("libc")))
    )


def _listed(value: str, names: object) -> bool:
    """`value` is named, or nothing but others are refused ("!win32"); as npm-install-checks has it."""
    if not names:
        return True
    said = [names] if isinstance(names, str) else [str(name) for name in names] if isinstance(names, list) else []
    if said == ["any"] or f"!{value}" in said:
        return said == ["any"]
    return value in said or all(name.startswith("!") for name in said)


def linked_directories(packages: Mapping[str, Entry]) -> dict[str, str]:
    """Place of each link -> the directory it leads to, beside package.json (workspaces, `file:` directories)."""
    return {
        place: posixpath.normpath(str(entry.get("resolved") or ""))
        for place, entry in sorted(packages.items())
        if entry.get("link") and is_installed(place)
    }


def node_modules_parents(places: Iterable[str]) -> tuple[str, ...]:
    """The directories, beside package.json, that get a node_modules: "" is the project's own."""
    tops = {"" if place.startswith(_NODE_MODULES) else place.partition(f"/{_NODE_MODULES}")[0] for place in places}
    return tuple(sorted(tops))


def strip_registry_hosts(packages: Mapping[str, Entry]) -> dict[str, Any]:
    """The same without the hosts of registries: what pins may hold."""
    document: dict[str, Any] = {}
    for place, entry in packages.items():
        package = tarball_of_entry(place, entry)
        drop = "resolved" if package is not None and package.path else ""
        document[place] = {key: value for key, value in entry.items() if key != drop}
    return document


def offline_lockfile(packages: Mapping[str, Entry], integrities: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A lock file (version 3) for an offline `npm ci`: each tarball by a hash that there is in the cache, and by a URL
    that is the same whichever registry it came from. `integrities`: identity -> the hash.
    """
    document: dict[str, Any] = {}
    for place, entry in packages.items():
        document[place] = dict(entry)
        try:
            package = tarball_of_entry(place, entry)
        except WrongLockError:
            continue  # one that is left out, else it had been refused
        if package is None or package.local:
            continue
        document[place]["resolved"] = REGISTRY + package.path if package.path else package.url
        known = integrities.get(package.identity)
        if known is not None:
            document[place]["integrity"] = known
    root = packages.get("", {})
    head = {key: root[key] for key in ("name", "version") if key in root}
    return {**head, "lockfileVersion": 3, "requires": True, "packages": document}

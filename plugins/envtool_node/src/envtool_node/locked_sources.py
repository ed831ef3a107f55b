"""What the lock files of pnpm and Yarn say about the files of an installation, as one shape. Pure.

A package's tarball is named by its path below a registry (`name/-/name-1.0.0.tgz`), which is the same in all
registries. Sources that have no such tarball are refused by name: another package of that name must never take their
place.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from envtool_node.lockfile import LockedPackage, NodePlatform, WrongLockError
from envtool_node.package_json import WrongManifestError

SERVER_PORT = 4873  # of the tarballs' server in a build, whose network is its own
SERVER = f"http://127.0.0.1:{SERVER_PORT}/"

MAX_TEXT = 10_000  # characters of one value of a lock file
_NAME = re.compile(r"(?:@[A-Za-z0-9~_-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*")
_VERSION = re.compile(r"\d[0-9A-Za-z.+-]*")
_TARBALL = re.compile(r"(?:^|/)((?:@[^/]+/)?[^/@]+/-/(?:@[^/]+/)?[^/]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSources:
    """The tarballs of a lock file, the directories that get a node_modules, and those that are linked: relative to
    package.json, "" is package.json's own."""

    packages: tuple[LockedPackage, ...]
    directories: tuple[str, ...] = ("",)
    linked: Mapping[str, str] = field(default_factory=dict)  # what is linked, for messages -> its directory


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """Parses YAML whose values all stay text, so that no number can be too large, and no tag constructs anything. Each
    value is in one place: no package manager writes aliases (YAML 1.2, 7.1), and a few of them stand for any number of
    values. Raises WrongLockError."""
    import yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise WrongLockError(f"{name}:{line}: {error.problem or 'is not YAML'}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise WrongLockError(f"{name} is not YAML") from None
    if not isinstance(document, dict):
        raise WrongLockError(f"{name} is not a mapping")
    if has_aliases(document):
        raise WrongLockError(f"{name} has an alias (`*name`): package managers write none")
    return document


def has_aliases(document: object) -> bool:
    """Whether a mapping or list of a YAML document is in two places of it."""
    seen: set[int] = set()
    left = [document]
    while left:
        value = left.pop()
        if not isinstance(value, dict | list):
            continue
        if id(value) in seen:
            return True
        seen.add(id(value))
        left += value.values() if isinstance(value, dict) else value
    return False


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """Returns a mapping, {} for nothing. Raises WrongLockError for any other value."""
    if value is None or value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise WrongLockError(f"{where} is not a mapping")
    return value


def text_of(values: Mapping[str, Any], key: str, where: str) -> str:
    """Returns a value that is text, "" for none. Raises WrongLockError for any other: lists that anchors put into each
    other would be written out without end."""
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise WrongLockError(f"{where}: `{key}` is no text, or a longer one than {MAX_TEXT:,} characters")
    return value


def registry_path(url: str) -> str:
    """Returns `name/-/name-1.0.0.tgz` of a registry's URL; "" for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    match = _TARBALL.search(unquote(parts.path)) if parts.scheme in ("http", "https") else None
    path = match[1] if match else ""
    return path if is_name(path.partition("/-/")[0]) and ".." not in path.split("/") else ""


def is_name(name: str) -> bool:
    """Whether a text can be a package's name, and so part of a path."""
    return len(name) <= 214 and bool(_NAME.fullmatch(name))


def registry_package(name: str, version: str, *, integrity: str = "", url: str = "", where: str) -> LockedPackage:
    """Returns the package of a registry; `url` is its address in the lock file, "" for the usual one. Raises
    WrongLockError for names and versions that no registry has."""
    if not is_name(name) or not (_VERSION.fullmatch(version) and len(version) <= 256):
        raise WrongLockError(f"{where}: `{name[:100]}@{version[:100]}` is no package of a registry")
    path = registry_path(url) if url else f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    if not path.startswith(f"{name}/-/"):
        raise foreign_source(name, url)
    return LockedPackage(name=name, version=version, path=path, integrity=integrity, resolved=url)


def foreign_source(name: str, source: str) -> WrongLockError:
    """Returns the error for a package that comes from elsewhere than a registry."""
    text, plain = source[:200], source.lower()
    if plain.startswith(("git", "ssh:")) or re.search(r"\.git(#|$)|//codeload\.|/tar\.gz/", plain):
        return WrongLockError(f"{name} comes from a git repository, `{text}`, whose files have no hash")
    return WrongLockError(f"{name} comes from `{text}`, which is no tarball of a registry")


def inside(path: str, where: str) -> str:
    """Returns the normalised path of a directory of the project; "" for package.json's own. Raises WrongLockError if it
    leads out of there."""
    normal = posixpath.normpath(path or ".")
    if normal.startswith(("/", "..")) or re.search(r"[\x00-\x1f\x7f\\]", normal) or len(normal) > 1000:
        raise WrongLockError(f"{where} leads out of the project, to {path[:200]!r}")
    return "" if normal == "." else normal


def workspace_patterns(text: str) -> tuple[str, ...]:
    """Returns the patterns of a pnpm-workspace.yaml. Raises WrongManifestError."""
    try:
        packages = parse_yaml(text, "pnpm-workspace.yaml").get("packages") if text.strip() else None
    except WrongLockError as error:
        raise WrongManifestError(str(error), file="pnpm-workspace.yaml") from None
    return tuple(item for item in packages if isinstance(item, str)) if isinstance(packages, list) else ()


def all_platforms(text: str) -> bool:
    """Whether a settings file asks for the packages of other platforms too."""
    return "supportedArchitectures" in text


def fits_words(platform: NodePlatform, words: Mapping[str, list[str]]) -> bool:
    """Whether a package of these `os`, `cpu` and `libc` is made for the platform."""
    from envtool_node.lockfile import fits_platform

    return fits_platform(dict(words), platform)

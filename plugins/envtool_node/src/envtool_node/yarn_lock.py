"""yarn.lock -> the tarballs of an installation, of Yarn 1 ("classic") and of Yarn 2 and later ("berry"). Pure.

Classic has a format of its own (https://classic.yarnpkg.com/lang/en/docs/yarn-lock/), with a URL and a hash for each
tarball. Berry writes YAML: its `checksum` is of the archive that Yarn makes of a tarball, so Yarn itself compares it in
the build; `conditions` names the platform.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

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

LOCKFILE = "yarn.lock"
CLASSIC = "1.22.22"
# `__metadata.version` -> the Yarn that installs from it without rewriting it
VERSIONS = {"6": "3.8.7", "8": "4.5.3"}
_RESOLVED = re.compile(r'(?m)^(  resolved )("?)(https?://[^"\s#]+)(#[^"\s]*)?\2$')
_CONDITION = re.compile(r"\b(os|cpu|libc)=(!?[\w-]+)")


def is_berry(text: str) -> bool:
    """Whether a yarn.lock is of Yarn 2 or later."""
    return re.search(r"(?m)^__metadata:", text) is not None


def default_version(text: str, name: str) -> str:
    """Returns the version of Yarn for a lock file whose project names none. Raises WrongLockError."""
    if not is_berry(text):
        return CLASSIC
    metadata = mapping(parse_yaml(text, name).get("__metadata"), f"{name}: `__metadata`")
    version = text_of(metadata, "version", f"{name}: `__metadata`") or "None"
    if version not in VERSIONS:
        raise WrongLockError(
            f"{name}: the project has to name its Yarn, for a lock file of version {version[:20]}"
            ' may be of several: `"packageManager": "yarn@4.5.3"` in package.json'
        )
    return VERSIONS[version]


def parse_yarn_lock(
    text: str, name: str, platform: NodePlatform | None, registries: Mapping[str, str] | None = None
) -> LockedSources:
    """Returns what Yarn fetches on this platform; None: on all platforms. Classic fetches for all of them.

    `registries`: scope ("" all others) -> the registry that the project's .yarnrc.yml names. Raises WrongLockError.
    """
    packages: dict[tuple[str, str], LockedPackage] = {}
    linked: dict[str, str] = {}
    entries = _berry(text, name, platform, registries or {}, linked) if is_berry(text) else _classic(text, name, linked)
    for package in entries:
        packages[package.identity] = package
    return LockedSources(packages=tuple(packages.values()), linked=linked)


def offline_lock(text: str) -> str:
    """Returns a classic lock file with the addresses of tarballs replaced by those of the build's own server."""

    def replace(match: re.Match[str]) -> str:
        path = registry_path(match[3])
        return f"{match[1]}{match[2]}{SERVER}{path}{match[4] or ''}{match[2]}" if path else match[0]

    return _RESOLVED.sub(replace, text)


# ---- classic ----------------------------------------------------------------------------------------------------


def _classic(text: str, name: str, linked: dict[str, str]) -> Iterator[LockedPackage]:
    for patterns, values in _classic_entries(text, name):
        plain, wanted = _split(patterns[0])
        real = _split(wanted.removeprefix("npm:"))[0] if wanted.startswith("npm:") else plain
        resolved, integrity = values.get("resolved", ""), values.get("integrity", "")
        url, _, fragment = resolved.partition("#")
        if wanted.startswith("link:"):
            linked[plain] = inside(wanted.removeprefix("link:"), f"{name}: {plain}") or "."
        elif url.startswith("file:") or (not url and wanted.startswith(("file:", "./", "../", "/"))):
            path = url or wanted
            if not path.endswith((".tgz", ".tar.gz", ".tar")):
                raise WrongLockError(f"{plain} is a copy of the directory {path.removeprefix('file:')[:200]},"
                                     " which has no hash")  # fmt: skip
            local = inside(posixpath.normpath(path.removeprefix("file:")), f"{name}: {plain}")
            yield LockedPackage(name=plain, version=values.get("version", ""), local=local, integrity=integrity)
        elif not url:
            raise WrongLockError(f"{name}: {plain} has no `resolved`, so its tarball is not known")
        elif not registry_path(url):
            raise foreign_source(plain, resolved)
        else:
            yield registry_package(
                real,
                values.get("version", ""),
                integrity=integrity or _sha1(fragment),
                url=url,
                where=f"{name}: {plain}",
            )


def _classic_entries(text: str, name: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yields the patterns of each entry, and its own values."""
    patterns: list[str] = []
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            raise WrongLockError(f"{name}:{number}: a merge conflict")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith(" "):
            if patterns:
                yield patterns, values
            patterns = [_unquote(item.strip()) for item in re.split(r",(?=\s)", line.rstrip().removesuffix(":"))]
            values = {}
            if not line.rstrip().endswith(":") or not all(patterns):
                raise WrongLockError(f"{name}:{number}: neither the name of a package nor a value of one")
        elif re.match(r"  \S", line) and patterns:
            key, _, value = line.strip().partition(" ")
            values[key] = _unquote(value)
    if patterns:
        yield patterns, values


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _split(pattern: str) -> tuple[str, str]:
    """Splits `name@range` behind the name, which may begin with `@`."""
    position = pattern.find("@", 1)
    return (pattern[:position], pattern[position + 1 :]) if position > 0 else (pattern, "")


def _sha1(fragment: str) -> str:
    """Returns the hash behind `#` of a URL as Subresource Integrity; "" if there is none."""
    try:
        value = binascii.unhexlify(fragment)
    except (ValueError, binascii.Error):
        return ""
    return f"sha1-{base64.b64encode(value).decode()}" if len(value) == 20 else ""


# ---- berry ------------------------------------------------------------------------------------------------------


def _berry(
    text: str, name: str, platform: NodePlatform | None, registries: Mapping[str, str], linked: dict[str, str]
) -> Iterator[LockedPackage]:
    for key, entry in parse_yaml(text, name).items():
        if key == "__metadata":
            continue
        values = mapping(entry, f"{name}: {key[:200]}")
        where = f"{name}: {key[:200]}"
        resolution, version = text_of(values, "resolution", where), text_of(values, "version", where)
        plain, reference = _split(resolution)
        if not reference:
            raise WrongLockError(f"{name}: {key[:200]} has no `resolution`")
        # Yarn notes no checksum of what it fetches on some platforms only. What has one is fetched on all of them, as
        # fsevents is, below its patch, although its conditions are those of another platform.
        is_everywhere = not platform or bool(values.get("checksum"))
        if not is_everywhere and platform and not _fits(text_of(values, "conditions", where), platform):
            continue
        protocol, _, rest = reference.partition(":")
        if protocol == "workspace":
            linked[plain] = inside(rest, f"{name}: {plain}") or "."
        elif protocol in ("link", "portal"):
            linked[plain] = inside(rest.partition("::")[0], f"{name}: {plain}") or "."
        elif protocol == "npm":
            address = re.search(r"\b__archiveUrl=([^&]+)", reference.partition("::")[2])
            scope = plain.partition("/")[0] if plain.startswith("@") else ""
            server = registries.get(scope) or registries.get("", "")
            usual = f"{plain}/-/{plain.rpartition('/')[2]}-{version}.tgz"
            if address:
                raise foreign_source(plain, unquote(address[1]))
            yield registry_package(
                plain, version, url=f"{server.rstrip('/')}/{usual}" if server else "", where=f"{name}: {key[:200]}"
            )
        elif protocol != "patch":  # a patch is applied to another entry, whose tarball counts
            raise _refused(plain, protocol, reference)


def _fits(conditions: str, platform: NodePlatform) -> bool:
    """Whether `os=linux & cpu=x64` is true; of `(os=a | os=b)`, one has to be."""
    words: dict[str, list[str]] = {}
    for key, value in _CONDITION.findall(conditions):
        words.setdefault(key, []).append(value)
    return fits_words(platform, words)


def _refused(plain: str, protocol: str, reference: str) -> WrongLockError:
    if protocol == "file":
        return WrongLockError(f"{plain} is a copy of {reference.partition(':')[2].partition('::')[0][:200]}, which Yarn"
                              " packs anew")  # fmt: skip
    return foreign_source(plain, reference)


def yarnrc_registries(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns scope ("" all others) -> registry, as .yarnrc.yml names them; none that takes a variable."""
    found = {"": settings.get("npmRegistryServer")}
    scopes = settings.get("npmScopes")
    for scope, value in (scopes if isinstance(scopes, dict) else {}).items():
        found[f"@{scope}"] = value.get("npmRegistryServer") if isinstance(value, dict) else None
    return {
        scope: url for scope, url in found.items() if isinstance(url, str) and re.fullmatch(r"https?://[^\s${}@]+", url)
    }

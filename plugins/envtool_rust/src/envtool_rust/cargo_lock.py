"""Cargo.lock -> the crates and git repositories that it pins. Pure.

The format is that of cargo's `cargo-util-schemas` and its versions 1 to 4: a `[[package]]` has `name`, `version`, and,
unless it is of the project itself, a `source`:

    registry+URL, sparse+URL     a registry; `checksum` is the sha256 of the crate's file
    git+URL?branch=…#COMMIT      a git repository; `tag=`, `rev=` or nothing in place of `branch=`

Version 1 has the checksums in `[metadata]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from envtool.api.toml_reader import read_toml

# How lock files name the registry that is cargo's own, wherever it really is: SourceId::crates_io of cargo.
CRATES_IO = "https://github.com/rust-lang/crates.io-index"
NEWEST = 4  # version of the format

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]{1,128})?", re.ASCII)
_CHECKSUM = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_REFERENCES = ("branch", "tag", "rev")


class CargoLockError(ValueError):
    """A Cargo.lock that cannot be used; the message says which package, and why."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LockedCrate:
    """A crate of a registry. `registry` is the URL of its index as the lock has it, empty for cargo's own registry."""

    name: str
    version: str
    sha256: str
    registry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GitSource:
    """A git repository at a commit. `reference` is how the project asks for it: "branch=main", or empty."""

    url: str
    commit: str
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CargoLock:
    """What a lock file pins, sorted, each once. `git_crates` are name and version of the packages in repositories."""

    crates: tuple[LockedCrate, ...] = ()
    repositories: tuple[GitSource, ...] = ()
    git_crates: tuple[tuple[str, str], ...] = ()


def parse_lock(text: str, name: str) -> CargoLock:
    """Parses the text of a Cargo.lock. Raises CargoLockError, which begins with `name`."""
    try:
        document = read_toml(text)
    except ValueError as error:
        raise CargoLockError(f"{name} is not TOML: {str(error)[:200]}") from None
    version = document.get("version", 1)
    if type(version) is not int or not 1 <= version <= NEWEST:
        raise CargoLockError(f"{name} has version {str(version)[:20]}, which is not known: 1 to {NEWEST} are")
    packages = document.get("package", [])
    metadata = document.get("metadata", {})
    if not isinstance(packages, list) or not all(isinstance(item, dict) for item in packages):
        raise CargoLockError(f"{name}: `package` is not a list of tables")
    checksums = metadata if isinstance(metadata, dict) else {}
    crates: set[LockedCrate] = set()
    repositories: set[GitSource] = set()
    git_crates: set[tuple[str, str]] = set()
    for item in packages:
        source = item.get("source")
        if source is None:
            continue  # of the project itself
        crate, version_text = _text(item, "name", _NAME, name), _text(item, "version", _VERSION, name)
        if not isinstance(source, str):
            raise CargoLockError(f"{name}: the source of {crate} {version_text} is not a text")
        scheme, _, url = source.partition("+")
        if scheme == "git":
            repositories.add(_git_source(url, f"{name}: {crate} {version_text}"))
            git_crates.add((crate, version_text))
        elif scheme in ("registry", "sparse"):
            checksum = item.get("checksum", checksums.get(f"checksum {crate} {version_text} ({source})"))
            if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum):
                raise CargoLockError(f"{name}: {crate} {version_text} has no checksum, so its file is not pinned")
            index = url if scheme == "registry" else source
            registry = "" if index == CRATES_IO else _web_url(index, f"{name}: {crate} {version_text}")
            crates.add(LockedCrate(name=crate, version=version_text, sha256=checksum, registry=registry))
        else:
            raise CargoLockError(f"{name}: {crate} {version_text} comes from `{source[:100]}`, which is not supported")
    return CargoLock(
        crates=tuple(sorted(crates)),
        repositories=tuple(sorted(repositories)),
        git_crates=tuple(sorted(git_crates)),
    )


def _text(item: dict[str, Any], key: str, form: re.Pattern[str], name: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise CargoLockError(f"{name}: `{str(value)[:60]}` is no {key} of a package")
    return value


def _web_url(url: str, label: str) -> str:
    """Returns the URL of an index, which may begin with `sparse+`, without credentials."""
    prefix = "sparse+" if url.startswith("sparse+") else ""
    try:
        parts = urlsplit(url.removeprefix(prefix))
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", url):
        raise CargoLockError(f"{label}: its registry `{url[:100]}` is no URL of http or https")
    return prefix + parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _git_source(url: str, label: str) -> GitSource:
    try:
        parts = urlsplit(url)
        queries = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise CargoLockError(f"{label}: `{url[:100]}` is no URL") from None
    if not _COMMIT.fullmatch(parts.fragment):
        raise CargoLockError(f"{label}: its source names no commit")
    if re.search(r"[\x00-\x20\x7f]", url) or not parts.scheme or len(queries) > 1:
        raise CargoLockError(f"{label}: `{url[:100]}` is no URL of a git repository")
    if any(key not in _REFERENCES for key, _ in queries):
        raise CargoLockError(f"{label}: `{url[:100]}` asks for neither a branch, a tag nor a revision")
    reference = f"{queries[0][0]}={queries[0][1]}" if queries else ""
    return GitSource(url=parts._replace(query="", fragment="").geturl(), commit=parts.fragment, reference=reference)

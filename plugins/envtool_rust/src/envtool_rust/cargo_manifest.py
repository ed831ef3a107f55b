"""What Cargo.toml says about a project: its workspace, and the part of it that decides which versions cargo chooses.
Pure. The format: https://doc.rust-lang.org/cargo/reference/manifest.html"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from envtool.api.toml_reader import read_toml

Read: TypeAlias = Callable[[str], str | None]
Glob: TypeAlias = Callable[[str], list[str]]

FILE = "Cargo.toml"
DEPENDENCIES = ("dependencies", "dev-dependencies", "build-dependencies", "dev_dependencies", "build_dependencies")
MAX_MANIFESTS = 2000  # of one workspace
_PACKAGE_KEYS = ("name", "version", "edition", "rust-version", "resolver", "workspace")
_WORKSPACE_KEYS = ("members", "exclude", "resolver", "dependencies")
_TOP_KEYS = ("cargo-features", *DEPENDENCIES, "target", "features", "patch", "replace")
_NO_VERSION = "0.0.0"


class CargoManifestError(ValueError):
    """A Cargo.toml that cannot be used. `line` and `column` count from 1."""

    def __init__(self, message: str, *, file: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One Cargo.toml; `file` is its path in the project."""

    file: str
    table: Mapping[str, Any]

    @property
    def directory(self) -> str:
        return posixpath.dirname(self.file) or "."

    @property
    def workspace(self) -> Mapping[str, Any] | None:
        """The table `[workspace]`; None if it has none."""
        value = self.table.get("workspace")
        return value if isinstance(value, Mapping) else None

    @property
    def package(self) -> Mapping[str, Any]:
        """The table `[package]`, empty for a virtual manifest."""
        return _mapping(self.table.get("package", self.table.get("project")))

    def dependencies(self) -> Iterator[tuple[str, Any]]:
        """Yields name and declaration of every dependency, of all sorts and targets, patches and replacements."""
        tables = [self.table, *_mapping(self.table.get("target")).values()]
        for table in tables:
            for key in DEPENDENCIES:
                yield from _mapping(_mapping(table).get(key)).items()
        yield from _mapping(_mapping(self.workspace).get("dependencies")).items()
        for patched in _mapping(self.table.get("patch")).values():
            yield from _mapping(patched).items()
        yield from _mapping(self.table.get("replace")).items()


def parse_manifest(text: str, file: str) -> Manifest:
    """Parses the text of a Cargo.toml. Raises CargoManifestError."""
    try:
        table = read_toml(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        position = re.search(r"\(at line (\d{1,9}), column (\d{1,9})\)", str(error))
        line, column = (int(position[1]), int(position[2])) if position else (1, 1)
        message = str(error).partition(" (at ")[0][:200]
        raise CargoManifestError(
            f"{file} is not TOML: {message[:1].lower()}{message[1:]}", file=file, line=line, column=column
        ) from None
    except (ValueError, RecursionError) as error:
        raise CargoManifestError(f"{file} is not TOML: {str(error)[:100]}", file=file) from None
    for key in ("package", "workspace", "target", "patch", "replace", *DEPENDENCIES):
        if key in table and not isinstance(table[key], dict):
            raise CargoManifestError(f"{file}: `{key}` is not a table", file=file)
    return Manifest(file=file, table=table)


def find_root(manifest: Manifest, read: Read) -> Manifest:
    """Returns the manifest of the workspace that a package belongs to: itself, the one that `package.workspace` names,
    or that of the next directory above which has `[workspace]` and does not exclude it. Raises CargoManifestError."""
    if manifest.workspace is not None:
        return manifest
    named = manifest.package.get("workspace")
    if isinstance(named, str):
        file = _inside(posixpath.join(manifest.directory, named, FILE), manifest)
        text = read(file)
        if text is None:
            raise CargoManifestError(f"{manifest.file}: its workspace {file} does not exist", file=manifest.file)
        return parse_manifest(text, file)
    directory = manifest.directory
    while directory not in (".", ""):
        directory = posixpath.dirname(directory) or "."
        file = posixpath.normpath(posixpath.join(directory, FILE))
        text = read(file)
        above = parse_manifest(text, file) if text is not None else None
        if above is not None and above.workspace is not None:
            excluded = {
                posixpath.normpath(posixpath.join(directory, name)) for name in _texts(above.workspace, "exclude")
            }
            inside = any(manifest.directory == name or manifest.directory.startswith(f"{name}/") for name in excluded)
            return manifest if inside else above
    return manifest


def project_manifests(root: Manifest, read: Read, glob: Glob) -> tuple[Manifest, ...]:
    """Returns the manifests that decide what cargo resolves: that of the root, of the workspace's members, and of every
    package that one of them requires by a path; sorted by file. Raises CargoManifestError."""
    manifests = {root.file: root}
    pending = [root]
    excluded = {posixpath.normpath(posixpath.join(root.directory, name)) for name in _texts(root.workspace, "exclude")}
    files: list[tuple[str, Manifest]] = []
    for pattern in _texts(root.workspace, "members"):
        path = _inside(posixpath.join(root.directory, pattern, FILE), root)
        found = glob(path) if re.search(r"[*?\[]", pattern) else [path]
        files += [(file, root) for file in found if posixpath.dirname(file) not in excluded]
    while files or pending:
        for file, origin in files:
            if file in manifests:
                continue
            text = read(file)
            if text is None:
                raise CargoManifestError(
                    f"{origin.file} names {posixpath.dirname(file) or '.'}, where there is no {FILE}", file=origin.file
                )
            manifests[file] = parse_manifest(text, file)
            pending.append(manifests[file])
            if len(manifests) > MAX_MANIFESTS:
                raise CargoManifestError(
                    f"{root.file}: its workspace has more than {MAX_MANIFESTS} packages", file=root.file
                )
        files = [(file, manifest) for manifest in pending for file in _required_paths(manifest)]
        pending = []
    return tuple(manifests[file] for file in sorted(manifests))


def _required_paths(manifest: Manifest) -> list[str]:
    paths = (item["path"] for _, item in manifest.dependencies() if isinstance(item, Mapping) and "path" in item)
    return [
        _inside(posixpath.join(manifest.directory, path, FILE), manifest) for path in paths if isinstance(path, str)
    ]


def _inside(path: str, manifest: Manifest) -> str:
    normal = posixpath.normpath(path)
    if normal.startswith(("/", "../")):
        raise CargoManifestError(
            f"{manifest.file} names {posixpath.dirname(normal)}, which is outside of the project", file=manifest.file
        )
    return normal


def has_dependencies(manifests: tuple[Manifest, ...]) -> bool:
    """Whether one of the packages requires another that no path leads to."""
    return any(
        not (isinstance(item, Mapping) and ("path" in item or item.get("workspace") is True))
        for manifest in manifests
        for _, item in manifest.dependencies()
    )


def reduce_manifests(manifests: tuple[Manifest, ...]) -> dict[str, dict[str, Any]]:
    """Returns file -> the part of each manifest that decides what cargo resolves, with an empty library in place of its
    targets. Versions of the project's own packages are left out unless a dependency by path asks for one: a release of
    the project changes nothing. Raises CargoManifestError."""
    versions_count = any(
        isinstance(item, Mapping) and "path" in item and "version" in item
        for manifest in manifests
        for _, item in manifest.dependencies()
    )
    return {manifest.file: _reduce(manifest, versions_count=versions_count) for manifest in manifests}


def _reduce(manifest: Manifest, *, versions_count: bool) -> dict[str, Any]:
    reduced = {key: manifest.table[key] for key in _TOP_KEYS if key in manifest.table}
    if manifest.package:
        package = {key: manifest.package[key] for key in _PACKAGE_KEYS if key in manifest.package}
        if not isinstance(package.get("name"), str):
            raise CargoManifestError(f"{manifest.file}: its package has no name", file=manifest.file)
        if not versions_count or "version" not in package:
            package["version"] = _NO_VERSION
        reduced["package"] = package
        reduced["lib"] = {"path": "envtool-empty.rs", **_proc_macro(manifest.table)}
    if manifest.workspace is not None:
        workspace = {key: manifest.workspace[key] for key in _WORKSPACE_KEYS if key in manifest.workspace}
        inherited = _mapping(manifest.workspace.get("package"))
        kept = {key: inherited[key] for key in _PACKAGE_KEYS if key in inherited}
        if not versions_count and "version" in kept:
            kept["version"] = _NO_VERSION
        reduced["workspace"] = {**workspace, **({"package": kept} if kept else {})}
    return reduced


def without_rust_version(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a reduced manifest without `rust-version`, that of its package and that which members inherit."""
    reduced = dict(table)
    if "package" in reduced:
        reduced["package"] = {key: value for key, value in reduced["package"].items() if key != "rust-version"}
    workspace = _mapping(reduced.get("workspace"))
    if "package" in workspace:
        inherited = {key: value for key, value in workspace["package"].items() if key != "rust-version"}
        reduced["workspace"] = {**workspace, "package": inherited}
    return reduced


def _proc_macro(table: Mapping[str, Any]) -> dict[str, Any]:
    library = _mapping(table.get("lib"))
    is_macro = library.get("proc-macro", library.get("proc_macro")) is True
    return {"proc-macro": True} if is_macro else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(table: Mapping[str, Any] | None, key: str) -> list[str]:
    value = (table or {}).get(key, [])
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

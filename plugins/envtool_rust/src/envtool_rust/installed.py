"""Which crates a stack has: those of the layers `cargo` and `crate`, by their Cargo.toml."""

from __future__ import annotations

import re

from envtool.api import Package, Tree
from envtool.api.toml_reader import read_toml

# A crate's directory in the layers of this plugin, or of `cargo fetch` and `cargo vendor`: NAME-VERSION.
_PLACE = re.compile(r"/opt/cargo/(?:crates|registry-[0-9a-f]{8}|git)/[^/]+/")


def installed_crates(tree: Tree) -> list[Package]:
    """Returns all crates, sorted by path."""
    paths = [path for path in tree.find("/opt/cargo/*/*/Cargo.toml") if _PLACE.match(path)]
    packages = (parse_crate(path, content) for path, content in tree.read(paths).items())
    return [package for package in packages if package is not None]


def crates_with(tree: Tree, path: str) -> list[Package]:
    """Returns the crate whose directory contains the path."""
    if match := _PLACE.match(path):
        manifest = f"{match[0]}Cargo.toml"
        package = parse_crate(manifest, tree.read([manifest]).get(manifest, b""))
        return [package] if package else []
    return []


def parse_crate(path: str, content: bytes) -> Package | None:
    """Returns the package that a Cargo.toml describes, or None if it names none."""
    try:
        package = read_toml(content.decode()).get("package")
    except ValueError:
        return None
    if not isinstance(package, dict):
        return None
    name, version = package.get("name"), package.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return None
    return Package(
        type="cargo",
        name=name,
        version=version,
        path=path,
        licenses=(license_name,) if isinstance(license_name := package.get("license"), str) and license_name else (),
        summary=_text(package.get("description")),
        homepage=_text(package.get("homepage")) or _text(package.get("repository")),
        archives=(f"{name}-{version}.crate", f"*-{name}-{version}.crate"),
    )


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""

"""Which npm packages a stack has: each package.json in a directory where Node looks for packages."""

from __future__ import annotations

import json
import re
from typing import Any

from envtool.api import Package, Tree

PLACE = re.compile(r".*/node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json")

INSIDE = re.compile(r"(.*/node_modules/(?:@[^/]+/)?[^/@.][^/]*)/")


def installed_packages(tree: Tree) -> list[Package]:
    """Returns all installed packages, sorted by path. A package that is installed twice is in the list twice."""
    paths = [path for path in tree.find("/**/node_modules/**/package.json") if PLACE.fullmatch(path)]
    packages = (parse_package_json(path, content) for path, content in tree.read(paths).items())
    return [package for package in packages if package is not None]


def owners(tree: Tree, path: str) -> list[Package]:
    """Returns the innermost package whose directory contains the path."""
    if match := INSIDE.match(path):
        manifest = f"{match[1]}/package.json"
        package = parse_package_json(manifest, tree.read([manifest]).get(manifest, b""))
        return [package] if package else []
    return []


def parse_package_json(path: str, content: bytes) -> Package | None:
    """Returns the package that a package.json describes, or None if it names none."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return None
    namespace, _, plain = name.rpartition("/")
    return Package(
        type="npm",
        namespace=namespace,
        name=plain,
        version=version,
        path=path,
        full_name=name,
        licenses=_licenses(document),
        summary=_text(document.get("description")),
        homepage=_text(document.get("homepage")),
        archives=(f"{plain}-{version}.tgz", f"{namespace.lstrip('@')}-{plain}-{version}.tgz"),
    )


def _licenses(document: dict[str, Any]) -> tuple[str, ...]:
    """`license` is an SPDX expression; old packages have objects, or a list of them under `licenses`."""
    value = document.get("license") or document.get("licenses")
    values = value if isinstance(value, list) else [value]
    names = [item.get("type") if isinstance(item, dict) else item for item in values]
    return tuple(name for name in names if isinstance(name, str) and name)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

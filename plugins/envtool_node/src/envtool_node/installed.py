"""Which npm packages a stack has: each package.json that lies where Node looks for packages."""

from __future__ import annotations

import json
import re
from typing import Any

from envtool.api import Package, Tree

PLACE = re.compile(r".*/node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json")

INSIDE = re.compile(r"(.*/node_modules/(?:@[^/]+/)?[^/@.][^/]*)/")


def installed_packages(tree: Tree) -> list[Package]:
    """All installed packages, in the order of their paths; a package that is there twice counts twice."""
    paths = [path for path in tree.find("/**/node_modules/**/package.json") if PLACE.fullmatch(path)]
    found = (parse_package_json(path, content) for path, content in tree.read(paths).items())
    return [package for package in found if package is not None]


def owners(tree: Tree, path: str) -> list[Package]:
    """The package in whose directory a path lies: the nearest one."""
    if found := INSIDE.match(path):
        place = f"{found[1]}/package.json"
        said = parse_package_json(place, tree.read([place]).get(place, b""))
        return [said] if said else []
    return []


def parse_package_json(path: str, content: bytes) -> Package | None:
    """What one package.json says; None where it names no package."""
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    name, version = said.get("name"), said.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return None
    namespace, _, plain = name.rpartition("/")
    return Package(
        type="npm",
        namespace=namespace,
        name=plain,
        version=version,
        path=path,
        licenses=_licenses(said),
        summary=_text(said.get("description")),
        homepage=_text(said.get("homepage")),
        archives=(f"{plain}-{version}.tgz", f"{namespace.lstrip('@')}-{plain}-{version}.tgz"),
    )


def _licenses(said: dict[str, Any]) -> tuple[str, ...]:
    """`license` is an SPDX expression; old packages have objects, or a list of them under `licenses`."""
    value = said.get("license") or said.get("licenses")
    values = value if isinstance(value, list) else [value]
    names = [item.get("type") if isinstance(item, dict) else item for item in values]
    return tuple(name for name in names if isinstance(name, str) and name)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

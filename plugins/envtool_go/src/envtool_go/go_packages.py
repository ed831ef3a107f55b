"""Which Go modules a stack has: those in the module cache, by their directories."""

from __future__ import annotations

import re

from envtool.api import Package, Tree

# The cache of the layer `go`, and that of a `go mod download` of root in another layer.
_PLACE = re.compile(r"(?:/opt/go/mod|/root/go/pkg/mod|/go/pkg/mod)/(?!cache/)([^@]+)@(v[^/@]+)/")
_HASHES = re.compile(r"(?:/opt/go/mod|/root/go/pkg/mod|/go/pkg/mod)/cache/download/(.+)/@v/(v[^/]+)\.ziphash")


def cached_modules(tree: Tree) -> list[Package]:
    """Returns all modules of the cache, sorted by path."""
    matches = ((path, _HASHES.fullmatch(path)) for path in tree.find("/**/cache/download/**/@v/*.ziphash"))
    return [_package(match[1], match[2], path) for path, match in matches if match]


def modules_with(tree: Tree, path: str) -> list[Package]:
    """Returns the module in whose directory of the cache a file lies."""
    match = _PLACE.match(path)
    if not match or not tree.find(path):
        return []
    return [_package(match[1], match[2], match[0].rstrip("/"))]


def _package(path: str, version: str, place: str) -> Package:
    full, exact = (re.sub(r"!([a-z])", lambda found: found[1].upper(), text) for text in (path, version))
    namespace, _, name = full.rpartition("/")
    return Package(
        type="golang",
        namespace=namespace,
        name=name,
        version=exact,
        path=place,
        full_name=full,
        archives=(f"{path.replace('/', '+')}@{version}.zip",),
    )

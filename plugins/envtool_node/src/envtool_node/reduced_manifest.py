"""The part of package.json, and of npm's lock file, that decides what is installed. Pure.

The key of a layer has this part alone, and a build sees no other: a new version of the project, or settings of a
linter in its package.json, install nothing anew. Scripts are never part of it: those of the project and of its
workspaces belong to tasks. What the package managers read: https://docs.npmjs.com/cli/configuring-npm/package-json,
https://pnpm.io/package_json, https://classic.yarnpkg.com/docs/package-json, https://yarnpkg.com/configuration/manifest.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from envtool_node.package_json import DEPENDENCIES

Packages: TypeAlias = Mapping[str, Mapping[str, Any]]  # location -> entry, as of `packages` of package-lock.json

KEYS = (
    "name", "private", "workspaces", *DEPENDENCIES, "peerDependenciesMeta", "dependenciesMeta", "bundleDependencies",
    "bundledDependencies", "acceptDependencies", "overrides", "resolutions", "pnpm", "patchedDependencies",
    "allowScripts", "packageManager", "devEngines", "engines", "os", "cpu", "libc", "bin", "directories",
    "publishConfig", "installConfig", "flat", "config", "gypfile", "languageName", "preferUnplugged", "catalog",
    "catalogs",
)  # fmt: skip
_RULES = ("overrides", "resolutions", "pnpm")  # may name a package, and a version of it, at any depth
# What npm notes in its lock file about the project and its workspaces, and reads from package.json
_NOTED = ("version", "license", "funding", "deprecated", "hasInstallScript")
# Dependencies that any version of the package at that place satisfies
_ANY_VERSION = re.compile(r"file:.*|link:.*|portal:.*|workspace:[*^~]?", re.DOTALL)
_ALIAS = re.compile(r"(?:workspace|npm):(@?[^@]+)@")
_REQUIRED = re.compile(r'(?<![\w@/.~-])((?:@[\w.~-]+/)?[\w.~-]+)"?(?:@|: |[ \t])"?(?!"?workspace:)')
_NO_VERSION = "0.0.0"  # pnpm and Yarn do not take a member without a version for the same as one that has one


def reduce_manifests(
    texts: Mapping[str, str], *, manager: str, packages: Packages | None = None, lock: str = ""
) -> dict[str, str]:
    """Returns path -> the text that a build sees of each package.json. `packages` are those of npm's lock file, `lock`
    is the text of Yarn's.

    The version of a package is left out unless something asks for one: another of these manifests, or a package in the
    lock file. A text that is no JSON object stays as it is: the package manager says what is wrong with it.
    """
    documents = {path: _parse(text) for path, text in texts.items()}
    wanted = _wanted_names([document for document in documents.values() if document is not None], packages or {}, lock)
    return {
        path: texts[path] if document is None else _reduce(document, manager, wanted)
        for path, document in documents.items()
    }


def reduce_lock(packages: Packages, root: str, reduced: Mapping[str, str]) -> dict[str, Any]:
    """Returns the `packages` of npm's lock file in `root`, as far as they decide what is installed, beside the
    manifests that `reduce_manifests` returned: the project and its workspaces as these say."""
    result: dict[str, Any] = dict(packages)
    for path, text in reduced.items():
        location = posixpath.relpath(posixpath.dirname(path) or ".", root)
        location = "" if location == "." else location
        document = _parse(text)
        if location in packages and document is not None:
            dropped = _NOTED[1:] if "version" in document else _NOTED
            result[location] = {key: value for key, value in packages[location].items() if key not in dropped}
    return result


def _reduce(document: Mapping[str, Any], manager: str, wanted: frozenset[str]) -> str:
    reduced = {key: document[key] for key in KEYS if key in document}
    if "version" in document:
        if document.get("name") in wanted:
            reduced["version"] = document["version"]
        elif manager != "npm":
            reduced["version"] = _NO_VERSION
    return json.dumps(reduced)


def _wanted_names(documents: list[Mapping[str, Any]], packages: Packages, lock: str) -> frozenset[str]:
    """Returns the names, of the packages of these manifests, whose version decides something. npm and Yarn link a
    member of the workspace also for a package of the registry that requires it, pnpm for other members alone."""
    names = {name for document in documents if isinstance(name := document.get("name"), str) and name}
    asked = {name for document in (*documents, *packages.values()) for name in _asked_names(document)}
    rules = json.dumps([document[key] for document in documents for key in _RULES if key in document])
    asked |= _names_in_yarn_lock(lock)
    return frozenset(name for name in names if name in asked or json.dumps(name)[1:-1] in rules)


def _asked_names(document: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names that a manifest, or an entry of npm's lock file, requires in a certain version."""
    for key in DEPENDENCIES:
        table = document.get(key)
        for name, wanted in table.items() if isinstance(table, dict) else ():
            if isinstance(wanted, str) and _ANY_VERSION.fullmatch(wanted):
                continue
            yield name
            alias = _ALIAS.match(wanted) if isinstance(wanted, str) else None
            if alias is not None:
                yield alias[1]


def _names_in_yarn_lock(lock: str) -> frozenset[str]:
    """Returns the names of which yarn.lock has a range of versions, as in `a@^1.0.0`, `"a@npm:^1.0.0"`, `a: ^1.0.0` or
    `a "^1.0.0"`, and not only `a@workspace:…`. Other words of the file may be among them."""
    return frozenset(_REQUIRED.findall(lock))


def _parse(text: str) -> Mapping[str, Any] | None:
    try:
        document = json.loads(text.removeprefix("\ufeff"))
        json.dumps([[[[[[[[document]]]]]]]])  # what is written is no deeper
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None

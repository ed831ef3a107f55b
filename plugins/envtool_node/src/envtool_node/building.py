"""What runs in the container that builds, without exec (api.Call): nothing is imported there.

`npm ci` finds every tarball in a cache that holds nothing else, by its hash; and a project stripped of its own scripts,
since those are for tasks, which see all of it.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from envtool_node.lockfile import offline_lockfile
from envtool_node.npmrc import sanitize_project_npmrc
from envtool_node.places import WORK

CACHE = f"{WORK}/cache"


def prepare_install(document: dict[str, Any]) -> None:
    """Fill the cache, and rewrite the lock file, package.json files and .npmrc in the view, which nobody keeps.

    `document`: "blobs" (directory), "root" (of the project that is installed), "lock" (path of the lock file, or its
    packages), "files": [{"name", "digest" ("sha512:<hex>"), "identity", "said", "integrity"}], "manifests": [paths],
    "links": [directories].
    """
    os.makedirs(f"{WORK}/home", exist_ok=True)
    for item in document["files"]:
        algorithm, _, digest = item["digest"].partition(":")
        place = f"{CACHE}/_cacache/content-v2/{algorithm}/{digest[:2]}/{digest[2:4]}"
        os.makedirs(place, exist_ok=True)
        target = f"{place}/{digest[4:]}"
        if not os.path.lexists(target):
            shutil.copyfile(f"{document['blobs']}/{item['name']}", target)  # npm 7 takes a link's size for the file's
    packages = document["lock"]
    if isinstance(packages, str):
        packages = _json(packages)["packages"]
    integrities = {(item["identity"], item["said"]): item["integrity"] for item in document["files"]}
    root = document["root"]
    for name in ("npm-shrinkwrap.json", "package-lock.json"):
        _remove(f"{root}/{name}")
    _write(f"{root}/package-lock.json", json.dumps(offline_lockfile(packages, integrities)))
    for path in document["manifests"]:
        manifest = _json(path)
        if manifest.pop("scripts", None) is not None:
            _write(path, json.dumps(manifest))
        if os.path.dirname(path) in document["links"]:
            _bins(os.path.dirname(path), manifest)
    if os.path.exists(f"{root}/.npmrc"):
        with open(f"{root}/.npmrc", encoding="utf-8", errors="replace") as file:
            text = sanitize_project_npmrc(file.read())
        _write(f"{root}/.npmrc", text)


def open_node_modules(trees: list[str]) -> None:
    """Tools keep caches in node_modules: whoever runs them may add to it."""
    for path in trees:
        os.chmod(path, 0o1777)


def _bins(directory: str, manifest: dict[str, Any]) -> None:
    """The commands of a linked package, empty: npm links those that it sees, and a build does not see sources."""
    bins = manifest.get("bin") or {}
    for path in [bins] if isinstance(bins, str) else bins.values():
        place = os.path.normpath(os.path.join(directory, str(path)))
        if place.startswith(directory + "/") and not os.path.lexists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            _write(place, "")


def _json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.loads(file.read().removeprefix("\ufeff"))


def _write(path: str, text: str) -> None:
    _remove(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)

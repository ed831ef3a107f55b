"""The steps of a build that run in the container without exec (api.Call): they cannot import anything there.

`npm ci` gets a cache that holds exactly the pinned tarballs, by hash, and a project without its own scripts: those
belong to tasks, which see the whole project.
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
    """Fills npm's cache, and rewrites the lock file, package.json files and .npmrc in the container's view of the
    project, which is thrown away.

    `document`: "blobs" (directory), "root" (of the project that is installed), "lock" (path of the lock file, or its
    packages), "files": [{"name", "digest" ("sha512:<hex>"), "identity", "said", "integrity"}], "manifests": [paths],
    "reduced": {path: text} (of package.json files that are not there), "links": [directories].
    """
    os.makedirs(f"{WORK}/home", exist_ok=True)
    for item in document["files"]:
        algorithm, _, digest = item["digest"].partition(":")
        directory = f"{CACHE}/_cacache/content-v2/{algorithm}/{digest[:2]}/{digest[2:4]}"
        os.makedirs(directory, exist_ok=True)
        target = f"{directory}/{digest[4:]}"
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
    write_manifests(document["reduced"])
    for path in document["manifests"]:
        drop_scripts(path, create_commands=os.path.dirname(path) in document["links"])
    if os.path.exists(f"{root}/.npmrc"):
        with open(f"{root}/.npmrc", encoding="utf-8", errors="replace") as file:
            text = sanitize_project_npmrc(file.read())
        _write(f"{root}/.npmrc", text)


def write_manifests(texts: dict[str, str]) -> None:
    """Writes the package.json files of which a build gets the part that decides; `texts`: path -> text."""
    for path, text in texts.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, text)


def drop_scripts(path: str, *, create_commands: bool) -> None:
    """Removes the scripts from a package.json: they belong to tasks. With `create_commands`, the package is linked."""
    manifest = _json(path)
    if manifest.pop("scripts", None) is not None:
        _write(path, json.dumps(manifest))
    if create_commands:
        _create_commands(os.path.dirname(path), manifest)


def open_node_modules(trees: list[str]) -> None:
    """Makes node_modules directories writable for all users: tools keep caches there."""
    for path in trees:
        os.chmod(path, 0o1777)


def _create_commands(directory: str, manifest: dict[str, Any]) -> None:
    """Creates empty files for the commands of a linked package: npm links only existing files, and a build does not see
    the sources."""
    bins = manifest.get("bin") or {}
    for path in [bins] if isinstance(bins, str) else bins.values():
        command_path = os.path.normpath(os.path.join(directory, str(path)))
        if command_path.startswith(directory + "/") and not os.path.lexists(command_path):
            os.makedirs(os.path.dirname(command_path), exist_ok=True)
            _write(command_path, "")


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


def link_npm(top: str) -> None:
    """Links npm's commands beside Node.js, whose directory is `top`."""
    for name in ("npm", "npx"):
        script = f"lib/node_modules/npm/bin/{name}-cli.js"
        os.chmod(f"{top}/{script}", 0o755)
        os.symlink(f"../{script}", f"{top}/bin/{name}")

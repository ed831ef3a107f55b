"""Names that npm knows, paths in the project and in containers, the settings that keep npm quiet there, and what the
options and pins of all kinds have: node, directory, files, trees."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envtool import api

NPM = "npm"  # the package
NAMES = ("npm-shrinkwrap.json", "package-lock.json")  # of lock files; npm reads the first that exists
LOCKFILES = {"pnpm": "pnpm-lock.yaml", "yarn": "yarn.lock"}
MANIFEST = "package.json"
OMIT = ("dev", "optional", "peer")  # sorts of dependencies that npm can leave out
REGISTRY = "https://registry.invalid/"  # replaces every registry in the lock file of a build
TOP = "/opt/npm"  # the layer's directory of node_modules, which is mounted at its own path in the project
WORK = "/tmp/envtool-npm"
QUIET = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_globalconfig": f"{WORK}/none",
    "npm_config_userconfig": f"{WORK}/npmrc",
    "npm_config_cache": f"{WORK}/cache",
    "npm_config_loglevel": "error",
}


def join(*parts: str) -> str:
    """Returns a normalised path in the project."""
    return posixpath.normpath(posixpath.join(*parts))


def manifest_inputs(paths: Iterable[str]) -> Iterator[api.Input]:
    """Yields the inputs for required files, given relative to the spec. Of a package.json that is named exactly, the
    key has what `reduced_manifest` leaves of its text; what a glob matches is an input with all that is in it."""
    for path in paths:
        if _is_exact(path) and posixpath.basename(path) == MANIFEST:
            yield api.Input(join(path), use="resolve")
            yield api.Input(join(path), use="text", required=False)
        else:
            yield api.Input(path)


def lock_inputs(path: str, *, required: bool) -> Iterator[api.Input]:
    """Yields the inputs for npm's lock file, of which the key has what `reduced_manifest` leaves of its text."""
    if _is_exact(path):
        yield api.Input(path, use="resolve", required=required)
        yield api.Input(path, use="text", required=False)
    else:
        yield api.Input(path, required=required)


def manifest_texts(request: api.Request) -> dict[str, str]:
    """Returns path in the project -> text, of each package.json that `manifest_inputs` does not give to the build."""
    texts = project_texts(request)
    return {path: text for path, text in texts.items() if posixpath.basename(path) == MANIFEST}


def project_texts(request: api.Request) -> Mapping[str, str]:
    """Returns path in the project -> text."""
    return {join(request.directory, path): text for path, text in request.texts.items()}


def options_of(request: api.Request) -> dict[str, Any]:
    """Returns the options of a layer; {} for none."""
    return request.options if isinstance(request.options, dict) else {}


def directory_of(options: Mapping[str, Any]) -> str:
    """Returns the directory of package.json, relative to the spec."""
    return str(options.get("directory") or posixpath.dirname(options.get("lockfile", "")) or ".")


def root_of(request: api.Request) -> str:
    """Returns the directory of package.json in the project."""
    return join(request.directory, directory_of(options_of(request)))


def node_of(request: api.Request) -> str:
    """Returns the command that starts Node.js in the env."""
    return str(options_of(request).get("node", "node"))


def files_of(pins: api.Json) -> list[dict[str, Any]]:
    """Returns the pinned tarballs."""
    assert isinstance(pins, dict)
    return pins["files"]  # type: ignore[return-value]


def module_parents(request: api.Request, pins: api.Json) -> list[str]:
    """Returns the directories in the project that get a node_modules."""
    assert isinstance(pins, dict)
    return [join(root_of(request), str(top)) for top in pins["trees"]]  # type: ignore[union-attr]


def _is_exact(path: str) -> bool:
    """Whether a path is one file's, at that path or below the directory of the spec."""
    return not re.search(r"[*?\[]", path) and not join(path).startswith(("/", ".."))

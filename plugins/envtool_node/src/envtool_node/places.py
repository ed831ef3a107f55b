"""Names that npm knows, paths in the project and in containers, and the settings that keep npm quiet there."""

from __future__ import annotations

import posixpath

NPM = "npm"  # the package
NAMES = ("npm-shrinkwrap.json", "package-lock.json")  # of lock files; npm reads the first that exists
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

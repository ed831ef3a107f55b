"""The steps of a build by pnpm or Yarn that run in the container without exec (api.Call): they cannot import anything
there.

The package manager runs as it always does, but its registry is a server on the loopback of the build, which has no
other network and serves exactly the pinned tarballs. What these steps rewrite is the container's view of the project,
which is thrown away.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any

import yaml

from envtool_node import pnpm_lock, yarn_lock
from envtool_node.building import drop_scripts, open_node_modules, write_manifests
from envtool_node.locked_sources import SERVER_PORT, has_aliases
from envtool_node.npmrc import sanitize_project_npmrc
from envtool_node.places import WORK

SERVED = f"{WORK}/served.json"
# Settings of .yarnrc.yml that name hosts, credentials or places of one machine, or another Yarn
_FORBIDDEN = re.compile(
    r"(?i)(npm(Registry|Registries|Scopes|Auth|AlwaysAuth|Publish|Audit).*|http.*|network.*|unsafe.*|yarnPath|ignorePath"
    r"|cacheFolder|globalFolder|installStatePath|deferredVersionFolder|virtualFolder|pnp.*|nodeLinker|enable(Global|Mirror"
    r"|Network|Telemetry|Hardened|OfflineMode|Strict).*|injectEnvironmentFiles|init.*|telemetry.*|cafile.*|caFilePath"
    r"|checksumBehavior|cacheMigrationMode|lockfileFilename|rcFilename)"
)
SERVER_SCRIPT = f"""\
const fs = require("fs"), http = require("http");
const served = new Map(Object.entries(JSON.parse(fs.readFileSync("{SERVED}", "utf8"))));
http.createServer((request, response) => {{
  let path = request.url.split("?")[0];
  try {{ path = decodeURIComponent(path); }} catch (error) {{ /* as it is */ }}
  const file = served.get(path);
  if (file === undefined) {{
    fs.appendFileSync("{WORK}/refused", path + "\\n");
    response.writeHead(404, {{ "content-type": "application/json" }});
    response.end('{{"error": "not pinned"}}');
    return;
  }}
  response.writeHead(200, {{ "content-type": "application/octet-stream", "content-length": fs.statSync(file).size }});
  fs.createReadStream(file).pipe(response);
}}).listen({SERVER_PORT}, "127.0.0.1", () => fs.writeFileSync("{WORK}/listening", ""));
"""


def prepare_manager(document: dict[str, Any]) -> None:
    """Writes the server and what it serves, the command of the package manager, and the settings of the project.

    `document`: "blobs" (directory), "root" (of the project that is installed), "lock" (path of the lock file),
    "files": [{"file", "path"}], "manifests": [paths], "reduced": {path: text} (of package.json files that are not
    there), "links": [directories], "manager" (name), "top" (its directory), "node" (the command).
    """
    os.makedirs(f"{WORK}/home", exist_ok=True)
    served = {f"/{item['path']}": f"{document['blobs']}/{item['file']}" for item in document["files"] if item["path"]}
    _write(SERVED, json.dumps(served))
    _write(f"{WORK}/serve.js", SERVER_SCRIPT)
    _write_command(document["top"], document["manager"], document["node"])
    lock = document["lock"]
    text = _read(lock)
    offline = (pnpm_lock if document["manager"] == "pnpm" else yarn_lock).offline_lock(text)
    if offline != text:
        _write(lock, offline)
    write_manifests(document["reduced"])
    for path in document["manifests"]:
        drop_scripts(path, create_commands=os.path.dirname(path) in document["links"])
    root = document["root"]
    if os.path.exists(f"{root}/.npmrc"):
        _write(f"{root}/.npmrc", sanitize_project_npmrc(_read(f"{root}/.npmrc")))
    if os.path.exists(f"{root}/.yarnrc.yml"):
        _write(f"{root}/.yarnrc.yml", json.dumps(offline_settings(_read(f"{root}/.yarnrc.yml"))))


def offline_settings(text: str) -> dict[str, Any]:
    """Returns the settings of a .yarnrc.yml that decide what is installed. Raises ValueError."""
    try:
        settings = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f".yarnrc.yml is not YAML: {error}") from None
    if not isinstance(settings, dict):
        return {}
    if has_aliases(settings):
        raise ValueError(".yarnrc.yml has an alias (`*name`), which is not read here")
    return {
        key: value
        for key, value in settings.items()
        if not _FORBIDDEN.fullmatch(str(key)) and "${" not in json.dumps(value)
    }


def finish_manager(trees: list[str]) -> None:
    """Removes times from what pnpm notes about an installation, and opens node_modules to all users."""
    for tree in trees:
        for name in (".pnpm-workspace-state.json", ".pnpm-workspace-state-v1.json"):
            if os.path.lexists(f"{tree}/{name}"):
                os.unlink(f"{tree}/{name}")
        notes = f"{tree}/.modules.yaml"
        if os.path.isfile(notes) and not os.path.islink(notes):
            text = _read(notes)
            _write(
                notes, re.sub(r"(?m)(prunedAt\"?: *\"?)[^\"\n]*?(\"?,?)$", r"\1Thu, 01 Jan 1970 00:00:00 GMT\2", text)
            )
    open_node_modules([tree for tree in trees if os.path.isdir(tree)])


def _write_command(top: str, name: str, node: str) -> None:
    """Writes `bin/pnpm` or `bin/yarn`, which run the file that the package's own package.json names as its command."""
    bins = json.loads(_read(f"{top}/package/package.json")).get("bin") or {}
    script = bins if isinstance(bins, str) else bins.get(name)
    path = os.path.normpath(f"{top}/package/{script}")
    if not isinstance(script, str) or not path.startswith(f"{top}/package/") or not os.path.isfile(path):
        raise ValueError(f"the package of {name} has no such command")
    os.makedirs(f"{top}/bin", exist_ok=True)
    command = f"{top}/bin/{name}"
    _write(command, f'#!/bin/sh\nexec {node} {path} "$@"\n')
    os.chmod(command, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.write(text)

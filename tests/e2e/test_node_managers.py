"""pnpm and Yarn for real: packages of the registry, install scripts, workspaces, and a build without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("envtool_node")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.skipif(
        not all(shutil.which(name, path="/usr/bin:/bin") for name in ("node", "npm")),
        reason="this machine's system has no node and npm",
    ),
]
LOCKS = Path(__file__).parent / "node_locks"
OUTSIDE = ("SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "npm_config_registry")
ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
TEST = """\
const assert = require("node:assert"), test = require("node:test");
test("a package, and another version below a workspace", () => {
  assert.equal(require("is-number/package.json").version, "7.0.0");
  assert.equal(require("words").version, "6.0.0");
});
test("the package manager is the locked one", () => assert.ok(process.env.npm_config_user_agent.startsWith("MANAGER ")));
"""
MANIFEST = {
    "name": "page",
    "version": "1.0.0",
    "private": True,
    "workspaces": ["packages/*"],
    "scripts": {"test": "node --test test/", "postinstall": "exit 9"},
    "dependencies": {"is-number": "7.0.0", "words": "WORKSPACE"},
}
WORDS = {"name": "words", "version": "1.0.0", "main": "words.js", "dependencies": {"is-number": "6.0.0"}}
CASES = {  # name -> lock file, notation of a workspace, packageManager, command
    "pnpm": ("pnpm-lock.yaml", "workspace:*", "pnpm@9.15.9", "pnpm test && pnpm pack"),
    "classic": ("yarn.lock", "1.0.0", "yarn@1.22.22", "yarn test && yarn pack --filename page-1.0.0.tgz"),
    "berry": ("yarn.lock", "workspace:*", "yarn@4.5.3", "yarn test && npm pack --ignore-scripts"),
}


@pytest.fixture(params=CASES)
def locked(request, fresh):
    """A project with a workspace, locked by one of the package managers."""
    fresh.environ |= {name: os.environ[name] for name in OUTSIDE if name in os.environ}
    lock, workspace, manager, command = CASES[request.param]
    manifest = json.dumps({**MANIFEST, "packageManager": manager}).replace("WORKSPACE", workspace)
    fresh.spec(f'envs:\n  web: {{language: node, tasks: {{test: {{run: "{command}", outputs: ["*.tgz"]}}}}}}\n')
    fresh.write("package.json", manifest)
    fresh.write("packages/words/package.json", json.dumps(WORDS))
    fresh.write("packages/words/words.js", 'module.exports = require("is-number/package.json");\n')
    fresh.write("test/all.test.js", TEST.replace("MANAGER", manager.replace("@", "/")))
    registry = subprocess.run(["/usr/bin/npm", "config", "get", "registry"], capture_output=True, text=True, check=True)
    text = (LOCKS / f"{request.param}.lock").read_text()  # the project has no name of a registry: this machine's own
    fresh.write(lock, text.replace("https://registry.invalid/", registry.stdout.strip().rstrip("/") + "/"))
    if request.param == "pnpm":
        fresh.write("pnpm-workspace.yaml", "packages: [packages/*]\n")
    return fresh


@ONE
@pytest.mark.dear
@pytest.mark.sampled(1)
def test_a_project_is_installed_by_its_own_package_manager_offline(locked):
    """Its tests run, it is packed, the second run builds nothing, and a stale lock file is refused."""
    first = locked.envtool("test")
    assert first.status == 0, first.said
    assert (locked.project / "page-1.0.0.tgz").is_file()
    assert locked.envtool("lock").status == 0
    assert "://" not in (locked.project / "envtool.lock").read_text(), "a pin names a host"
    manifest = json.loads((locked.project / "package.json").read_text())
    locked.write("package.json", json.dumps({**manifest, "version": "1.0.1", "eslintConfig": {"rules": {}}}))
    again = locked.envtool("test", "--locked", "--expect-cached")
    assert again.status == 0, again.said
    manifest["dependencies"]["isarray"] = "2.0.5"
    locked.write("package.json", json.dumps(manifest))
    stale = locked.envtool("test")
    assert stale.status == 3, stale.said

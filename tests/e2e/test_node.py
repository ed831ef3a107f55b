"""`language: node` for real: npm of this machine's system, files of the registry, every sort of caller."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("envtool_node")


def _usable() -> str:
    """Why this machine's own Node.js cannot be used on the base `host`; empty when it can."""
    for name in ("node", "npm"):
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            return f"this machine's system has no {name}"
    version = subprocess.run(["/usr/bin/node", "--version"], capture_output=True, text=True, check=False).stdout
    return "" if int(version.strip("v\n").partition(".")[0] or 0) >= 18 else f"node {version} has no test runner"


pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.skipif(bool(_usable()), reason=_usable() or "-")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"
SPEC = 'envs:\n  web: {language: node, tasks: {test: "npm test"}}\n'
OUTSIDE = ("SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "npm_config_registry")
ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
SAME: set[str] = set()  # diff IDs of one lock file, whoever builds it

# Beside the example: a command of a package and of a workspace, npx, an alias, two versions of one package, CommonJS from
# below a directory, and a cache that a tool keeps in node_modules.
TEST = """\
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";
import semver from "semver";

const run = (...words) => execFileSync(words[0], words.slice(1), { encoding: "utf8" }).trim();
const require = createRequire(import.meta.url);

test("commands", () => {
  assert.equal(run("semver", "1.2.3", "-r", ">=1"), "1.2.3");
  assert.equal(run("npx", "--no-install", "semver", "2.0.0"), "2.0.0");
  assert.equal(run("words-tool"), "words");
  assert.match(run("esbuild", "--version"), /^0\\.21\\./);
});
test("modules", () => {
  assert.ok(semver.valid("1.2.3"));
  assert.equal(require("old-number/package.json").version, "6.0.0");
  assert.equal(require("is-number/package.json").version, "7.0.0");
  assert.equal(require("words/number").version, "5.0.0");
  assert.equal(run("node", "-p", "require('is-number')(3)"), "true");
});
test("what npm says of itself", () => run("npm", "ls", "--all"));
test("caches", () => {
  mkdirSync("node_modules/.cache");
  writeFileSync("node_modules/.cache/x", "1");
});
test("install scripts ran", () => assert.ok(!readFileSync("node_modules/esbuild/bin/esbuild").subarray(0, 2).equals(Buffer.from("#!"))));
"""
MANIFEST = {
    "name": "page",
    "version": "1.0.0",
    "type": "module",
    "workspaces": ["packages/*"],
    "scripts": {"test": "node --test test/", "prepare": "exit 9"},
    "dependencies": {"is-number": "7.0.0", "old-number": "npm:is-number@6.0.0", "semver": "7.6.3", "words": "^1.0.0"},
    "devDependencies": {"esbuild": "0.21.5"},
}
WORDS = {
    "name": "words",
    "version": "1.0.0",
    "bin": {"words-tool": "tool.js"},
    "dependencies": {"is-number": "5.0.0"},
}


@pytest.fixture
def project(fresh):
    """A project of the caller's with all of that, on an empty store."""
    fresh.environ |= {name: os.environ[name] for name in OUTSIDE if name in os.environ}
    fresh.spec(SPEC)
    fresh.write("package.json", json.dumps(MANIFEST))
    fresh.write("packages/words/package.json", json.dumps(WORDS))
    fresh.write("packages/words/tool.js", '#!/usr/bin/env node\nconsole.log("words");\n', mode=0o755)
    fresh.write("packages/words/number.js", 'module.exports = require("is-number/package.json");\n')
    fresh.write("test/all.test.js", TEST)
    return fresh


def diff_ids(place) -> set[str]:
    return {about["diff_id"] for about in place.layers() if about["document"]["kind"] == "layer:npm"}


@ONE
def test_a_project_without_a_lock_file_then_locked(project):
    """npm settles it; what it settled is locked; the lock builds the same in another store, without asking npm."""
    first = project.envtool("test")
    assert first.status == 0, first.said
    again = project.envtool("test")
    assert again.status == 0, again.said
    assert "built" not in again.said
    assert project.envtool("lock").status == 0
    locked = (project.project / "envtool.lock").read_text()
    assert '"semver"' in locked
    assert "://" not in locked, "a pin names a host"
    (before,) = diff_ids(project)
    project.store = project.top / "other"
    moved = project.project.rename(project.top / "elsewhere")
    project.project = moved
    other = project.envtool("test", "--locked")
    assert other.status == 0, other.said
    assert diff_ids(project) == {before}


def test_one_lock_file_is_the_same_layer_for_everybody(project):
    """As root, with a range of ids, with a single id: each in a store and at a path of its own."""
    for name in ("package.json", "package-lock.json", "packages/words/package.json", "packages/words/words.js"):
        project.write(name, (EXAMPLE / name).read_text())
    project.write("src/page.js", (EXAMPLE / "src/page.js").read_text())
    (project.project / "test/all.test.js").unlink()
    project.write("test/page.test.js", (EXAMPLE / "test/page.test.js").read_text())
    done = project.envtool("test")
    assert done.status == 0, done.said
    assert len(diff_ids(project)) == 1
    SAME.update(diff_ids(project))
    assert len(SAME) == 1


@ONE
def test_what_cannot_be_installed_is_said_with_its_place(project):
    git = {**MANIFEST, "dependencies": {"forked": "git+ssh://git@h.invalid/o/forked.git"}}
    entry = {"version": "1.0.0", "resolved": "git+ssh://git@h.invalid/o/forked.git#0123"}
    project.write("package.json", json.dumps(git))
    project.write(
        "package-lock.json", json.dumps({"lockfileVersion": 3, "packages": {"": git, "node_modules/forked": entry}})
    )
    refused = project.envtool("test")
    assert refused.status == 3
    assert "forked comes from a git repository, which has no hash" in refused.err
    project.write("package-lock.json", json.dumps({"lockfileVersion": 3, "packages": {"": {"name": "page"}}}))
    project.write("package.json", json.dumps(MANIFEST))
    stale = project.envtool("test")
    assert stale.status == 3
    assert "is not pinned: package.json and its lock file do not agree" in stale.said
    (project.project / "package-lock.json").unlink()
    project.write("yarn.lock", "")
    other = project.envtool("test")
    assert other.status == 2
    assert "yarn.lock is of yarn, which is not supported" in other.err

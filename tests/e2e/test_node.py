"""`language: node` for real: npm of this machine's system, files of the registry, every sort of caller."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
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
    project.write("package.json", json.dumps({**MANIFEST, "version": "1.1.0", "jest": {"verbose": True}}))
    bumped = project.envtool("test")
    assert bumped.status == 0, bumped.said
    assert "built" not in bumped.said, "a new version of the project installs nothing anew"
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
    project.write("bun.lock", "")
    other = project.envtool("test")
    assert other.status == 2
    assert "bun.lock is of bun, which is not supported" in other.err


class Registry(http.server.BaseHTTPRequestHandler):
    """A private registry of one package: who has no token is refused."""

    def do_GET(self) -> None:
        tarball = self.path.endswith(".tgz")
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer s3cret-t0ken":
            self.send_error(401)
            return
        url = f"http://127.0.0.1:{self.server.server_port}/npm/@corp/secret/-/secret-1.0.0.tgz"
        dist = {"tarball": url, "integrity": self.server.integrity}
        version = {"name": "@corp/secret", "version": "1.0.0", "dist": dist}
        document = {"name": "@corp/secret", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        body = self.server.tarball if tarball else json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        """Silent."""


@pytest.fixture
def registry():
    """It serves @corp/secret 1.0.0 to who knows the token."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in (
            ("package.json", '{"name": "@corp/secret", "version": "1.0.0"}'),
            ("index.js", "module.exports = 42"),
        ):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    made.daemon_threads = True
    made.tarball = held.getvalue()
    made.integrity = "sha512-" + base64.b64encode(hashlib.sha512(made.tarball).digest()).decode()
    made.asked = []
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@ONE
def test_a_private_registry_of_this_machines_npmrc(fresh, registry):
    """npm settles it there with the token, the fetch takes it along; and another machine's registry has the same file."""
    npmrc = f"@corp:registry=http://127.0.0.1:{registry.server_port}/npm/\n//127.0.0.1:{registry.server_port}/npm/:_authToken=${{NPM_TOKEN}}\n"
    fresh.write(".npmrc", npmrc, at=fresh.top, mode=0o600)
    fresh.environ["NPM_TOKEN"] = "s3cret-t0ken"
    fresh.spec(
        "envs:\n  web: {language: node, tasks: {test: \"node -e 'process.exit(require(`@corp/secret`) - 42)'\"}}\n"
    )
    fresh.write("package.json", json.dumps({"name": "x", "dependencies": {"@corp/secret": "^1.0.0"}}))
    first = fresh.envtool("test")
    assert first.status == 0, first.said
    assert fresh.envtool("lock").status == 0
    lock = (fresh.project / "envtool.lock").read_text()
    assert '"@corp/secret/-/secret-1.0.0.tgz"' in lock
    assert "127.0.0.1" not in lock
    for kept in [path for path in fresh.store.rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]:
        assert b"s3cret-t0ken" not in kept.read_bytes(), f"the token is kept in {kept}"
    fresh.store = fresh.top / "other"
    registry.asked.clear()
    other = fresh.envtool("test", "--locked")
    assert other.status == 0, other.said
    assert registry.asked == [("/npm/@corp/secret/-/secret-1.0.0.tgz", "Bearer s3cret-t0ken")]
    fresh.store = fresh.top / "third"
    fresh.environ["NPM_TOKEN"] = "wrong-t0ken"
    without = fresh.envtool("test", "--locked")
    assert without.status == 3
    assert "HTTP 401" in without.err
    assert "t0ken" not in without.said

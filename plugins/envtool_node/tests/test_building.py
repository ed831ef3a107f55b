"""What is done to the view of a project before `npm ci`, in a directory in place of a container."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
from envtool_node import building

BODY = b"tarball"
SHA512 = hashlib.sha512(BODY).hexdigest()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with a workspace, in `root`; blobs beside it."""
    monkeypatch.setattr(building, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(building, "CACHE", str(tmp_path / "work/cache"))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/pad-1.tgz").write_bytes(BODY)
    root = tmp_path / "root"
    (root / "packages/a").mkdir(parents=True)
    manifest = {"name": "x", "scripts": {"postinstall": "exit 1"}, "dependencies": {"pad": "1"}}
    (root / "package.json").write_text("\ufeff" + json.dumps(manifest))
    (root / "packages/a/package.json").write_text('{"name": "a", "bin": {"a": "bin/a.js", "out": "../../../out"}}')
    (root / "npm-shrinkwrap.json").write_text(json.dumps({"lockfileVersion": 2, "packages": {
        "": {"name": "x"},
        "node_modules/pad": {"version": "1.0.0", "resolved": "https://h.invalid/pad/-/pad-1.0.0.tgz"},
    }}))  # fmt: skip
    (root / ".npmrc").write_text("omit=dev\n//h.invalid/:_authToken=s3cret\n")
    return root


def document(root, **more):
    item = {
        "name": "pad-1.tgz",
        "digest": f"sha512:{SHA512}",
        "identity": "pad/-/pad-1.0.0.tgz",
        "said": "",
        "integrity": "sha512-x",
    }
    return {
        "blobs": str(root.parent / "blobs"),
        "root": str(root),
        "lock": str(root / "npm-shrinkwrap.json"),
        "files": [item, item],
        "manifests": [str(root / "package.json"), str(root / "packages/a/package.json")],
        "reduced": {},
        "links": [str(root / "packages/a")],
        **more,
    }


def test_the_cache_holds_each_tarball_by_its_hash(root):
    building.prepare_install(document(root))
    place = root.parent / "work/cache/_cacache/content-v2/sha512" / SHA512[:2] / SHA512[2:4] / SHA512[4:]
    assert place.read_bytes() == BODY
    assert not place.is_symlink(), "npm 7 takes a link's size for the file's"


def test_the_lock_is_rewritten_and_the_projects_own_scripts_go(root):
    building.prepare_install(document(root))
    assert not (root / "npm-shrinkwrap.json").exists()
    lock = json.loads((root / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/pad"] == {
        "version": "1.0.0",
        "resolved": "https://registry.invalid/pad/-/pad-1.0.0.tgz",
        "integrity": "sha512-x",
    }
    assert json.loads((root / "package.json").read_text()) == {"name": "x", "dependencies": {"pad": "1"}}
    assert (root / ".npmrc").read_text() == "omit=dev\n"


def test_commands_of_workspaces_are_there_to_be_linked(root):
    building.prepare_install(document(root))
    assert (root / "packages/a/bin/a.js").read_bytes() == b""
    assert not (root.parent / "out").exists()


def test_a_lock_of_the_pins_needs_no_file(root):
    (root / "npm-shrinkwrap.json").unlink()
    (root / ".npmrc").unlink()
    building.prepare_install(document(root, lock={"": {}, "node_modules/pad": {"version": "1.0.0"}}))
    assert "integrity" in json.loads((root / "package-lock.json").read_text())["packages"]["node_modules/pad"]


def test_tools_may_keep_caches_beside_packages(tmp_path):
    (tmp_path / "node_modules").mkdir()
    building.open_node_modules([str(tmp_path / "node_modules")])
    assert stat.S_IMODE((tmp_path / "node_modules").stat().st_mode) == 0o1777

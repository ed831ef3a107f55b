"""Links in place of what containers of ours see inside the project."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from envtool.images import project_links
from envtool.testing import FakeRunner

SOURCE, PLACE = "/opt/npm/node_modules", "/project/node_modules"
RUNNER = FakeRunner()


def laid_out(names, outward):
    names = ["opt", "opt/npm", "opt/npm/node_modules", *(f"opt/npm/node_modules/{name}" for name in names)]
    return project_links._lay_out_links(SOURCE, PLACE, names, outward)


def test_one_link_does_where_nothing_leads_out():
    assert laid_out(["a", "a/index.js"], {}) == {"": SOURCE}


def test_workspaces_lead_to_where_they_are_in_the_project():
    names = ["a", "a/index.js", "words", "@x", "@x/one", "@x/two", "@x/two/y", ".bin", ".bin/z"]
    assert laid_out(names, {"words": "../packages/words", "@x/one": "../../packages/one"}) == {
        "/a": f"{SOURCE}/a",
        "/words": "/project/packages/words",
        "/@x/one": "/project/packages/one",
        "/@x/two": f"{SOURCE}/@x/two",
        "/.bin": f"{SOURCE}/.bin",
    }


def test_links_that_lead_out_are_found(tmp_path, monkeypatch):
    top = tmp_path / "opt" / "n"
    (top / "@x").mkdir(parents=True)
    (top / "a").mkdir()
    (top / ".bin").mkdir()
    for path, target in (
        ("words", "../packages/words"),
        ("@x/one", "../../packages/one"),
        (".bin/a", "../a/cli.js"),
        ("b", "a"),
        ("far", "/usr/lib"),
    ):
        (top / path).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    assert project_links._scan_outward_links("opt/n") == {"words": "../packages/words", "@x/one": "../../packages/one"}


@pytest.fixture
def made(tmp_path):
    """A made layer whose directory is seen in the project at a place."""

    def make(place, links=()):
        top = tmp_path / place.replace("/", "-")
        (top / "tree" / "opt" / "npm" / "node_modules" / "a").mkdir(parents=True)
        for path, target in dict(links).items():
            (top / "tree" / "opt" / "npm" / "node_modules" / path).symlink_to(target)
        found = [os.path.relpath(path, top / "tree") for path in sorted((top / "tree").rglob("*"))]
        (top / "manifest").write_bytes(b"".join(b"d 755 0 0 - %s\0" % path.encode() for path in found))
        kind = SimpleNamespace(in_project=lambda request, pins: {place: SOURCE}, generated=lambda request, pins: {})
        resolved = SimpleNamespace(node=SimpleNamespace(kind=kind), request=None, pins=None)
        return SimpleNamespace(
            resolved=resolved,
            layer=SimpleNamespace(tree=str(top / "tree"), manifest=str(top / "manifest"), key="x", listed=""),
        )

    return make


def test_at_its_place_and_beside_the_project(made):
    nothing = lambda path: False  # noqa: E731
    assert project_links.find_links([made("node_modules")], nothing, RUNNER) == {PLACE: SOURCE, "/node_modules": SOURCE}
    assert project_links.find_links([made("web/node_modules")], nothing, RUNNER) == {
        "/project/web/node_modules": SOURCE
    }
    there = lambda path: path == "node_modules"  # noqa: E731
    assert project_links.find_links([made("./node_modules")], there, RUNNER) == {PLACE: SOURCE}


def test_both_lead_to_the_workspaces_of_the_project(made):
    found = project_links.find_links([made("node_modules", {"words": "../packages/words"})], lambda path: False, RUNNER)
    assert found == {
        f"{PLACE}/a": f"{SOURCE}/a",
        f"{PLACE}/words": "/project/packages/words",
        "/node_modules/a": f"{SOURCE}/a",
        "/node_modules/words": "/project/packages/words",
    }

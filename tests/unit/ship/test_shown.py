"""Links in place of what containers of ours see inside the project."""

from __future__ import annotations

from envtool.ship import shown

SOURCE, PLACE = "/opt/npm/node_modules", "/project/node_modules"


def laid_out(names, outward):
    names = ["opt", "opt/npm", "opt/npm/node_modules", *(f"opt/npm/node_modules/{name}" for name in names)]
    return shown._laid_out(SOURCE, PLACE, names, outward)


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
    assert shown._find("opt/n") == {"words": "../packages/words", "@x/one": "../../packages/one"}

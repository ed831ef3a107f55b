from __future__ import annotations

import os
import subprocess

import pytest

from envtool.errors import UsageError
from envtool.kinds.copy import Copy
from envtool.model import Input
from envtool.project import inputs, source_files, symlinks
from envtool.project.host_access import HostAccess, HostPermissions
from tests import project_inputs
from tests.unit.kinds.test_kinds import request as asked


@pytest.fixture
def tree(tmp_path):
    """Files, and links of all sorts to them."""
    top = tmp_path / "project"
    for path in ("reqs/base.txt", "reqs/dev.txt", "conf/a.yaml", "conf/sub/b.yaml", "src/main.py", "hidden.txt"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    (top / ".gitignore").write_text("hidden.txt\n")
    (tmp_path / "outside.txt").write_text("outside")
    for link, target in {
        "requirements.txt": "reqs/base.txt",
        "chain.txt": "chain2.txt",
        "chain2.txt": "./src/../requirements.txt",
        "settings": "conf",
        "by/way.yaml": "../settings/a.yaml",
        "src/all": "../conf",
        "src/inner.py": "main.py",
        "ignored.txt": "hidden.txt",
        "dangling": "nothing",
        "round": "round2",
        "round2": "round",
        "out": "../outside.txt",
        "absolute": "/etc/hostname",
        "through.txt": "reqs/base.txt/../dev.txt",
    }.items():
        (top / link).parent.mkdir(exist_ok=True)
        os.symlink(target, top / link)
    subprocess.run(["git", "init", "-q", "--template=", str(top)], check=True)
    return top


def find(tree, *patterns, **options):
    return {item.path: item for item in project_inputs.find(str(tree), patterns, **options)}


@pytest.mark.parametrize(
    ("pattern", "paths", "read", "edited"),
    [
        ("requirements.txt", ["reqs/base.txt", "requirements.txt"], "requirements.txt", "reqs/base.txt"),
        ("*ments.txt", ["reqs/base.txt", "requirements.txt"], "requirements.txt", "reqs/base.txt"),
        (
            "chain.txt",
            ["chain.txt", "chain2.txt", "reqs/base.txt", "requirements.txt"],
            "chain.txt",
            "reqs/base.txt",
        ),
        ("settings", ["conf/a.yaml", "conf/sub/b.yaml", "settings"], "settings/sub/b.yaml", "conf/sub/b.yaml"),
        ("settings/sub", ["conf/sub/b.yaml", "settings"], "settings/sub/b.yaml", "conf/sub/b.yaml"),
        ("settings/a.yaml", ["conf/a.yaml", "settings", "settings/a.yaml"], "settings/a.yaml", "conf/a.yaml"),
        ("by", ["by/way.yaml", "conf/a.yaml", "settings"], "by/way.yaml", "conf/a.yaml"),
        (
            "src",
            ["conf/a.yaml", "conf/sub/b.yaml", "src/all", "src/inner.py", "src/main.py"],
            "src/all/sub/b.yaml",
            "conf/sub/b.yaml",
        ),
        ("ignored.txt", ["hidden.txt", "ignored.txt"], "ignored.txt", "hidden.txt"),
    ],
)
def test_what_a_link_leads_to_is_an_input(tree, tmp_path, pattern, paths, read, edited):
    found = find(tree, pattern)
    assert list(found) == paths
    (tmp_path / "staged").mkdir()
    inputs.stage_inputs(str(tree), list(found.values()), str(tmp_path / "staged"))
    assert (tmp_path / "staged" / read).read_text() == edited
    (tree / edited).write_text("changed")
    again = find(tree, pattern)
    assert again[edited].sha256 != found[edited].sha256
    if (tree / pattern).is_symlink() and (tree / pattern).is_file():
        assert again[pattern].sha256 == again[edited].sha256


@pytest.mark.parametrize("link", ["dangling", "round", "out", "absolute", "through.txt"])
def test_a_link_that_leads_nowhere_in_the_project_counts_by_its_name(tree, tmp_path, link):
    found = find(tree, link)
    assert list(found) == [link]
    assert found[link].link == os.readlink(tree / link)
    before = found[link].sha256
    (tmp_path / "outside.txt").write_text("changed")
    assert find(tree, link)[link].sha256 == before
    os.remove(tree / link)
    os.symlink("elsewhere", tree / link)
    assert find(tree, link)[link].sha256 != before


def test_what_the_caller_lets_be_read_outside_counts_by_its_content(tree, tmp_path):
    door = HostAccess(str(tree), HostPermissions(files=(str(tmp_path / "outside.txt"),)))
    before = find(tree, "out", access=door)["out"]
    (tmp_path / "outside.txt").write_text("changed")
    assert find(tree, "out", access=door)["out"].sha256 != before.sha256
    assert find(tree, "absolute", access=door) == find(tree, "absolute")


def test_what_only_resolve_looks_at_stays_so_behind_a_link(tree):
    found = find(tree, "src/main.py", asked=["requirements.txt"])
    assert {path: item.built for path, item in found.items()} == {
        "reqs/base.txt": False,
        "requirements.txt": False,
        "src/main.py": True,
    }
    both = find(tree, "requirements.txt", asked=["chain.txt"])
    assert {path for path, item in both.items() if item.built} == {"requirements.txt", "reqs/base.txt"}


def test_what_counts_by_its_name_counts_by_its_content_behind_a_link(tree):
    found = find(tree, "requirements.txt", named=["reqs/*.txt"])
    assert {path: item.content for path, item in found.items()} == {
        "reqs/base.txt": True,
        "reqs/dev.txt": False,
        "requirements.txt": True,
    }


def test_a_kind_says_which_links_it_reads_through(tree):
    found = find(tree, "src", follows=lambda link, path: link == "src/all" and path.endswith("a.yaml"))
    assert list(found) == ["conf/a.yaml", "src/all", "src/inner.py", "src/main.py"]
    assert found["src/inner.py"].sha256 != found["src/main.py"].sha256


def test_the_spec_and_its_lock_are_inputs_by_their_own_names_alone(tree):
    for name in ("envtool.yaml", "envtool.lock", "envtool.vendor/blob", "sub/envtool.yaml"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("version: 1")
    os.symlink("envtool.yaml", tree / "spec.yaml")
    apart = ("envtool.yaml", "envtool.lock")
    ours = {*apart, "envtool.vendor/blob"}
    for pattern in (".", "*.yaml", "**", "envtool.*", "*"):
        found = {item.path for item in project_inputs.find(str(tree), [], [pattern], apart=apart)}
        assert not ours & found
        assert ("spec.yaml" in found) == (pattern != "envtool.*")
    before = find(tree, ".", apart=apart)
    assert "sub/envtool.yaml" in before
    (tree / "envtool.yaml").write_text("version: 1 # a comment")
    (tree / "envtool.lock").write_text("locked")
    assert find(tree, ".", apart=apart) == before
    assert [*find(tree, *apart, "envtool.vendor/blob", apart=apart)] == sorted(ours)
    assert [*find(tree, "spec.yaml", apart=apart)] == ["envtool.yaml", "spec.yaml"]


@pytest.mark.parametrize(
    ("source", "to", "expected"),
    [
        ("requirements.txt", "/r.txt", {"/r.txt": "reqs/base.txt"}),
        ("chain.txt", "/etc/", {"/etc/chain.txt": "reqs/base.txt"}),
        ("*ments.txt", "/etc", {"/etc/requirements.txt": "reqs/base.txt"}),
        ("settings", "/c", {"/c/a.yaml": "conf/a.yaml", "/c/sub/b.yaml": "conf/sub/b.yaml"}),
        ("settings/sub", "/c", {"/c/b.yaml": "conf/sub/b.yaml"}),
        ("settings/a.yaml", "/c", {"/c": "conf/a.yaml"}),
        ("settings/a.yaml", "/c/", {"/c/a.yaml": "conf/a.yaml"}),
        ("set*", "/c", {"/c/settings/a.yaml": "conf/a.yaml", "/c/settings/sub/b.yaml": "conf/sub/b.yaml"}),
        ("src", "/s", {"/s/all": "src/all", "/s/inner.py": "src/inner.py", "/s/main.py": "src/main.py"}),
        ("dangling", "/d", {"/d": "dangling"}),
    ],
)
def test_copy_takes_what_a_source_leads_to_and_keeps_links_in_it(tree, source, to, expected):
    kind, options = Copy(), {"from": source, "to": to}
    found = inputs.find_inputs(str(tree), kind.inputs(options))
    request = asked(options)
    placed = kind.build(type(request)(**{**_fields(request), "inputs": found}), None).steps
    assert {step.target: step.source.removeprefix("/project/") for step in placed} == expected


def _fields(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_walking_and_what_is_known_of_it_agree(tree):
    from envtool.project.host_access import EntryOpener

    links = {
        path: os.readlink(tree / path) for path in source_files.list_files(str(tree)) if (tree / path).is_symlink()
    }
    with EntryOpener(str(tree)) as entries:
        for path in ("chain.txt", "settings/sub", "by/way.yaml", "src/all/a.yaml", "src/main.py", "ignored.txt"):
            way = symlinks.follow_path(entries, path)
            assert way is not None
            assert (
                way.end
                == symlinks.resolve_known_links(path, links)
                == os.path.relpath(os.path.realpath(tree / path), tree)
            )


# ---- a filter of each input ------------------------------------------------------------------------------------------


def paths_of(tree, *wanted):
    return [item.path for item in inputs.find_inputs(str(tree), wanted)]


def test_each_input_keeps_for_itself(tree):
    python = Input("src", keeps=lambda path: path.endswith(".py"), follows=lambda link, path: False)
    everything = Input("conf")
    assert set(paths_of(tree, python, everything)) == {*paths_of(tree, python), *paths_of(tree, everything)}
    assert "src/main.py" in paths_of(tree, python)
    with pytest.raises(UsageError, match="input `src`: no file in it"):
        paths_of(tree, Input("src", keeps=lambda path: False))
    assert paths_of(tree, Input("src", keeps=lambda path: False, required=False)) == []


@pytest.mark.parametrize("swapped", [False, True])
def test_each_input_follows_for_itself(tree, swapped):
    """`chain.txt` leads by `chain2.txt` to requirements.txt; `settings` is a link to conf."""
    links, files = Input("chain.txt", follows=lambda link, path: False), Input("settings", required=False)
    found = paths_of(tree, *((files, links) if swapped else (links, files)))
    assert set(found) == {"chain.txt", *paths_of(tree, files)}
    both = (Input("chain.txt"), links) if swapped else (links, Input("chain.txt"))
    assert inputs.find_inputs(str(tree), both) == inputs.find_inputs(str(tree), [Input("chain.txt")])


def test_a_link_that_two_inputs_reach_is_followed_by_the_one_that_follows(tree):
    """A link that the first input reaches by another link and does not follow, and the second one does."""
    (tree / "way").mkdir()
    (tree / "way" / "on").symlink_to("../conf")
    (tree / "one").symlink_to("way")
    (tree / "two").symlink_to("way")
    near = Input("one", follows=lambda link, path: link == "one")
    far = Input("two")
    for wanted in ((near, far), (far, near)):
        assert set(paths_of(tree, *wanted)) == {*paths_of(tree, near), *paths_of(tree, far)}
    assert "conf/a.yaml" not in paths_of(tree, near)
    assert "conf/a.yaml" in paths_of(tree, near, far)


def test_what_most_counts_of_counts(tree):
    """One file for names alone and for its content; for `resolve` alone and for a build."""
    name, asked = Input("src/main.py", use="name"), Input("src/main.py", use="resolve")
    (found,) = inputs.find_inputs(str(tree), [name])
    assert (found.content, found.built) == (False, True)
    (found,) = inputs.find_inputs(str(tree), [asked])
    assert (found.content, found.built) == (True, False)
    for wanted in ((name, asked), (asked, name), (Input("src/main.py"), asked, name)):
        (found,) = inputs.find_inputs(str(tree), wanted)
        assert (found.content, found.built) == (True, True)
    assert inputs.find_inputs(str(tree), [Input("src/main.py", use="text")]) == ()
    for use in ("build", "name", "resolve"):
        with pytest.raises(UsageError, match="there is no such file"):
            inputs.find_inputs(str(tree), [Input("gone", use=use)])
        with pytest.raises(UsageError, match="there is no such file"):
            inputs.check_inputs(str(tree), [Input("gone", use=use)])
        assert inputs.find_inputs(str(tree), [Input("gone", use=use, required=False)]) == ()
        inputs.check_inputs(str(tree), [Input("gone", use=use, required=False)])

"""What leads out of the project: seen where the caller allows it, refused with the line to type where not."""

from __future__ import annotations

import os

import pytest

from envtool.errors import UsageError
from envtool.kinds.copy import Copy
from envtool.project import inputs
from envtool.project.host_access import HostAccess, HostPermissions
from tests import project_inputs
from tests.unit.kinds.test_kinds import request as asked
from tests.unit.project.test_inputs import _fields


@pytest.fixture
def tree(tmp_path):
    """A project with ways out of it."""
    top = tmp_path / "project"
    for path in ("project/conf/a", "out/a", "out/sub/b", "out/run.sh", "out/.git/config", "alone"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "out/run.sh").chmod(0o755)
    os.symlink("a", tmp_path / "out/inner")
    for link, target in {
        "d": "../out",
        "absolute": str(tmp_path / "out"),
        "file": "../alone",
        "chain": "conf/way",
        "conf/way": "../../alone",
        "run": "d/run.sh",
        "dangling": "nothing",
    }.items():
        os.symlink(target, top / link)
    return top


def door(tree, *names):
    return HostAccess(
        str(tree), HostPermissions(files=tuple(str(tree.parent / name) for name in names), called=(("test",), ()))
    )


def follows(link, path):
    del link, path
    return True


WAYS = {  # pattern -> the files that it means, by their names, and where they really are
    "d/a": {"d/a": "out/a"},
    "d": {"d/a": "out/a", "d/inner": "out/inner", "d/run.sh": "out/run.sh", "d/sub/b": "out/sub/b"},
    "d/sub": {"d/sub/b": "out/sub/b"},
    "d/*.sh": {"d/run.sh": "out/run.sh"},
    "d/**/b": {"d/sub/b": "out/sub/b"},
    "absolute/a": {"absolute/a": "out/a"},
    "file": {"file": "alone"},
    "chain": {"chain": "alone"},
    "run": {"run": "out/run.sh"},
}


@pytest.mark.parametrize("pattern", WAYS)
def test_what_leads_out_is_an_input_where_the_caller_allows_it(tree, tmp_path, pattern):
    gate = door(tree, "out", "alone")
    found = project_inputs.find(str(tree), [pattern], follows=follows, access=gate)
    there = {item.path: os.path.relpath(item.outside, os.path.realpath(tmp_path)) for item in found}
    assert there == WAYS[pattern]
    assert all(item.built for item in found)
    (tmp_path / "staged").mkdir()
    inputs.stage_inputs(str(tree), found, str(tmp_path / "staged"), access=gate)
    for path, real in WAYS[pattern].items():
        staged = tmp_path / "staged" / path
        assert staged.read_text() == (tmp_path / real).read_text()
        assert os.access(staged, os.X_OK) == (real == "out/run.sh")
    place = tmp_path / next(iter(WAYS[pattern].values()))
    place.write_text("changed")
    assert project_inputs.find(str(tree), [pattern], follows=follows, access=gate) != found
    with pytest.raises(UsageError, match="changed while envtool was running"):
        (tmp_path / "again").mkdir()
        inputs.stage_inputs(str(tree), found, str(tmp_path / "again"), access=gate)


@pytest.mark.parametrize("pattern", WAYS)
def test_it_is_refused_with_the_line_to_type_where_not(tree, tmp_path, pattern):
    gate = door(tree, "elsewhere")
    with pytest.raises(UsageError) as caught:
        project_inputs.find(str(tree), [pattern], follows=follows, access=gate)
    assert caught.value.code == "input-outside"
    assert f"`{pattern}` leads out of the project, and you did not allow it" in caught.value.message
    (line,) = gate.allowed.asked
    assert line[0] == "--allow-file"
    assert f"`envtool test --allow-file {line[1]}`" in caught.value.hint
    again = HostAccess(str(tree), HostPermissions(files=(os.path.realpath(line[1]),)))
    assert project_inputs.find(str(tree), [pattern], follows=follows, access=again), "what was typed is enough"


def test_an_images_layout_is_allowed_as_one(tree, tmp_path):
    for name in ("oci-layout", "index.json"):
        (tmp_path / "out" / name).write_text("{}")
    gate = door(tree)
    with pytest.raises(inputs.WrongInputsError):
        project_inputs.find(str(tree), [], asked=["d/oci-layout", "d/index.json"], access=gate)
    assert [*gate.allowed.asked] == [("--allow-file", os.path.realpath(tmp_path / "out"))]
    assert gate.allowed.all() == "", "the error has the line"


def test_what_leads_out_to_nothing_is_not_to_be_allowed(tree):
    os.symlink("/nonexistent/place", tree / "nowhere")
    gate = door(tree)
    for pattern in ("nowhere", "nowhere/below", "nowhere/*"):
        with pytest.raises(
            UsageError, match=r"leads out of the project, to /nonexistent/place.*, where there is nothing"
        ):
            project_inputs.find(str(tree), [pattern], follows=follows, access=gate)
    assert not gate.allowed.asked


def test_what_was_refused_in_one_call_is_allowed_by_one_line():
    said = HostPermissions(called=(("-C", "x", "test"), ("--allow-secret", "s=old", "-e", "unit")))
    assert said.line("--allow-pass", "A", "--allow-pass", "B").endswith(
        "--allow-pass A --allow-pass B --allow-secret s=old -e unit"
    )
    assert said.all() == "envtool -C x test --allow-pass A --allow-pass B --allow-secret s=old -e unit"
    said.command_with("--allow-secret", "other=file:PATH")
    said.line("--allow-secret", "s=env:S")
    said.line("--allow-pass", "A")
    assert said.all() == "envtool -C x test --allow-pass A --allow-pass B --allow-secret s=env:S -e unit"


def test_a_link_that_nobody_follows_stays_one(tree):
    for gate in (door(tree), door(tree, "out", "alone")):
        found = project_inputs.find(str(tree), ["."], follows=lambda link, path: False, access=gate)
        assert {item.path: item.link for item in found if item.path in ("d", "file")} == {
            "d": "../out",
            "file": "../alone",
        }
    assert project_inputs.find(str(tree), ["file"], access=door(tree))[0].link == "../alone", (
        "a kind that reads through all"
    )
    assert project_inputs.find(str(tree), ["dangling"], follows=follows, access=door(tree))[0].link == "nothing"


def test_all_that_is_wrong_is_told_at_once(tree):
    with pytest.raises(inputs.WrongInputsError) as caught:
        project_inputs.find(str(tree), ["gone", "conf", "d/a", "../x", "none/*"], access=door(tree))
    assert [error.code for error in caught.value.errors] == [
        "input-missing", "input-outside", "input-outside", "input-missing",
    ]  # fmt: skip
    with pytest.raises(UsageError) as alone:
        project_inputs.find(str(tree), ["gone"], access=door(tree))
    assert alone.type is UsageError


@pytest.mark.parametrize(
    ("source", "to", "expected"),
    [
        ("file", "/f", {"/f": "file"}),
        ("d/a", "/etc/", {"/etc/a": "d/a"}),
        ("d", "/x", {"/x/a": "d/a", "/x/inner": "d/inner", "/x/run.sh": "d/run.sh", "/x/sub/b": "d/sub/b"}),
        ("fil*", "/x", {"/x/file": "file"}),
        ("conf", "/x", {"/x/a": "conf/a", "/x/way": "conf/way"}),
    ],
)
def test_copy_takes_the_content(tree, source, to, expected):
    kind, options = Copy(), {"from": source, "to": to}
    found = inputs.find_inputs(str(tree), kind.inputs(options), access=door(tree, "out", "alone"))
    request = asked(options)
    placed = kind.build(type(request)(**{**_fields(request), "inputs": found}), None).steps
    assert {step.target: step.source.removeprefix("/project/") for step in placed} == expected
    assert {item.path for item in found if item.link} <= {"conf/way", "d/inner"}

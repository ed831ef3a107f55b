"""A spec above the directory one stands in counts only if it cannot be anybody's: as git does with repositories."""

import os

import pytest

from envtool.app.command_request import CommandRequest, find_spec
from envtool.cli import fastpath
from envtool.errors import UsageError
from envtool.project import discovery

ROOT = os.geteuid() == 0
OTHER, THIRD = 4321, 4322
needs_root = pytest.mark.skipif(not ROOT, reason="gives files to other users")


def found(directory):
    """Both ways to a spec, which must agree."""
    short = fastpath.find_nearest_spec(str(directory))
    try:
        long = find_spec(CommandRequest(directory=str(directory)))
    except UsageError as error:
        if short or error.code != "no-spec":
            raise
        return error.message
    assert short == os.path.join(os.path.realpath(os.path.dirname(long)), "envtool.yaml")
    return long


def tree(top, *, spec=0, directory=0, stands=0, mode=0o755):
    """A spec in top/a, and top/a/b/c to stand in, each with its owner."""
    (top / "a/b/c").mkdir(parents=True)
    path = top / "a/envtool.yaml"
    path.write_text("version: 1\nenvs: {unit: {tasks: {test: 'true'}}}\n")
    for each, owner in ((path, spec), (top / "a", directory), (top / "a/b", stands), (top / "a/b/c", stands)):
        os.chown(each, owner, owner)
    (top / "a").chmod(mode)
    return path


@needs_root
@pytest.mark.parametrize(
    ("owners", "counts"),
    [
        ({}, True),
        ({"spec": OTHER, "directory": OTHER, "stands": OTHER}, True),  # root in somebody's checkout
        ({"stands": OTHER}, True),
        ({"spec": OTHER, "directory": OTHER}, False),
        ({"spec": OTHER}, False),
        ({"spec": OTHER, "mode": 0o1777}, False),  # /tmp
        ({"directory": OTHER}, False),
        ({"spec": THIRD, "directory": OTHER, "stands": OTHER}, False),
        ({"spec": OTHER, "directory": THIRD, "stands": OTHER}, False),
        ({"spec": OTHER, "stands": OTHER, "mode": 0o1777}, True),
    ],
)
def test_whose_spec_counts(owners, counts, tmp_path):
    path = tree(tmp_path, **owners)
    said = found(tmp_path / "a/b/c")
    assert (said == str(path)) == counts, said
    if not counts:
        assert f"{path} is passed over: it" in said
        assert "belongs to user" in said
    assert found(tmp_path / "a") == str(path)  # there one stands in it
    (tmp_path / "a/b/c/envtool.yaml").write_text("version: 1\n")
    os.chown(tmp_path / "a/b/c/envtool.yaml", THIRD, THIRD)
    assert found(tmp_path / "a/b/c") == str(tmp_path / "a/b/c/envtool.yaml")


@needs_root
def test_a_link_is_its_makers(tmp_path):
    path = tree(tmp_path, mode=0o1777)
    good = path.rename(tmp_path / "good.yaml")
    path.symlink_to(good)
    assert found(tmp_path / "a/b") == str(path)
    os.chown(path, OTHER, OTHER, follow_symlinks=False)  # who may not write root's file, but leads to it
    assert "passed over" in found(tmp_path / "a/b")
    os.chown(path, 0, 0, follow_symlinks=False)
    os.chown(good, OTHER, OTHER)
    assert "passed over" in found(tmp_path / "a/b")


@needs_root
def test_the_nearest_is_passed_over_not_skipped(tmp_path):
    """Another project's tasks are not run either."""
    (tmp_path / "envtool.yaml").write_text("version: 1\n")
    tree(tmp_path, spec=OTHER)
    assert "passed over" in found(tmp_path / "a/b/c")


def test_another_file_system_is_not_searched(tmp_path, monkeypatch):
    (tmp_path / "envtool.yaml").write_text("version: 1\n")
    (tmp_path / "in").mkdir()
    stat = os.stat

    def strange(path, **more):
        state = stat(path, **more)
        return os.stat_result([*state[:2], 99, *state[3:]]) if str(path).endswith("/in") else state

    monkeypatch.setattr(os, "stat", strange)
    assert "on another file system" in found(tmp_path / "in")
    assert found(tmp_path) == str(tmp_path / "envtool.yaml")


def test_what_cannot_be_looked_at_is_no_spec(tmp_path):
    assert discovery.find_spec(str(tmp_path / "gone/there")).path == ""
    assert fastpath.find_nearest_spec("/nothing/here") == ""
    assert discovery.find_spec("/").path in ("", "/envtool.yaml")


@needs_root
@pytest.mark.e2e
@pytest.mark.parametrize("words", [("test",), ("exec", "unit", "--", "true"), ("plan",), ("list",)])
def test_nothing_of_a_strangers_spec_is_run(words, place):
    if place.caller.mode != "root":
        pytest.skip("files of a third user")
    place.project.chmod(0o1777)
    place.write(
        "envtool.yaml",
        "version: 1\nenvs: {unit: {tasks: {test: {run: 'echo evil > mine/Makefile', outputs: [mine/Makefile]}}}}\n",
    )
    os.chown(place.project / "envtool.yaml", OTHER, OTHER)
    mine = place.directory(f"{place.project.name}/mine")
    place.write("mine/Makefile", "safe")
    done = place.finish(place.start(*words, cwd=mine))
    assert done.status == 2, done.said
    assert (mine / "Makefile").read_text() == "safe"
    assert f"{place.project}/envtool.yaml is passed over: it belongs to user {OTHER}" in done.err
    assert f"envtool -C {place.project}" in done.err
    assert place.finish(place.start("-C", str(place.project), "list")).status == 0

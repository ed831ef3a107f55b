"""The project's own directory is the one thing that its owner can always rename, also while root works in it: what is
put in its place, a link to root's files or another directory, is neither read nor shown nor written. Each swap comes
at a moment that is known: a layer or a task sleeps meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.test_writing import OTHER, snapshot
from tests.places import Done, Place

pytestmark = pytest.mark.e2e

SAID = "moved or replaced meanwhile"
SECRET = "KEPT-APART"
SPEC = """
layers: {slow: {run: "sleep 1; echo %s > /opt/z"}}
envs: {u: {layers: [slow], tasks: {build: {run: "cat key; mkdir -p .ssh; echo evil > .ssh/authorized_keys", outputs: [.ssh]}}}}
"""
TASK = """
envs: {u: {tasks: {build: {run: "echo ready; sleep 1; mkdir -p .ssh; echo evil > .ssh/authorized_keys", outputs: [.ssh]}}}}
"""


# ---- what is put in its place ----------------------------------------------------------------------------------------


def link(project: Path, theirs: Path) -> None:
    project.symlink_to(theirs)


def relative_link(project: Path, theirs: Path) -> None:
    project.symlink_to(os.path.relpath(theirs, project.parent))


def twin(project: Path, theirs: Path) -> None:
    """The same files in another directory: hard links, so that the very spec is there."""
    shutil.copytree(theirs, project, symlinks=True)
    moved = project.with_name(f"{project.name}.moved")
    (project / "envtool.yaml").unlink()
    os.link(moved / "envtool.yaml", project / "envtool.yaml")


def file(project: Path, theirs: Path) -> None:
    project.write_text("")


def nothing(project: Path, theirs: Path) -> None:
    pass


TRAPS = (link, relative_link, twin, file, nothing)


def kept(place: Place) -> Path:
    """A directory of the caller's own, that nobody else can enter."""
    top = place.directory("kept", 0o700)
    for name in ("key", "envtool.yaml", "envtool.lock", "report.xml"):
        place.write(name, f"{SECRET}\n", mode=0o600, at=top)
    for name in (".ssh", ".envtool", ".git"):
        place.give(top / name) if (top / name).exists() else (top / name).mkdir(0o700)
        place.give(top / name)
    return top


def swap(place: Place, trap: Callable[[Path, Path], None], theirs: Path) -> Path:
    """The project is moved away, and something else comes to its path; where it went."""
    moved = place.project.with_name(f"{place.project.name}.moved")
    place.project.rename(moved)
    trap(place.project, theirs)
    return moved


def somebodys(place: Place) -> None:
    """As root the checkout is another user's."""
    if place.caller.uid == 0:
        for path in (place.project, *place.project.rglob("*")):
            os.chown(path, OTHER, OTHER, follow_symlinks=False)


def during(place: Place, words: tuple[str, ...], begun: Callable[[dict], bool], act: Callable[[], object]) -> Done:
    """What a command comes to when something is done to it as soon as it says something."""
    process = place.start(*words, "--json", stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = b""
    while line := process.stdout.readline():
        said += line
        if line.startswith(b"{") and begun(json.loads(line)):
            act()
            break
    said += process.stdout.read()
    return Done(process.wait(place.limit), said, "", 0.0)


def layer(event: dict) -> bool:
    return event["event"] == "started" and event["subject"] == "layer"


def ready(event: dict) -> bool:
    return event["event"] == "output" and "ready" in event["text"]


# ---- while it works --------------------------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_while_a_layer_is_made(place, trap):
    theirs = kept(place)
    place.spec(SPEC % place.token)
    somebodys(place)
    before = snapshot(theirs)
    reports = ("--junit", "report.xml", "--provenance", ".ssh/said.jsonl")
    done = during(place, ("build", *reports), layer, lambda: swap(place, trap, theirs))
    assert snapshot(theirs) == before, done.said
    assert SECRET not in done.said
    assert done.status in (2, 3), done.said
    assert SAID in done.said
    moved = place.project.with_name(f"{place.project.name}.moved")
    assert not [path for path in moved.rglob("*.log") if SECRET in path.read_text()]
    if trap is twin:
        assert not (place.project / ".ssh/authorized_keys").exists()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_while_a_task_runs(place, trap):
    """Its outputs come to where the project is now."""
    theirs = kept(place)
    place.spec(TASK)
    somebodys(place)
    before = snapshot(theirs)
    done = during(place, ("build",), ready, lambda: swap(place, trap, theirs))
    assert snapshot(theirs) == before, done.said
    assert SECRET not in done.said
    moved = place.project.with_name(f"{place.project.name}.moved")
    assert (moved / ".ssh/authorized_keys").read_text() == "evil\n"
    assert "not remembered" in done.said
    if trap is twin:
        assert not (place.project / ".ssh/authorized_keys").exists()


@pytest.mark.one_caller
def test_a_project_that_is_cloned_anew_is_no_error(place):
    """What is remembered of the directory that was at a path holds nobody up."""
    place.task("cat said")
    place.write("said", "one\n")
    for _ in range(3):
        assert place.envtool("test").status == 0
        assert place.envtool("exec", "unit", "--", "cat", "said").out == "one\n"
    moved = place.project.with_name(f"{place.project.name}.moved")
    place.project.rename(moved)
    place.give(place.project) if place.project.exists() else place.directory(place.project.name)
    os.link(moved / "envtool.yaml", place.project / "envtool.yaml")
    place.write("said", "two\n")
    assert place.envtool("exec", "unit", "--", "cat", "said").out == "two\n"
    done = place.envtool("test", "--json")
    assert (done.status, done.log()) == (0, "two\n"), done.said


def test_a_project_that_has_to_be_copied_keeps_its_holes(place):
    """Of a group that an ordinary caller is not in, its files are copied to memory."""
    place.task("cat key; tail -c 4 sparse; du -k sparse; cat link; echo more >> key; cat key")
    place.write("key", "ours\n")
    (place.project / "link").symlink_to("key")
    with open(place.project / "sparse", "wb") as file:
        file.seek(20 << 30)
        file.write(b"end\n")
    if os.geteuid() == 0:
        for path in (place.project, *place.project.rglob("*")):
            os.chown(path, place.caller.uid, OTHER, follow_symlinks=False)
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    first, end, size, *rest = done.log().splitlines()
    assert (first, end, rest) == ("ours", "end", ["ours", "ours", "more"])
    assert int(size.split()[0]) <= 64

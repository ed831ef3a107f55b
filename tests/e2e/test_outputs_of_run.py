"""Tasks that run beside each other do not see each other's outputs: each sees the files with which the run began, and
the artefacts of the tasks that it needs."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

# `late` and `beside` begin after, or run while, `make` leaves its outputs in the checkout
SPEC = """\
pipeline: [make, late, beside]
envs:
  unit:
    tasks:
      make:
        run: mkdir dist && echo made > dist/x && echo made > made.txt && echo more >> kept/file
        outputs: ["dist/*", "*.txt", kept/file]
      late:
        needs: [wait@unit]
        run: find . -name .git -prune -o -name .envtool -prune -o -type f -print | sort; mkdir dist; echo late > dist/y
        outputs: [dist/y]
      wait: {run: sleep 1}
      beside: {run: "for i in 1 2 3 4 5 6 7 8; do sleep 0.2; ls -d dist 2>&1 || true; done; mkdir dist"}
"""


@pytest.fixture
def project(place):
    place.write("kept/file", "one\n")
    place.write("token", place.token)
    place.shell("git init -q . && git add -A")
    place.spec(SPEC)
    assert place.envtool("lock").status == 0
    return place


def outcomes(done):
    return {result["task"]: result["outcome"] for result in done.events[-1]["results"]}


def log(place, name):
    return (place.project / ".envtool" / "last" / f"unit.{name}.log").read_text()


@pytest.mark.parametrize("ignored", [False, True])
def test_no_task_sees_what_others_add(project, ignored):
    if ignored:
        project.write(".gitignore", "dist\nmade.txt\n.envtool\n")
    done = project.envtool("ci", "--json", "-j", "4")
    assert set(outcomes(done).values()) == {"passed"}, done.said
    files = log(project, "late").split()
    assert "./dist/x" not in files
    assert "./made.txt" not in files
    assert all("No such file" in line for line in log(project, "beside").splitlines())
    assert (project.project / "dist" / "x").read_text() == "made\n"
    assert (project.project / "dist" / "y").read_text() == "late\n"
    project.check_nothing_left()


def test_the_same_results_whichever_task_ends_first(project):
    """With outputs that git ignores, all of the second run is remembered: what others left was never in a view."""
    project.write(".gitignore", "dist\nmade.txt\n.envtool\n")
    project.spec(
        "pipeline: [make, beside]\nenvs:\n  unit:\n    tasks:\n"
        "      make: {run: mkdir dist; echo made > dist/x, outputs: [dist]}\n"
        "      beside: {run: sleep 1; mkdir dist}\n"
    )
    assert project.envtool("lock").status == 0
    first = project.envtool("ci", "--json", "-j", "2")
    assert outcomes(first) == {"make": "passed", "beside": "passed"}, first.said
    assert outcomes(project.envtool("ci", "--json", "-j", "2")) == {"make": "cached", "beside": "cached"}


def test_a_task_is_remembered_though_another_adds_files(project):
    """The files are not ignored: what ran without seeing them is remembered without them, and runs again with them."""
    project.spec(
        "pipeline: [make, beside]\nenvs:\n  unit:\n    tasks:\n"
        "      make: {run: mkdir dist; echo made > dist/x, outputs: [dist/x]}\n"
        "      beside: {run: sleep 1; test ! -e dist}\n"
    )
    assert project.envtool("lock").status == 0
    first = project.envtool("ci", "--json", "-j", "2")
    assert outcomes(first) == {"make": "passed", "beside": "passed"}, first.said
    assert "touched while it ran" not in first.said
    assert project.envtool("run", "beside").status == 1, "now dist is a part of the project when the run begins"
    project.shell("rm -r dist")
    assert outcomes(project.envtool("run", "beside", "--json")) == {"beside": "cached"}


def test_tasks_with_outputs_in_one_directory(project):
    """Each makes the directory, whichever comes first; files of one name are those of the last, as ever."""
    project.write(".gitignore", "dist\n.envtool\n")
    project.spec(
        "envs:\n  one:\n    set: {WAIT: '0'}\n    tasks:\n"
        "      test: {run: 'sleep $WAIT; mkdir dist; echo $ENVTOOL_ENV > dist/$ENVTOOL_ENV; echo x > dist/x',"
        " outputs: ['dist/*']}\n"
        "  two: {extends: one, set: {WAIT: '1'}}\n"
    )
    done = project.envtool("test", "--json", "-j", "2")
    assert done.status == 0, done.said
    assert sorted(path.name for path in (project.project / "dist").iterdir()) == ["one", "two", "x"]
    assert [result["outcome"] for result in project.envtool("test", "--json").events[-1]["results"]] == ["cached"] * 2

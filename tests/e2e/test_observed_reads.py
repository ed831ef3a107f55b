"""`inputs: observed`: a task is skipped while only files changed that it did not read; and how wrong skips are found."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = pytest.mark.e2e


def outcome(place, *words: str) -> str:
    """The outcome of the only task."""
    done = place.envtool("test", "--json", *words)
    (result,) = done.events[-1]["results"]
    return result["outcome"]


def explain(place, *words: str) -> dict:
    (subject,) = [
        subject
        for subject in json.loads(place.envtool("--json", "why", *words, "unit:test").out)["subjects"]
        if subject["subject"] == "task"
    ]
    return subject


@pytest.fixture
def observed(place):
    """A task that reads `read` and asks whether `asked` is there."""
    for name in ("read", "asked", "other", "src/one", "src/two", "unseen/three"):
        place.write(name, f"{name} {place.token}\n")  # the store remembers the results of all tests
    (place.project / "link").symlink_to("other")
    place.give(place.project / "link")
    place.task("cat read src/one; test -e asked; ls src", options="inputs: observed")
    return place


def test_only_what_was_read_counts(observed):
    assert outcome(observed) == "passed"
    for name in ("other", "src/two", "unseen/three", "envtool.yaml"):
        text = (observed.project / name).read_text()
        observed.write(name, f"{text}# more\n")
        assert outcome(observed) == "cached", name
        assert outcome(observed) == "cached", f"{name}, from the plan"
    for name in ("read", "src/one", "asked"):
        observed.write(name, f"more {observed.token}\n")
        assert outcome(observed) == "passed", name
        assert outcome(observed) == "cached", name


@pytest.mark.parametrize("change", ["added", "added below", "removed", "mode", "link", "renamed", "kind"])
def test_names_and_types_of_all_files_count(observed, change):
    """A task may have asked for a name in vain: that leaves no trace."""
    assert outcome(observed) == "passed"
    project = observed.project
    match change:
        case "added":
            observed.write("new", "")
        case "added below":
            observed.write("unseen/new", "")
        case "removed":
            (project / "unseen/three").unlink()
        case "mode":
            (project / "other").chmod(0o755)
        case "link":
            (project / "link").unlink()
            (project / "link").symlink_to("read")
        case "renamed":
            (project / "other").rename(project / "moved")
        case "kind":
            (project / "other").unlink()
            (project / "other").symlink_to("read")
    assert outcome(observed) == "passed"


def test_a_change_that_is_taken_back_needs_no_run(observed):
    assert outcome(observed) == "passed"
    observed.write("read", "other\n")
    assert outcome(observed) == "passed"
    observed.write("read", f"read {observed.token}\n")
    observed.write("other", "changed, too\n")
    assert outcome(observed) == "cached"


def test_all_files_count_otherwise(observed):
    observed.task("cat read")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed) == "passed"


def test_what_else_decides_a_result_counts_as_ever(observed):
    """Commands, variables, the arguments of the command line."""
    assert outcome(observed) == "passed"
    observed.task("cat read; true", options="inputs: observed")
    assert outcome(observed) == "passed"
    observed.task("cat read; true", options="inputs: observed", env="set: {A: b}")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed) == "cached"


def test_of_an_env_and_of_all(observed):
    observed.spec("envs:\n  unit:\n    inputs: observed\n    tasks:\n      test: cat read\n")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed) == "cached"
    observed.spec("defaults:\n  inputs: observed\nenvs:\n  unit:\n    tasks:\n      test: cat read; true\n")
    assert outcome(observed) == "passed"
    observed.write("other", "still more\n")
    assert outcome(observed) == "cached"
    observed.spec(
        "defaults:\n  inputs: observed\nenvs:\n  unit:\n    tasks:\n      test: {run: cat read, inputs: all}\n"
    )
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed) == "passed"


def test_outputs_are_restored(observed):
    observed.write(".gitignore", "out\n")
    observed.task("cat read > out", options="inputs: observed\noutputs: [out]")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    (observed.project / "out").unlink()
    assert outcome(observed) == "cached"
    assert (observed.project / "out").read_text() == f"read {observed.token}\n"


def test_why_says_what_was_read(observed):
    outcome(observed)
    names = ["asked", "read", "src/one"]
    assert explain(observed)["reads"] == {"read": 3, "total": 8, "files": names, "reason": ""}
    observed.write("other", "more\n")
    observed.write("src/two", "more\n")
    told = explain(observed)
    assert (told["state"], told["changes"]) == ("cached", [])
    observed.write("read", "more\n")
    told = explain(observed)
    assert [change["name"] for change in told["changes"]] == ["read"], "what it did not read is no reason"
    assert told["reads"]["files"] == names
    text = observed.envtool("why", "unit:test").out
    assert "  it read 3 of 8 project files\n" in text
    whole = observed.envtool("why", "-v", "unit:test").out
    assert "  it read 3 of 8 project files:\n    asked\n    read\n    src/one\n" in whole


def test_a_run_says_what_was_read(observed):
    results = [observed.envtool("test", "--json").events[-1]["results"][0] for _ in range(3)]
    files = ["asked", "read", "src/one"]
    assert results[0]["reads"] == {"read": 3, "total": 8, "files": files, "reason": ""}
    assert [result["reads"] for result in results[1:]] == [{"read": 3, "total": 8, "files": [], "reason": ""}] * 2


def test_a_damaged_note_is_no_note(observed):
    """Without the files of the run whose result it is nothing can be compared."""
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    whole = {view: view.read_bytes() for views in observed.store.rglob("views") for view in views.iterdir()}
    try:
        for view in whole:
            view.write_bytes(b"damaged")
        assert outcome(observed) == "passed"
    finally:
        for view, data in whole.items():  # other tests use the store, and one has it verified
            view.write_bytes(data)


LATER = """\
cat read
if test "$(date +%s)" -ge {when}; then {then}; fi"""


def test_the_audit_finds_a_wrong_skip_that_reads_another_file(observed):
    """What the task reads depends on the time."""
    when = int(time.time()) + 20
    observed.task(LATER.format(when=when, then="cat other"), options="inputs: observed")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed, "--audit", "100%") == "passed", "the skip is right"
    observed.write("other", "still more\n")
    time.sleep(max(0.0, when - time.time()) + 0.5)
    assert outcome(observed, "--audit", "0%") == "cached", "that is what the audit is for"
    done = observed.envtool("test", "--audit", "100%")
    assert done.status == 1
    assert "that was wrong: this time it read `other`, which changed since" in done.said
    observed.write("other", "more than ever\n")
    assert outcome(observed) == "passed", "what was remembered is forgotten"


def test_the_audit_finds_a_wrong_skip_that_fails_now(observed):
    when = int(time.time()) + 15
    observed.task(LATER.format(when=when, then="false"), options="inputs: observed")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    time.sleep(max(0.0, when - time.time()) + 0.5)
    assert outcome(observed) == "cached"
    done = observed.envtool("test", "--audit", "100%")
    assert done.status == 1
    assert "that was wrong: it does not pass any more (failed)" in done.said
    assert outcome(observed) == "failed", "also without the audit, and from no plan"


def test_the_audit_runs_nothing_that_no_observation_decided(observed):
    assert outcome(observed) == "passed"
    assert outcome(observed, "--audit", "100%") == "cached"
    done = observed.envtool("test", "--audit", "120%")
    assert done.status == 2
    assert "`120%` is no part: write 5%, or anything from 0% to 100%" in done.said
    done = observed.envtool("test", "--audit", "")
    assert done.status == 2, "as of a variable that is not set: no audit, and yet a green run"
    assert "`` is no part" in done.said


def test_git_of_the_project(observed):
    """Git asks about every file that it knows: then all of them count. A commit alone changes nothing."""
    observed.shell("git init -q; git add -A")
    observed.task("cat read", options="inputs: observed")
    assert outcome(observed) == "passed"
    observed.write("other", "more\n")
    assert outcome(observed) == "cached"
    observed.task("cat read; git status --porcelain", options="inputs: observed")
    assert outcome(observed) == "passed"
    observed.write("other", "still more\n")
    assert outcome(observed) == "passed"

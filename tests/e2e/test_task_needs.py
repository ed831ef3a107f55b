"""`needs:` between tasks: one graph, the outputs of needed tasks from their results, and the same remembered results."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e

SPEC = """\
envs:
  unit:
    tasks:
      build:
        run: |
          mkdir -p dist/sub
          printf '%s' "wheel $(cat source) {{ args }}" > dist/x.whl
          chmod 750 dist/x.whl
          ln -sf ../x.whl dist/sub/link
        outputs: [dist]
      test:
        needs: [build]
        run: |
          cat dist/sub/link; echo; stat -c '%a %u' dist/x.whl; find dist | sort | tr '\\n' ' '
          echo spoiled > dist/x.whl; rm dist/sub/link; echo {{ args }}
  other:
    tasks:
      check: {run: cat dist/x.whl, needs: [build@unit]}
"""


@pytest.fixture
def project(place):
    place.write("source", "one")
    place.write(".gitignore", "dist\n")
    place.shell("git init -q .")
    place.write("token", place.token)  # no result of another test is one of this project
    place.spec(SPEC)
    return place


def outcomes(done):
    return {(result["env"], result["task"]): result["outcome"] for result in done.events[-1]["results"]}


def log(place, name):
    return (place.project / ".envtool" / "last" / f"{name}.log").read_text()


@pytest.mark.every_caller
def test_a_task_sees_what_the_needed_one_left(project):
    done = project.envtool("test", "--json")
    assert done.status == 0, done.said
    assert outcomes(done) == {("unit", "build"): "passed", ("unit", "test"): "passed"}
    assert [result["task"] for result in done.events[-1]["results"]] == ["build", "test"], "needed ones come first"
    lines = log(project, "unit.test").splitlines()
    assert lines[:2] == ["wheel one ", "750 1000"] or lines[:2] == ["wheel one ", "750 0"]
    assert lines[2].split() == ["dist", "dist/sub", "dist/sub/link", "dist/x.whl"]
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one ", "what the needing task did to it is lost"
    project.check_nothing_left()


def test_they_come_from_the_result_and_not_from_the_checkout(project):
    assert project.envtool("test").status == 0
    project.write("dist/x.whl", "edited in the checkout")
    project.write("dist/old.whl", "left from another day")
    done = project.envtool("test", "--again", "--json")
    assert outcomes(done) == {("unit", "build"): "cached", ("unit", "test"): "passed"}, "--again is for what is named"
    assert log(project, "unit.test").splitlines()[0] == "wheel one "
    assert "old.whl" not in log(project, "unit.test")
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one ", "restored"


def test_without_git_ignoring_them(project):
    (project.project / ".gitignore").unlink()
    project.write("dist/old.whl", "left from another day")
    assert project.envtool("test").status == 0
    first = log(project, "unit.test").splitlines()
    assert first[0] == "wheel one "
    assert "dist/old.whl" in first[2], "the build saw it too, and its outputs have it"
    assert "2 unchanged" in project.envtool("test").said


def test_outputs_that_are_gone_are_restored_or_made_again(project):
    assert project.envtool("test").status == 0
    project.shell("rm -r dist")
    done = project.envtool("test", "--json")
    assert set(outcomes(done).values()) == {"cached"}
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one "
    for output in (project.store / "results").glob("*/outputs/dist/x.whl"):
        output.chmod(0o644)
        output.write_text("damaged")
    project.shell("rm -r dist")
    done = project.envtool("test", "--json")
    assert outcomes(done) == {("unit", "build"): "passed", ("unit", "test"): "cached"}, "made again, and the same"
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one "


def test_the_same_result_by_name_and_as_a_need_and_with_arguments(project):
    assert project.envtool("build").status == 0
    done = project.envtool("run", "check", "--json")
    assert outcomes(done) == {("unit", "build"): "cached", ("other", "check"): "passed"}
    done = project.envtool("test", "--json", "--", "-k", "slow")
    assert outcomes(done) == {("unit", "build"): "cached", ("unit", "test"): "passed"}, "no arguments for the build"
    assert log(project, "unit.test").splitlines()[-1].endswith("-k slow")
    done = project.envtool("build", "--json", "--", "-k", "slow")
    assert outcomes(done) == {("unit", "build"): "passed"}
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one -k slow"
    done = project.envtool("test", "--json")
    assert outcomes(done) == {("unit", "build"): "cached", ("unit", "test"): "passed"}
    assert (project.project / "dist" / "x.whl").read_text() == "wheel one ", "that of the build without arguments"


def test_artefacts_decide_the_request(project):
    assert project.envtool("run", "check").status == 0
    text = (project.project / "envtool.yaml").read_text()
    project.write("envtool.yaml", text.replace("chmod 750", "true; chmod 750"))
    done = project.envtool("run", "check", "--json")
    assert outcomes(done)["unit", "build"] == "passed"
    project.write("envtool.yaml", text.replace("wheel", "other"))
    why = project.envtool("why", "other:check")
    assert "waits" in why.out or "build@unit" in why.out, why.out
    done = project.envtool("run", "check", "--json")
    assert outcomes(done) == {("unit", "build"): "passed", ("other", "check"): "passed"}
    assert log(project, "other.check") == "other one "


def test_a_need_that_fails(project):
    text = (project.project / "envtool.yaml").read_text()
    project.write("envtool.yaml", text.replace("mkdir -p dist/sub", "exit 5"))
    done = project.envtool("test", "--json", "--junit", "junit.xml")
    assert done.status == 1
    assert outcomes(done) == {("unit", "build"): "failed", ("unit", "test"): "skipped"}
    message = done.events[-1]["results"][1]["message"]
    assert message == "not run: it needs `build@unit`, which failed"
    assert "not run: it needs `build@unit`, which failed" in (project.project / "junit.xml").read_text()
    assert [event["outcome"] for event in done.finished("task")] == ["failed", "skipped"]
    plain = project.envtool("test")
    assert "not run: it needs `build@unit`, which failed" in plain.said
    assert "1 failed, 1 not run" in plain.said


def test_a_need_of_an_env_that_cannot_be_built(project):
    text = (project.project / "envtool.yaml").read_text()
    project.write("envtool.yaml", text.replace("  unit:\n", "  unit:\n    workdir: absent\n"))
    done = project.envtool("run", "check", "--json")
    assert done.status == 3, done.said
    assert outcomes(done) == {("unit", "build"): "error", ("other", "check"): "skipped"}


def test_a_need_that_is_never_remembered(place):
    """Its artefacts are those of the run that has just ended."""
    place.spec(
        """\
envs:
  unit:
    tasks:
      build: {run: "cat /proc/sys/kernel/random/uuid > id; touch odd", outputs: [id], retries: 1}
      first: {run: cat id, needs: [build]}
      test: {run: cat id; test ! -e odd, needs: [build, first]}
"""
    )
    assert place.envtool("test", "--again").status == 0
    same = {log(place, "unit.first"), log(place, "unit.test"), (place.project / "id").read_text()}
    assert len(same) == 1


def test_two_needs_that_differ_in_one_file(place):
    place.spec(
        """\
envs:
  wheel:
    matrix: {python: [a, b]}
    tasks: {build: {run: "echo {{ matrix.python }} > out", outputs: [out]}}
  unit: {tasks: {test: {run: cat out, needs: [build@wheel]}}}
"""
    )
    done = place.envtool("test", "--json")
    assert done.status == 2, done.said
    assert outcomes(done)["unit", "test"] == "error"
    message = done.events[-1]["results"][-1]["message"]
    assert "`build@wheel[a]` and `build@wheel[b]`, which have different files out" in message, message


def test_all_points_of_a_matrix(place):
    place.spec(
        """\
envs:
  wheel:
    matrix: {python: [a, b]}
    tasks: {build: {run: "mkdir -p dist; echo {{ matrix.python }} > dist/{{ matrix.python }}", outputs: [dist]}}
  unit: {tasks: {test: {run: cat dist/a dist/b, needs: [build@wheel]}}}
  one: {tasks: {test: {run: "ls dist", needs: ["build@wheel[b]"]}}}
"""
    )
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert log(place, "unit.test") == "a\nb\n"
    assert log(place, "one.test") == "b\n"


def test_selected_envs_bring_what_they_need(project):
    done = project.envtool("run", "check", "-e", "other", "--json")
    assert outcomes(done) == {("unit", "build"): "passed", ("other", "check"): "passed"}
    assert project.envtool("test", "-e", "other").status == 2, "`test` of `unit` is not selected"


def test_arguments_that_would_reach_a_needed_task(project):
    text = (project.project / "envtool.yaml").read_text()
    project.write("envtool.yaml", text.replace("check:", "build:").replace("cat dist/x.whl", "'echo {{ args }}'"))
    done = project.envtool("build", "--", "-k")
    assert done.status == 2
    assert "task `build` of env `unit` gets the arguments, and another task needs it without them" in done.said
    assert project.envtool("build", "-e", "other", "--", "-k").status == 0


def test_plan_list_why_and_expect_cached(project):
    assert "test (needs build)" in project.envtool("list").out
    (unit, other) = project.envtool("list", "--json").events[0]["envs"]
    assert (unit["needs"], other["needs"]) == ({"test": ["build@unit"]}, {"check": ["build@unit"]})
    plan = project.envtool("plan", "check", "-e", "other", "--json").events[0]
    assert [(env["name"], env["tasks"], env["needs"]) for env in plan["envs"]] == [
        ("unit", ["build"], {}),
        ("other", ["check"], {"check": ["build@unit"]}),
    ]
    assert project.envtool("exec", "unit", "--", "true").status == 0
    (subject,) = project.envtool("why", "other:check", "--json").events[0]["subjects"]
    assert (subject["state"], subject["waits"]) == ("wait", ["build@unit"])
    assert project.envtool("run", "check", "--expect-cached").status == 0
    (subject,) = project.envtool("why", "other:check", "--json").events[0]["subjects"]
    assert subject["state"] == "cached"


def test_a_hostile_task_cannot_change_what_the_next_one_gets(place):
    place.spec(
        """\
envs:
  unit:
    tasks:
      build: {run: "mkdir d; echo good > d/file; ln -s /etc/passwd d/link", outputs: [d]}
      first:
        needs: [build]
        run: |
          for path in /run/envtool/needs/0/d/file d/file; do echo bad > $path || true; done
          rm -rf /run/envtool/needs/0/d || true
      test: {run: "cat d/file; readlink d/link || true", needs: [build, first]}
"""
    )
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert log(place, "unit.test").splitlines()[0] == "good"


def test_verify_names_a_task_that_it_leaves_out(place):
    place.spec(
        """\
envs:
  unit:
    tasks:
      gen: {run: "echo text > text", outputs: [text]}
      build: {run: "cat text > built", outputs: [built], needs: [gen]}
"""
    )
    done = place.envtool("verify", "--build")
    assert done.status != 0
    assert "task `build` of env `unit` needs other tasks: it is not verified" in done.said + done.out

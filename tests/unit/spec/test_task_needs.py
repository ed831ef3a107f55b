"""`needs:` of tasks and `pipeline:`: what they mean, and what is wrong with them, with its place."""

from __future__ import annotations

import pytest

from envtool.errors import SpecError
from envtool.plugins import PluginRegistry
from envtool.spec import load
from envtool.spec.select_envs import select_envs
from tests.unit.spec.conftest import Files, Host, Run

REGISTRY = PluginRegistry(bases={"host": Host()}, layers={"run": Run()}, languages={})


def read(text, *, args=(), **files):
    project = Files({"envtool.yaml": f"version: 1\n{text}", **{f"{name}.yaml": more for name, more in files.items()}})
    return load(project, "envtool.yaml", root="/r", registry=REGISTRY, args=args)


def needs(spec):
    return {(env.name, task.name): task.needs for env in spec.envs for task in env.tasks if task.needs}


def problems(text, **files):
    with pytest.raises(SpecError) as raised:
        read(text, **files)
    return [
        (f"{problem.where.file}:{problem.where.line}", problem.code, problem.message, problem.hint)
        for problem in raised.value.problems
    ]


def test_of_its_own_env_of_another_and_of_a_matrix():
    spec = read(
        """\
envs:
  wheel:
    matrix: {python: ["3.11", "3.12"]}
    tasks:
      build: make {{ matrix.python }}
      test: {run: check, needs: [build]}
  unit:
    matrix: {python: ["3.11"]}
    tasks: {test: {run: check, needs: ["build@wheel[{{ matrix.python }}]"]}}
  all: {tasks: {test: {run: check, needs: [build@wheel, test@unit]}}}
"""
    )
    assert needs(spec) == {
        ("wheel[3.11]", "test"): (("wheel[3.11]", "build"),),
        ("wheel[3.12]", "test"): (("wheel[3.12]", "build"),),
        ("unit[3.11]", "test"): (("wheel[3.11]", "build"),),
        ("all", "test"): (("wheel[3.11]", "build"), ("wheel[3.12]", "build"), ("unit[3.11]", "test")),
    }


def test_names_of_an_included_file_come_first():
    included = "version: 1\nenvs:\n  unit: {tasks: {build: x, test: {run: y, needs: [build@unit, build@top]}}}\n"
    spec = read("include: {api: part.yaml}\nenvs: {unit: {tasks: {build: x}}, top: {tasks: {build: x}}}", part=included)
    assert needs(spec) == {("api/unit", "test"): (("api/unit", "build"), ("top", "build"))}


@pytest.mark.parametrize(
    ("entry", "line", "code", "message", "hint"),
    [
        ("biuld", 6, "unknown-task", "task `test` needs the task `biuld`, which its env does not have", "did you mean `build`?"),
        ("docs", 6, "unknown-task", "task `test` needs the task `docs`, which its env does not have", "write `docs@page`"),
        ("build@uint", 6, "unknown-env", "task `test` needs a task of the unknown env `uint`", "did you mean `unit`?"),
        ("docks@page", 6, "unknown-task", "task `test` needs the task `docks`, which env `page` does not have", "did you mean `docs`?"),
        ("test", 6, "cycle", "task `test` needs itself: test@unit → test@unit", "envtool.yaml:6"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_need(entry, line, code, message, hint):
    ((where, found_code, found, found_hint),) = problems(
        f"""\
envs:
  unit:
    tasks:
      build: make
      test: {{run: check, needs: ["{entry}"]}}
  page: {{tasks: {{docs: make docs}}}}
"""
    )
    assert (where, found_code, found) == (f"envtool.yaml:{line}", code, message)
    assert hint in found_hint


def test_a_cycle_names_all_its_places():
    ((where, code, message, hint),) = problems(
        """\
envs:
  a: {tasks: {one: {run: x, needs: [two@b]}}}
  b: {tasks: {two: {run: x, needs: [three]}, three: {run: x, needs: [one@a]}}}
"""
    )
    assert (code, message) == ("cycle", "task `one` needs itself: one@a → two@b → three@b → one@a")
    assert (where, hint) == ("envtool.yaml:4", "remove one of these `needs`: envtool.yaml:3, envtool.yaml:4")


def test_an_env_that_is_wrong_itself_is_said_once():
    assert [problem[1] for problem in problems(
        "envs:\n  a: {base: nothing, tasks: {build: x}}\n  b: {tasks: {test: {run: x, needs: [build@a]}}}\n"
    )] == ["unknown-base"]  # fmt: skip


def test_selected_envs_and_those_that_they_need():
    spec = read(
        """\
envs:
  a: {tasks: {build: x}}
  b: {tasks: {pack: {run: x, needs: [build@a]}}}
  c: {tasks: {test: {run: x, needs: [pack@b]}}}
  d: {tasks: {test: x}}
"""
    )
    assert [(env.name, env.is_selected) for env in select_envs(spec, ["c"], needed=True).envs] == [
        ("a", False), ("b", False), ("c", True),
    ]  # fmt: skip
    assert [env.name for env in select_envs(spec, ["c"]).envs] == ["c"]


def test_commands_without_the_arguments():
    (env,) = read("envs: {unit: {tasks: {test: 'pytest {{ args }}', lint: ruff}}}", args=("-k", "slow")).envs
    test, lint = env.tasks
    assert (test.commands[0].shell, test.plain_commands[0].shell.strip()) == ("pytest -k slow", "pytest")
    assert lint.plain_commands is None


def test_a_pipeline():
    assert read("pipeline: [lint, test]\nenvs: {unit: {tasks: {test: x, lint: x}}}").pipeline == ("lint", "test")
    assert read("envs: {unit: {tasks: {test: x}}}").pipeline == ()
    assert problems("pipeline: [lint, tset, lint]\nenvs: {unit: {tasks: {test: x, lint: x}}}") == [
        ("envtool.yaml:2", "unknown-task", "no env has the task `tset`", "did you mean `test`?"),
        ("envtool.yaml:2", "duplicate", "`lint` is in the pipeline twice", "remove it"),
    ]
    included = "version: 1\npipeline: [test]\nenvs: {unit: {tasks: {test: x}}}\n"
    assert problems("include: [part.yaml]", part=included) == [
        ("part.yaml:2", "pipeline", "`pipeline` in an included file", "it is of the whole project: write it in envtool.yaml")
    ]  # fmt: skip


def test_outputs_with_when():
    spec = read(
        "envs: {unit: {tasks: {a: {run: x, outputs: {paths: [dist], when: passed}}, b: {run: x, outputs: [c]}}}}"
    )
    a, b = spec.envs[0].tasks
    assert (a.outputs, a.outputs_when, b.outputs_when) == (("dist",), "passed", "always")
    assert spec.envs[0].produced == ("c", "dist")

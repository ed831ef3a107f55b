import os
from types import SimpleNamespace

import pytest

from envtool.app import tasks
from envtool.app.command_request import CommandRequest, find_spec, unknown_task_error
from envtool.app.read_spec import load
from envtool.errors import UsageError
from envtool.spec.select_envs import find_env

SPEC = """\
version: 1
envs:
  unit:
    matrix: {suite: [one, two]}
    tasks: {test: "true {{ matrix.suite }}"}
  lint: {tasks: {lint: "true"}}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "envtool.yaml").write_text(SPEC)
    (tmp_path / "a/b").mkdir(parents=True)
    return tmp_path


def names(project, *patterns):
    return [env.name for env in load(CommandRequest(directory=str(project), envs=patterns)).envs]


def test_the_spec_is_found_upward(project):
    found = find_spec(CommandRequest(directory=str(project / "a/b")))
    assert found == str(project / "envtool.yaml")


def test_no_spec_says_how_to_begin(tmp_path):
    with pytest.raises(UsageError) as caught:
        find_spec(CommandRequest(directory=str(tmp_path)))
    assert caught.value.code == "no-spec"
    assert "envtool init" in caught.value.hint


def test_a_file_as_the_directory_is_named_as_what_it_is(tmp_path):
    (tmp_path / "spec.yaml").write_text("version: 1\n")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="is not a directory") as raised:
        find_spec(CommandRequest(directory=str(tmp_path / "spec.yaml")))
    assert f"-f {tmp_path}/spec.yaml" in raised.value.hint
    with pytest.raises(UsageError, match="is not a directory") as raised:
        find_spec(CommandRequest(directory=str(tmp_path / "fifo")))
    assert not raised.value.hint
    with pytest.raises(UsageError, match="no directory"):
        find_spec(CommandRequest(directory=str(tmp_path / "nothing")))


def test_envs_are_chosen_by_name_group_or_glob(project):
    assert names(project) == ["unit[one]", "unit[two]", "lint"]
    assert names(project, "unit") == ["unit[one]", "unit[two]"]
    assert names(project, "unit[one]") == ["unit[one]"]
    assert names(project, "*two]", "lint") == ["unit[two]", "lint"]


def test_an_unknown_env_suggests_the_near_one(project):
    with pytest.raises(UsageError) as caught:
        names(project, "unti")
    assert caught.value.hint == "did you mean `unit`?"


def test_exec_wants_one_point_of_a_matrix(project):
    spec = load(CommandRequest(directory=str(project)))
    with pytest.raises(UsageError) as caught:
        find_env(spec, "unit")
    assert caught.value.code == "env-ambiguous"
    assert find_env(spec, "unit[two]").name == "unit[two]"
    assert find_env(spec, "lint").name == "lint"


@pytest.mark.parametrize(("number", "tail"), [(3, ""), (4, "; and for 1 more reason"), (5, "; and for 2 more reasons")])
def test_reasons_that_are_not_named_are_counted(number, tail):
    context = SimpleNamespace(unremembered={f"reason {index}": {f"env task{index}"} for index in range(number)})
    text = tasks._describe_uncached([], [], context)
    assert text.endswith(f"(reason 2){tail}")


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("lint", "`lint` is an env: `-e lint`"),
        ("unit[one]", "`unit[one]` is an env: `-e 'unit[one]'`"),
        ("unit*", "`unit*` is an env: `-e 'unit*'`"),
        ("unit[one]:test", "`unit[one]:test` is a task: `envtool run test -e 'unit[one]'`"),
        ("unit:test", "`unit:test` is a task: `envtool run test -e unit`"),
        ("tets", "did you mean `test`?"),
        ("nothing", "`envtool list` shows envs and their tasks"),
    ],
)
def test_an_env_in_the_place_of_a_task(project, task, hint):
    spec = load(CommandRequest(directory=str(project)))
    assert unknown_task_error(spec, task).hint == hint

from __future__ import annotations

import pytest

from envtool.model import BaseSpec, Command, Env, Task, Where
from envtool.plan.output_clashes import WrittenOutputs, find_output_clashes, find_overwritten_outputs

HERE = Where(file="envtool.yaml", line=1, column=1)
BASE = BaseSpec(name="base", kind="tarball", options=None, where=HERE)


def pair(env, *outputs, task="build"):
    made = Task(name=task, commands=(Command(shell="true"),), where=HERE, outputs=outputs)
    return Env(name=env, group=env, base=BASE, layers=(), tasks=(made,), where=HERE), made


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("dist/app", "dist/app", True),
        ("dist", "dist/", True),
        ("dist/*", "dist/app", True),
        ("dist", "dist/a/b", True),
        ("dist/**", "dist/a/*.whl", True),
        ("report-?.xml", "report-1.xml", True),
        ("dist/*.whl", "dist/*.tar.gz", False),
        ("dist/a/*", "dist/b/*", False),
        ("dist", "distant", False),
        ("a.xml", "b.xml", False),
    ],
)
def test_which_outputs_can_be_the_same_file(one, other, meet):
    assert bool(find_output_clashes([pair("a", one), pair("b", "elsewhere", other)])) is meet
    assert bool(find_output_clashes([pair("a", other), pair("b", one)])) is meet


def test_it_is_said_once_with_names():
    said = find_output_clashes([pair(name, "dist/*", "report.xml") for name in ("a", "b", "c", "d")])
    assert len(said) == 1
    assert said[0].startswith("`build` of a, b and 2 more can write the same file (outputs: dist/*)")
    assert not find_output_clashes([pair("a", "dist", "dist"), pair("b", "dist", task="test")]), (
        "other tasks run at other times"
    )


def written(env, task="build", **files):
    return WrittenOutputs(env=env, task=task, files={name.replace("_", "."): file for name, file in files.items()})


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ([written("a", app="1"), written("b", app="1")], ""),
        ([written("a", app="1"), written("b", lib="2")], ""),
        ([written("a", app="1"), written("b", app="2", task="test")], ""),
        ([written("a", app="1")], ""),
        ([written("a", app="1"), written("b", app="2")], "`build` of a and b wrote different files to app: the project has"),
        ([written("a", app="1"), written("b", app="")], "`build` of a and b wrote a file to app: the project has"),
        ([written("a", app=""), written("b", app="")], "`build` of a and b wrote a file to app: the project has"),
        (
            [written("a", x="1", y="1", z="1"), written("b", x="2", y="2", z="1")],
            "`build` of a and b wrote different files to x and 1 more: the project has",
        ),
        ([written(env, app=env) for env in "abcd"], "`build` of a, b and 2 more wrote different files to app: the"),
    ],
)  # fmt: skip
def test_what_was_overwritten(tasks, sentence):
    sentences = find_overwritten_outputs(tasks)
    assert [text.startswith(sentence) for text in sentences] == ([True] if sentence else [])
    assert all("each run writes it again" in text for text in sentences) or "a file" in sentence

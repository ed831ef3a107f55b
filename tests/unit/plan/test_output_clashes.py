from __future__ import annotations

import pytest

from envtool.model import BaseSpec, Command, Env, Task, Where
from envtool.plan.output_clashes import find_output_clashes

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

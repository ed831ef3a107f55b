"""Which envs a name or pattern means: the same for `-e`, `why`, `verify` and `exec`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool.api import Kind
from envtool.errors import UsageError, near_name_hint
from envtool.fs.globs import matches_name
from envtool.model import BaseSpec, Command, Env, LayerSpec, Spec, Task, Where
from envtool.plan.graph import build_graph
from envtool.plan.selection import select_subjects
from envtool.plugins import PluginRegistry
from envtool.spec.select_envs import env_names, env_option_hint, find_env, layer_warnings, matching_envs, select_envs
from envtool.verify import selection

HERE = Where(file="envtool.yaml", line=1, column=1)


class Box(Kind):
    name = "box"
    schema = {}


def env(name):
    return Env(
        name=name, group=name.partition("[")[0], base=BaseSpec(name="base", kind="box", options=name, where=HERE),
        layers=(), tasks=(Task(name="build", commands=(Command(shell="true"),), where=HERE),), where=HERE,
    )  # fmt: skip


NAMES = ("unit[bookworm]", "unit[trixie]", "api/unit[a,b]", "lint", "lint2", "py3.12")
SPEC = Spec(file="envtool.yaml", root="/", envs=tuple(map(env, NAMES)), bases={}, layers={}, read=())
GRAPH = build_graph(SPEC, PluginRegistry(bases={"box": Box()}, layers={"box": Box()}))

MEANT = {
    "lint": ["lint"],
    "unit": ["unit[bookworm]", "unit[trixie]"],
    "unit[trixie]": ["unit[trixie]"],
    "*[t*": ["unit[trixie]"],
    "un?t": ["unit[bookworm]", "unit[trixie]"],  # a glob means groups too
    "*unit": ["unit[bookworm]", "unit[trixie]", "api/unit[a,b]"],
    "api/*": ["api/unit[a,b]"],
    "lint?": ["lint2"],
    "py3.12": ["py3.12"],
    "*": [*NAMES],
    "unit[bt]": [],  # brackets are plain characters
    "py3?1": [],
    "LINT": [],
    "": [],
    "unit[": [],
    "lint ": [],
}


@pytest.mark.parametrize("pattern", MEANT)
def test_a_pattern_means_the_same_everywhere(pattern):
    meant = MEANT[pattern]
    assert [env.name for env in matching_envs(SPEC, pattern)] == meant
    if meant:
        assert [env.name for env in select_envs(SPEC, (pattern,)).envs] == meant
        assert [env.name for env, _ in selection.select_tasks(SPEC, (pattern,))] == meant
        assert [env.name for env, _ in select_subjects(SPEC, GRAPH, (f"{pattern}:build",)).tasks] == meant
        assert [target.env for target in selection.select_layers(SPEC, GRAPH, (pattern,))] == meant
    else:
        for select in (lambda: select_envs(SPEC, (pattern,)), lambda: selection.select_tasks(SPEC, (pattern,))):
            with pytest.raises(UsageError) as caught:
                select()
            assert caught.value.code == "no-env"
            assert f"no env `{pattern}`" in caught.value.message


def test_envs_keep_the_order_of_the_spec_and_come_once():
    assert [env.name for env in select_envs(SPEC, ("lint", "unit[trixie]", "*t*")).envs] == [
        name for name in NAMES if "t" in name
    ]
    assert select_envs(SPEC, ()) is SPEC


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lnt", "`lint`"), ("unti", "`unit`"), ("unit[trixi]", "`unit[trixie]`"), ("zzzz", "envs: unit[bookworm], ")],
)
def test_a_name_that_no_env_has_is_told_the_near_one(name, hint):
    for find in (lambda: find_env(SPEC, name), lambda: select_envs(SPEC, (name,))):
        with pytest.raises(UsageError) as caught:
            find()
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("build", "`build` is a task of `unit[bookworm]`, `unit[trixie]`, `api/unit[a,b]`, `lint`, `lint2`, `py3.12`"),
        ("lint:build", "`lint:build` is a task of the env `lint`"),
        ("unit:build", "`unit:build` is a task of the env `unit`"),
        ("env:lint", "did you mean `lint`?"),
        ("base", "`base` is the base of `unit[bookworm]`, "),
        ("tools", "`tools` is a layer of `lint`"),
        ("tool", "envs: "),
    ],
)
def test_a_name_that_means_something_else_is_told_what(name, hint):
    tools = LayerSpec(name="tools", kind="box", options=None, where=HERE)
    spec = replace(SPEC, envs=tuple(replace(e, layers=(tools,)) if e.name == "lint" else e for e in SPEC.envs))
    for find in (
        find_env,
        lambda spec, name: select_envs(spec, (name,)),
        lambda spec, name: selection.select_tasks(spec, (name,)),
    ):
        with pytest.raises(UsageError) as caught:
            find(spec, name)
        assert caught.value.hint.startswith(hint)


def test_verify_says_that_a_name_is_a_task():
    with pytest.raises(UsageError) as caught:
        selection.select_layers(SPEC, GRAPH, ("build",))
    assert caught.value.hint.startswith("`build` is a task of ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lint"], "`lint` is an env: `-e lint`"),
        (["unit"], "`unit` is an env: `-e unit`"),
        (["unit[trixie]"], "`unit[trixie]` is an env: `-e 'unit[trixie]'`"),
        (["lint", "py*"], "`lint`, `py*` are envs: `-e lint -e 'py*'`"),
        (["lint", "nope"], ""),
        (["lnt"], "did you mean `-e lint`?"),
        (["build"], "`build` is a task: `envtool run build`"),
        (["unit:build"], "`unit:build` is a task: `envtool run build -e unit`"),
        (["unit:nope"], ""),
        (["tests/test_x.py"], ""),
        ([], ""),
    ],
)
def test_words_that_a_verb_has_no_place_for(words, hint):
    assert env_option_hint(SPEC, words) == hint


def test_a_name_that_nothing_has_is_told_all_the_same():
    for known, hint, told in (
        (["python", "deps"], "", "did you mean `python`?"),
        (["deps"], "", "there are deps"),
        ([], "", ""),
        (["deps"], "see `envtool list`", "see `envtool list`"),
        ([f"{n:03}" for n in range(99)], "", f"there are {', '.join(f'{n:03}' for n in range(12))}"),
    ):
        assert near_name_hint("pyton", known, hint) == told


def test_a_pattern_that_is_a_name_matches_it_whatever_it_has():
    assert matches_name("a*[b", "a*[b")
    assert not matches_name("a", "")
    assert env_names(SPEC.envs)[: len(NAMES)] == [*NAMES]


def test_each_warning_of_layers_has_the_first_env_with_it():
    def warned(name, *warnings):
        layers = [LayerSpec(name=text, kind="box", options={}, where=HERE, warning=text) for text in warnings]
        return replace(env(name), layers=tuple(layers))

    envs = (warned("a", "", "old"), warned("b", "old", "older"), warned("c"))
    assert layer_warnings(envs) == ("env `a`: old", "env `b`: older")

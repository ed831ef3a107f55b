"""The graph of a run: what is in it, in which order, and who gets the arguments."""

from __future__ import annotations

import pytest

from envtool.errors import UsageError
from envtool.model import BaseSpec, CacheUse, Command, Env, Limit, Spec, Task, Where
from envtool.plan.task_graph import make_task_graph, warn_of_unread_args
from envtool.report.formatting import describe_settings

HERE = Where(file="envtool.yaml", line=1, column=1)
BASE = BaseSpec(name="base", kind="host", options=None, where=HERE)


def task(name, *needs, **more):
    return Task(name=name, commands=(Command(shell=name),), where=HERE, needs=needs, **more)


def spec(**envs):
    return Spec(
        file="envtool.yaml", root="/r", bases={}, layers={}, read=(),
        envs=tuple(Env(name=name, group=name, base=BASE, layers=(), tasks=tuple(tasks), where=HERE,
                       is_selected=not name.startswith("other")) for name, tasks in envs.items()),
    )  # fmt: skip


def test_needed_ones_come_first_and_once():
    graph = make_task_graph(
        spec(
            a=[task("test", ("b", "build"), ("a", "lint")), task("lint")],
            b=[task("test", ("b", "build")), task("build", ("other", "gen"))],
            other=[task("gen"), task("test")],
        ),
        ("test",),
    )
    assert list(graph.nodes) == [("other", "gen"), ("b", "build"), ("a", "lint"), ("a", "test"), ("b", "test")]
    assert [node.is_named for node in graph.nodes.values()] == [False, False, False, True, True]
    assert [node.is_needed for node in graph.nodes.values()] == [True, True, True, False, False]
    assert graph.has_needs


def test_several_names_and_no_needs():
    graph = make_task_graph(spec(a=[task("test"), task("lint")], b=[task("test")]), ("lint", "test"))
    assert list(graph.nodes) == [("a", "lint"), ("a", "test"), ("b", "test")]
    assert not graph.has_needs
    assert make_task_graph(spec(a=[task("test")]), ("absent",)).nodes == {}


def test_arguments_are_for_what_is_named():
    build = task("build", uses_args=True, plain_commands=(Command(shell="plain"),))
    graph = make_task_graph(spec(a=[build, task("test", ("a", "build"))]), ("test",), ("-k",))
    assert [node.task.commands[0].shell for node in graph.nodes.values()] == ["plain", "test"]
    assert make_task_graph(spec(a=[build]), ("build",), ("-k",)).nodes["a", "build"].task.commands[0].shell == "build"
    both = spec(a=[build], b=[task("build", ("a", "build"))])
    with pytest.raises(UsageError) as raised:
        make_task_graph(both, ("build",), ("-k",))
    assert raised.value.code == "task-arguments"
    assert len(make_task_graph(both, ("build",)).nodes) == 2


def test_arguments_that_no_command_reads_have_no_effect():
    reads = task("test", uses_args=True)
    only_needed = spec(a=[task("test", ("a", "gen")), task("gen", uses_args=True)], b=[task("test")])
    text = warn_of_unread_args(make_task_graph(only_needed, ("test",), ("-k",)))
    assert text.startswith("the arguments after `--` have no effect: task `test` of env `a` (")
    assert text.endswith(") has no `{{ args }}` in its command")
    assert warn_of_unread_args(make_task_graph(spec(a=[task("test")], b=[reads]), ("test",), ("-k",))) == ""


def test_a_long_chain():
    tasks = [task("t0"), *(task(f"t{number}", ("a", f"t{number - 1}")) for number in range(1, 3000))]
    assert len(make_task_graph(spec(a=tasks[:1], b=[]), ("t0",)).nodes) == 1
    graph = make_task_graph(spec(a=tasks), ("t2999",))
    assert (len(graph.nodes), next(iter(graph.nodes))) == (3000, ("a", "t0"))


def test_in_words():
    assert describe_settings(task("t", ("a", "build"), ("b", "gen")), "a") == " (needs build, gen@b)"
    assert describe_settings(task("t"), "a") == ""
    whole = task(
        "t", ("a", "build"), inputs="observed", retries=2, caches=(CacheUse("/root/.cache", HERE),),
        limits={"memory": Limit(2 << 30), "cpus": Limit(1.5), "time": Limit(90.0), "pids": Limit(500)},
    )  # fmt: skip
    told = " (needs build; observed inputs; 2 retries; caches /root/.cache; limits memory 2 GiB, cpus 1.5, time 90s, pids 500)"
    assert describe_settings(whole, "a") == told
    assert describe_settings(task("t", retries=1), "a") == " (1 retry)"

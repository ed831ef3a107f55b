"""Services' stacks are selected, planned and listed beside those of envs."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.cli import tables
from envtool.cli.plan_text import format_plan
from envtool.errors import UsageError
from envtool.plan.graph import build_graph
from envtool.plan.plan import PlannedNode, make_plan
from envtool.plan.selection import envs_of, select_subjects
from envtool.plugins import PluginRegistry
from envtool.report.formatting import Style
from envtool.spec import load
from envtool.spec.select_envs import find_env, find_stack, matching_stacks, select_envs, stack_names
from envtool.verify.selection import select_layers, select_tasks


class Box(api.Base):
    name = "box"
    schema = {}


REGISTRY = PluginRegistry(bases={"box": Box()}, layers={"box": Box()})
TEXT = """\
version: 1
services:
  db: {base: {box: "{{ matrix.v }}"}, layers: [{box: sql}], command: serve, ready: 80, provides: {URL: x}}
  web: {base: {box: nginx}, command: serve, ready: 80, needs: [db], replicas: 2}
  cache: {base: {box: redis}, command: serve, ports: [6379]}
  free: {base: {box: spare}, command: serve, ready: 80}
envs:
  unit:
    base: {box: debian}
    matrix: {v: [one, two]}
    services: [db]
    tasks: {test: x, load: {run: x, services: [web]}, build: x}
  lint: {base: {box: debian}, tasks: {lint: x, deep: {run: x, services: [cache]}}}
"""
SPEC = load(testing.MemoryProject({"envtool.yaml": TEXT}), "envtool.yaml", root="/p", registry=REGISTRY)
GRAPH = build_graph(SPEC, REGISTRY)
NODES = {node_id: PlannedNode(action="build", key=node_id) for node_id in GRAPH.nodes}
STACKS = ["service:db of unit[one]", "service:web", "service:db of unit[two]", "service:cache", "service:free"]


def test_each_service_has_a_stack_of_the_graph():
    assert [*GRAPH.stacks] == ["unit[one]", "unit[two]", "lint", *STACKS]
    owners = {tuple(envs) for envs in envs_of(GRAPH).values()}
    assert ("service:cache",) in owners


def test_selected_envs_have_their_services_only():
    def stacks(*names):
        return [*build_graph(select_envs(SPEC, names), REGISTRY).stacks]

    assert stacks("lint") == ["lint", "service:cache"]
    assert stacks("unit[two]") == ["unit[two]", "service:db of unit[two]", "service:web"]
    assert [service.name for service in select_envs(SPEC, ["lint"]).services] == ["cache"]
    assert [service.name for service in SPEC.services] == ["cache", "free"]  # the others have a template, or need one


def test_a_task_has_its_own_stacks():
    env = find_env(SPEC, "unit[one]")
    named = {task.name: stack_names(env, task) for task in env.tasks}
    assert named["test"] == ("unit[one]", "service:db of unit[one]")
    assert named["load"] == ("unit[one]", "service:db of unit[one]", "service:web")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("service:cache", "service:cache"),
        ("service:db of unit[two]", "service:db of unit[two]"),
        ("lint", "lint"),
    ],
)
def test_a_stack_has_a_name(name, found):
    assert find_stack(SPEC, name).name == found


def test_a_stack_that_differs_between_envs_needs_its_whole_name():
    with pytest.raises(
        UsageError, match="`service:db` differs between envs: say which of `service:db of unit"
    ) as caught:
        find_stack(SPEC, "service:db")
    assert caught.value.code == "env-ambiguous"
    assert [env.name for env in matching_stacks(SPEC, "service:db")] == [STACKS[0], STACKS[2]]
    with pytest.raises(UsageError) as caught:
        find_env(SPEC, "cache")
    assert caught.value.hint == "`cache` is a service of `lint`: its stack is `service:cache`"


def why(*names):
    selected = select_subjects(SPEC, GRAPH, names)
    return [GRAPH.nodes[node_id].spec.name for node_id in selected.nodes], [task.name for _, task in selected.tasks]


def test_why_and_verify_know_them():
    assert why("service:cache") == (["box:redis"], [])
    assert why("service:db") == (["box", "box", "box", "box"], [])
    assert why("service:*")[0] == ["box", "box", "box:nginx", "box", "box", "box:redis", "box:spare"]
    assert why("lint:deep")[1] == ["deep"]
    with pytest.raises(UsageError) as caught:
        why("service:cahce")
    assert caught.value.hint == "did you mean `service:cache`?"
    (target,) = select_layers(SPEC, GRAPH, ["service:cache"])
    assert (target.name, target.env) == ("box:redis", "service:cache")
    assert len(select_layers(SPEC, GRAPH, [])) == len(GRAPH.nodes)
    with pytest.raises(UsageError) as caught:
        select_layers(SPEC, GRAPH, ["cache"])
    assert "its stack is `service:cache`" in caught.value.hint
    assert [task.name for _, task in select_tasks(SPEC, [])] == ["build", "build"]


def test_a_plan_has_the_services_of_its_tasks():
    def services(verb=""):
        return [planned.name for planned in make_plan(SPEC, GRAPH, NODES, verb).services]

    assert services() == STACKS
    assert services("test") == [STACKS[0], STACKS[2]]
    assert services("load") == STACKS[:3]
    assert services("lint") == []
    assert services("deep") == ["service:cache"]


def test_what_plan_prints():
    text = format_plan(make_plan(SPEC, GRAPH, NODES, "deep"), Style())
    assert text == (
        "lint  deep\n  build   base  box:debian  box\n\nservice:cache\n  build   base  box:redis   box\n\n2 to build"
    )
    document = tables.plan_json(make_plan(SPEC, GRAPH, NODES, "deep"))
    assert [env["name"] for env in document["envs"]] == ["lint"]
    (service,) = document["services"]
    assert (service["name"], service["tasks"], service["rounds"]) == ("service:cache", [], 1)
    assert [step["name"] for step in service["steps"]] == ["box:redis"]


def test_what_list_prints():
    lint = select_envs(SPEC, ["lint", "unit[one]"])
    assert tables.format_envs(lint, Style()).splitlines() == [
        "env        base              layers  tasks              services",
        "unit[one]  box:debian (box)  -       test, load, build  db, web",
        "lint       box:debian (box)  -       lint, deep         cache",
        "",
        "service          base             layers  kind  needs",
        "db of unit[one]  box              box     -     -",
        "web              box:nginx (box)  -       -     db",
        "cache            box:redis (box)  -       -     -",
    ]
    assert "  services  cache" in tables.format_envs(lint, Style(), columns=30).splitlines()


def test_what_list_prints_as_json():
    document = tables.envs_json(select_envs(SPEC, ["unit[one]"]))
    (env,) = document["envs"]
    assert env["services"] == [STACKS[0], "service:web"]
    db, web = document["services"]
    assert db == {
        "name": "db", "host": "db", "kind": "", "stack": STACKS[0], "base": {"name": "box", "kind": "box"},
        "layers": [{"name": "box", "kind": "box"}], "needs": [], "once": False, "replicas": 1, "ports": [],
        "provides": ["URL"], "where": "envtool.yaml:3:3",
    }  # fmt: skip
    assert (web["needs"], web["replicas"]) == (["db"], 2)

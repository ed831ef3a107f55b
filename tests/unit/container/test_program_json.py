"""A container as JSON: whoever reads it has the same container."""

from __future__ import annotations

import json
import marshal
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import api
from envtool.build.recipe_steps import to_container_steps
from envtool.container import program as values
from envtool.container import program_json
from envtool.container.program import (
    ContainerStep,
    ContainerVariation,
    PeekMount,
    Program,
    ProjectMount,
    Root,
    TextMount,
)
from envtool.container.program_json import from_json, to_json
from envtool.errors import SandboxError
from envtool.kinds.builtin import envtool_layer_kinds
from envtool.model import Command, Limit
from tests.unit.container.test_rootfs_operations import programs

TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(["", "a\udc80b", "type", "base64"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(TEXT | st.sampled_from(["type", "base64"]), below, max_size=3)
    ),
    max_leaves=6,
)
STEPS = st.builds(
    ContainerStep,
    argv=st.lists(TEXT, max_size=3).map(tuple),
    env=st.dictionaries(TEXT, TEXT, max_size=3),
    cwd=TEXT,
    user=TEXT,
    bare=st.booleans(),
) | st.builds(
    ContainerStep,
    call=TEXT.filter(bool),
    arguments=st.lists(JSON, max_size=3).map(tuple),
    functions=st.lists(TEXT, max_size=2).map(tuple),
    prepare=st.lists(TEXT, max_size=2).map(tuple),
    counts=st.integers(0, 9),
)


@given(
    programs(), st.lists(STEPS, max_size=3).map(tuple), st.binary(max_size=9), st.dictionaries(TEXT, TEXT, max_size=2),
    st.none() | st.builds(ContainerVariation, order=st.sampled_from(["", "backward"]), pids=st.integers(0, 9)),
    st.none() | st.floats(0, 1e6),
)  # fmt: skip
def test_there_and_back(program, steps, content, env, vary, timeout):
    shown = (*program.mounts, TextMount(target="/s", content=content), PeekMount(tree="/t", path="p", target="/x"))
    whole = replace(program, steps=steps, mounts=shown, env=env, vary=vary, timeout=timeout)
    text = json.dumps(json.loads(to_json(whole)))  # as any other program reads and writes it
    again = from_json(text)
    assert again == whole
    assert again.to_dict() == whole.to_dict()
    assert marshal.loads(marshal.dumps(whole.to_dict())) == whole.to_dict()


def test_every_value_of_a_container_is_known():
    kinds = {
        value for value in vars(values).values() if isinstance(value, type) and value.__module__ == values.__name__
    }
    assert set(program_json.TYPES.values()) == kinds
    raw = {
        field.name
        for kind in kinds
        for field in fields(kind)
        if "Mapping" in str(field.type) or "Json" in str(field.type)
    }
    assert raw == {*program_json._JSON, "limits"}


def test_limits_stay():
    program = values.Program(
        root=values.Root(lowers=("/x",)), steps=(), limits={"memory": Limit(2.0**31, "envtool.yaml:3:4", True)}
    )
    assert program_json.from_json(program_json.to_json(program)) == program


STEP = api.Run(command=Command(argv=("true",)))
LAYER = (
    api.Unpack(name="a.tar", target="/opt", strip=1),
    api.Place(source="/project/x", target="/x", mode=0o600),
    STEP,
)


@pytest.mark.parametrize("name", ["task", "unpack and place", "run in place"])
def test_containers_of_ours(name):
    if name == "task":
        steps = (ContainerStep(argv=("pytest",), cwd="/project"),)
    elif name == "run in place":
        (run,) = [kind for kind in envtool_layer_kinds() if kind.name == "run"]
        request = api.Request(
            name="x", options={"run": "make", "in_place": True, "inputs": ["a"]}, inputs=(), where=api.Where(file="e", line=1, column=1),
            arch="x86_64", epoch=1, base_kind="debian", base_pins=None,
        )  # fmt: skip
        steps = to_container_steps(run.build(request, None).steps)
        assert [bool(step.call) for step in steps] == [True, False, True]
    else:
        steps = to_container_steps(LAYER)
    program = Program(root=Root(lowers=("/a",), upper="/u", work="/w"), steps=steps, project=ProjectMount(source="/p"))
    assert from_json(to_json(program)).to_dict() == program.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        lambda document: "no JSON",
        lambda document: [],
        lambda document: {},
        lambda document: document | {"format": 0},
        lambda document: document | {"program": document["program"] | {"more": 1}},
        lambda document: document | {"program": document["program"] | {"type": "Popen"}},
        lambda document: document | {"program": document["program"]["root"]},
        lambda document: document | {"program": {"base64": "?"}},
        lambda document: document | {"program": {"type": "Program"}},
    ],
)
def test_any_other_text_is_refused(change):
    program = Program(root=Root(), steps=())
    document = change(json.loads(to_json(program)))
    with pytest.raises(SandboxError) as found:
        from_json(document if isinstance(document, str) else json.dumps(document))
    assert found.value.code == "program-format"

"""devcontainer.json: by the rules of the published schema, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema_rs
import pytest

from envtool.images import devcontainer
from envtool.model import BaseSpec, Env, Where

HERE = Where(file="envtool.yaml", line=1, column=1)
ENV = Env(
    name="unit[trixie]",
    group="unit",
    base=BaseSpec(name="b", kind="tarball", options={}, where=HERE),
    layers=(),
    tasks=(),
    where=HERE,
    passed=("TOKEN", "MY_*"),
    workdir="web",
)
COMMAND = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}]}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# What devContainer.base.schema.json (containers.dev) says of the keys that we write; others are not allowed there either
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "dependentRequired": {"workspaceMount": ["workspaceFolder"]},
    "properties": {
        "name": {"type": "string"},
        "image": {"type": "string"},
        "workspaceMount": {"type": "string"},
        "workspaceFolder": {"type": "string"},
        "remoteUser": {"type": "string"},
        "updateRemoteUserUID": {"type": "boolean"},
        "userEnvProbe": {"enum": ["none", "loginShell", "loginInteractiveShell", "interactiveShell"]},
        "overrideCommand": {"type": "boolean"},
        "initializeCommand": COMMAND,
        "onCreateCommand": COMMAND,
        "containerEnv": TEXTS,
    },
}


def read(env=ENV, *, spec="envtool.yaml", image="localhost/unit:trixie", user="envtool", mounts=()):
    text = devcontainer.render_devcontainer(env, spec=spec, image=image, user=user, mounts=mounts)
    first, _, rest = text.partition("\n")
    assert first.startswith(devcontainer.MARK)
    found = json.loads(rest)
    jsonschema_rs.validator_for(SCHEMA).validate(found)
    return found


def test_a_local_image_is_made_by_whoever_opens_it():
    found = read()
    assert found["initializeCommand"] == "envtool export 'unit[trixie]' --tag localhost/unit:trixie | docker load"
    assert found["image"] == "localhost/unit:trixie"
    assert found["workspaceMount"].endswith("target=/project,type=bind")
    assert found["workspaceFolder"] == "/project/web"
    assert found["containerEnv"] == {"TOKEN": "${localEnv:TOKEN}"}
    assert read(spec="ci.yaml")["initializeCommand"].startswith("envtool -f ci.yaml export ")


def test_an_image_of_a_registry_is_used_as_it_is():
    name = f"registry.example/unit:1@sha256:{'0' * 64}"
    found = read(image=name, user="node")
    assert found["image"] == name
    assert found["remoteUser"] == "node"
    assert "initializeCommand" not in found


def test_directories_deep_in_the_project_are_linked_where_there_are_none():
    mounts = [("/opt/n/node_modules", "/project/node_modules"), ("/opt/w x", "/project/web/node_modules")]
    command = read(mounts=mounts)["onCreateCommand"]
    assert command == "{ [ -e /project/web/node_modules ] || ln -s '/opt/w x' /project/web/node_modules; }"
    assert "onCreateCommand" not in read(mounts=mounts[:1])  # found beside the project


@pytest.mark.parametrize("passed", [(), ("MY_*",)])
def test_nothing_is_let_through_that_has_no_name(passed):
    assert "containerEnv" not in read(replace(ENV, passed=passed))

"""`init --from devcontainer.json`: the base, variables, and what commands install; the rest is named with its line."""

from __future__ import annotations

import json

import pytest

NAME = ".devcontainer/devcontainer.json"
FILES = {"package.json": '{"name": "x"}', "r.txt": "six\n", ".devcontainer/Dockerfile": "FROM alpine:3.20\n"}


def test_comments_and_last_commas_are_read_as_the_editor_does(take):
    text = '{\n  // why, "not": 1\n  "image": "a.b/c:1", /* x, */\n  "containerEnv": {"A": "1, }", "B": "//",},\n}\n'
    env = take(NAME, text).env
    assert env == {"base": {"image": "a.b/c:1"}, "set": {"A": "1, }", "B": "//"}}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"build": {"dockerfile": "Dockerfile", "context": ".."}}, {"base": {"dockerfile": {"context": ".", "file": ".devcontainer/Dockerfile"}}}),
        ({"image": "x", "postCreateCommand": "npm ci && pip install -r r.txt"},
         {"base": {"image": "x"}, "language": "node", "layers": [{"pip": {"requirements": ["r.txt"]}}]}),
        ({"image": "x", "postCreateCommand": ["pip", "install", "-e", ".[test]"]},
         {"language": "python", "install": "editable", "extras": ["test"]}),
        ({"image": "x", "onCreateCommand": {"a": "sudo apt-get update", "b": "sudo apt-get install -y jq"}}, {"layers": [{"apt": ["jq"]}]}),
    ],
)  # fmt: skip
def test_what_is_taken_over(take, keys, expected):
    env = take(NAME, json.dumps(keys), FILES).env
    assert {key: env.get(key) for key in expected} == expected


def test_what_an_env_has_no_place_for_is_named_with_its_line(take):
    document = {
        "image": "x", "features": {"ghcr.io/devcontainers/features/go:1": {}}, "forwardPorts": [1],
        "customizations": {}, "postCreateCommand": "make setup", "remoteEnv": {"T": "${localEnv:T}"}, "other": 1,
    }  # fmt: skip
    taken = take(NAME, json.dumps(document, indent=1))
    assert taken.env == {"base": {"image": "x"}}
    assert [line.partition(":")[0] for line in taken.said("left-out")] == [
        "10 postCreateCommand", "11 remoteEnv", "3 features", "6 forwardPorts", "14 other",
    ]  # fmt: skip
    assert taken.said("meaningless") == ["9 customizations: an env has no editor"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("{}", "neither an image nor a Dockerfile"),
        ('{"image": 1}', "neither an image nor a Dockerfile"),
        ('{"image": "${localEnv:X}"}', "a variable of the editor"),
        ('{"dockerComposeFile": "x"}', "those of a compose file"),
        ('{"build": {"dockerfile": "../../x"}}', "not in the project"),
        ('{"build": {"dockerfile": "x", "args": {}}}', "options of `build`"),
        ('{"image": "x", "containerEnv": {"A": "\\u0001"}}', "control characters"),
        ('{"image": "x", "a": ' + "[" * 100_000, "nested too deep"),
        ('{"image": "x", "a": 1' + "0" * 10_000 + "}", "number too long"),
        ("/*" * 400_000, "it is not JSON"),
        (",/**/" * 150_000, "it is not JSON"),
        (" " * (1 << 20) + "{}", "larger than 1 MiB"),
        ('"' + '\\"' * 500_000, "it is not JSON"),  # a text without an end, tried once
        ("{" + ", ".join(f'"k{number}": 1' for number in range(201)) + "}", "more than 200 keys"),
    ],
    ids=range(16),
)
def test_what_is_wrong_or_hostile_is_an_error_with_its_place(errors, text, message):
    (error,) = errors(NAME, text)
    assert error.startswith(f"{NAME}:")
    assert message in error


@pytest.mark.parametrize("command", ["echo " + "x" * 10_000, ["echo", 1], {"a": ["echo", None]}, 7])
def test_a_command_that_is_none_or_too_long_is_named(take, command):
    """It was cut, so that a part of it counted."""
    taken = take(NAME, json.dumps({"image": "x", "postCreateCommand": command}, indent=1))
    assert taken.said("left-out") == ["3 postCreateCommand: it is no command of at most 10,000 characters"]

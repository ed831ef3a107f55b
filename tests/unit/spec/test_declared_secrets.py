"""`secrets:` of a spec: what tasks, services and layers get, and each error with its place."""

from __future__ import annotations

import pytest

from envtool.errors import SpecError
from envtool.model import SecretPlace
from envtool.plugins import discover
from envtool.spec import load
from envtool.spec.select_envs import secret_names
from envtool.testing import MemoryProject

TOP = """\
version: 1
secrets:
  token: {}
  key: {env: API_KEY}
  both: {env: BOTH, target: /root/.both}
  soft: {optional: true}
"""
HERE = "envs: {{unit: {{base: host, tasks: {{test: {{run: x, secrets: [{names}]}}}}}}}}\n"


def read(text, **files):
    return load(MemoryProject({"envtool.yaml": text, **files}), "envtool.yaml", root="/p", registry=discover())


def problems(text, **files):
    with pytest.raises(SpecError) as caught:
        read(text, **files)
    return [
        (f"{problem.where.line}:{problem.where.column}", problem.message, problem.hint)
        for problem in caught.value.problems
    ]


def test_a_task_gets_those_that_it_names():
    spec = read(TOP + HERE.format(names="token, key, both, soft"))
    uses = spec.envs[0].tasks[0].secrets
    assert [use.place for use in uses] == [
        SecretPlace("token", "/run/secrets/token", ""),
        SecretPlace("key", "", "API_KEY"),
        SecretPlace("both", "/root/.both", "BOTH"),
        SecretPlace("soft", "/run/secrets/soft", ""),
    ]
    assert [use.optional for use in uses] == [False, False, False, True]
    assert str(uses[1].where) == "envtool.yaml:7:67"


def test_a_layer_has_their_places_and_no_value_in_its_options():
    spec = read(TOP + "layers: {l: {run: x, secrets: [key]}}\nenvs: {unit: {layers: [l, {run: y}]}}\n")
    one, two = spec.envs[0].layers
    assert one.options == {"run": "x", "secrets": {"key": {"target": "", "env": "API_KEY", "optional": False}}}
    assert two.options == {"run": "y"}


def test_a_service_gets_those_that_it_names():
    spec = read(
        TOP + "services: {db: {command: x, ready: 1, secrets: [token]}}\nenvs: {u: {services: [db], tasks: {t: x}}}\n"
    )
    assert [use.name for use in spec.envs[0].services[0].secrets] == ["token"]
    assert spec.envs[0].tasks[0].secrets == ()


def test_names_of_included_files_have_their_prefix():
    inner = TOP + HERE.format(names="token")
    spec = read("version: 1\ninclude: {api: api/envtool.yaml}\n", **{"api/envtool.yaml": inner})
    assert spec.envs[0].tasks[0].secrets[0].place == SecretPlace("api/token", "/run/secrets/token", "")


def test_a_name_may_be_a_template():
    text = TOP + "envs: {u: {matrix: {which: [token, key]}, tasks: {t: {run: x, secrets: ['{{ matrix.which }}']}}}}\n"
    assert [env.tasks[0].secrets[0].name for env in read(text).envs] == ["token", "key"]
    text = TOP + "layers: {l: {run: x, secrets: ['{{ matrix.which }}']}}\n"
    text += "envs: {u: {matrix: {which: [token, key]}, layers: [l]}}\n"
    assert [[*env.layers[0].options["secrets"]] for env in read(text).envs] == [["token"], ["key"]]


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        (HERE.format(names="tokn"), "7:60", "task `test` names the secret `tokn`, which is not declared", "did you mean `token`?"),
        (HERE.format(names="token, token"), "7:67", "task `test` names the secret `token` twice", "remove one"),
        ("layers: {l: {run: x, secrets: [tok]}}\nenvs: {u: {layers: [l]}}\n", "7:32", "this layer names the secret `tok`", "token"),
        (
            "services: {db: {command: x, ready: 1, secrets: [kee]}}\nenvs: {u: {services: [db], tasks: {t: x}}}\n",
            "7:49", "service `db` names the secret `kee`", "key",
        ),
        (
            "services: {db: {command: x, ready: 1, prepare: y, secrets: [key]}}\nenvs: {u: {services: [db], tasks: {t: x}}}\n",
            "7:51", "service `db` has secrets, and its prepared state would be a layer that may contain them", "prepare",
        ),
        ("layers: {l: {copy: {from: a, to: /b}, secrets: [key]}}\n", "7:39", "unknown key `secrets` in a layer of kind `copy`", ""),
    ],
)  # fmt: skip
def test_an_error_has_its_place(text, place, message, hint):
    found = problems(TOP + text)
    assert [item[0] for item in found] == [place], found
    assert message in found[0][1]
    assert hint in found[0][2]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("rel/path", "`rel/path` is not a path for a secret"),
        ("/", "`/` is not a path for a secret"),
        ("/top", "`/top` is not a path for a secret"),
        ("/run/../etc/x", "`/run/../etc/x` is not a path for a secret"),
        ("/run/secrets/", "`/run/secrets/` is not a path for a secret"),
        ("/proc/1/mem", "no secret can be at /proc/1/mem: /proc is not its place"),
        ("/dev/null", "no secret can be at /dev/null: /dev is not its place"),
        ("/project/token", "no secret can be at /project/token: /project is not its place"),
        ("/etc/passwd", "no secret can be at /etc/passwd: /etc/passwd is not its place"),
        ("/run/{{ x }}", "a template in `secrets:`"),
    ],
)
def test_a_target_is_a_file_somewhere_harmless(target, message):
    found = problems(f"version: 1\nsecrets:\n  t: {{target: '{target}'}}\n")
    assert [item[:2] for item in found] == [("3:15", message)]


@pytest.mark.parametrize(
    "text",
    ["{value: x}", "{file: ~/x}", "{command: x}", "{env: 1X}", "{env: [A]}", "{optional: 3}", "x", "[]"],
)
def test_the_spec_has_no_value_and_no_source(text):
    found = problems(f"version: 1\nsecrets:\n  t: {text}\n")
    assert found[0][0].startswith("3:")


def test_two_in_one_place():
    text = "version: 1\nsecrets: {a: {env: X}, b: {env: X}, c: {target: /run/secrets/d}, d: {}}\n"
    found = problems(text + HERE.format(names="a, b, c, d"))
    assert [item[1] for item in found] == [
        "the secrets `a` and `b` of task `test` would both be $X",
        "the secrets `c` and `d` of task `test` would both be /run/secrets/d",
    ]


def test_a_name_twice():
    text = "version: 1\ninclude: [more.yaml]\nsecrets: {a: {}}\n"
    found = problems(text, **{"more.yaml": "version: 1\nsecrets: {a: {}}\n"})
    assert "secret `a` is declared twice" in found[0][1]


def test_the_names_that_completion_offers():
    spec = read(
        "version: 1\nsecrets: {a: {}, b: {}, c: {}, unused: {}}\n"
        "layers: {l: {run: 'true', secrets: [b]}}\n"
        "services: {s: {base: host, command: x, ready: 80, secrets: [c], layers: [{run: 'true', secrets: [a]}]}}\n"
        "envs: {e: {base: host, layers: [l], services: [s], tasks: {t: {run: 'true', secrets: [b]}}}}\n"
    )
    assert secret_names(spec) == ["a", "b", "c"]

from __future__ import annotations

import dataclasses
import random

import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.model import Where
from envtool.plugins import ENV_KEYS
from envtool.spec import schema
from envtool.spec.docs import reference

TEXT = """\
version: 1
bases: {bookworm: {debian: bookworm}, other: {debian: {suite: "{{ matrix.suite }}", mirror: m}}}
layers:
  python: {apt: [python3]}
  deps: {pip: {requirements: [r.txt], packages: [x]}, needs: [python], set: {A: "1", B: "{{ env.name }}"}}
  tool: {run: make, inputs: [tools/], network: false}
defaults: {timeout: 5m, set: {A: "1", B: default}}
envs:
  unit:
    base: other
    layers: [python, deps, tool, {apt: [gcc], set: {C: c}}]
    matrix: {suite: [bookworm, trixie]}
    set: {B: own, D: "{{ matrix.suite }}"}
    tasks: {test: {run: "pytest {{ args }}", outputs: [o], user: root}}
  plain: {extends: unit, base: {debian: sid}, pass: [CI]}
"""


PLAIN = TEXT.replace("{{ matrix.suite }}", "sid")


def test_it_is_a_json_schema_that_takes_specs(registry):
    document = schema(registry)
    assert jsonschema_rs.meta.is_valid(document)
    assert jsonschema_rs.Draft202012Validator(document).is_valid(yaml.safe_load(PLAIN))
    assert "debian" in str(document["$defs"]["base"])


def test_the_keys_of_an_env_are_those_of_the_schema(registry):
    properties = set(schema(registry)["$defs"]["env"]["properties"])
    assert properties - {"requirements"} == ENV_KEYS - {"toolchain"}, "which is there where a plugin offers one"


def test_every_key_is_described(registry):
    document = schema(registry)
    for where in ("env", "long-task"):
        for key, sub in document["$defs"][where]["properties"].items():
            assert sub.get("description"), key
    for key, sub in document["properties"].items():
        assert sub.get("description"), key


def test_the_reference_names_everything(registry):
    page = reference(registry)
    assert page == reference(registry)
    for word in (
        *(ENV_KEYS - {"toolchain"}),
        "debian",
        "host",
        "apt",
        "pip",
        "run",
        "inputs",
        "network",
        "mirror",
        "python",
        "requirements",
    ):
        assert f"`{word}`" in page, word
    assert "| `suite` | a string | Its name. Required. |" in page
    assert all(line.count("|") - line.count("\\|") == 4 for line in page.splitlines() if line.startswith("|"))


def shuffled(value, chance, keep):
    """The same mappings with their keys in another order, but where order means something: names, tasks, axes."""
    if isinstance(value, dict):
        names = list(value)
        if not keep:
            chance.shuffle(names)
        ordered = {"envs", "tasks", "matrix", "bases", "layers"}
        return {name: shuffled(value[name], chance, name in ordered) for name in names}
    return [shuffled(one, chance, keep=False) for one in value] if isinstance(value, list) else value


def nowhere(value):
    """Without places: they move when keys do."""
    if isinstance(value, Where):
        return None
    if dataclasses.is_dataclass(value):
        return {f.name: nowhere(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: nowhere(one) for key, one in value.items()}
    return [nowhere(one) for one in value] if isinstance(value, list | tuple) else value


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_keys_means_nothing(read, seed):
    document = shuffled(yaml.safe_load(TEXT), random.Random(seed), keep=False)
    text = yaml.safe_dump(document, sort_keys=False)
    assert nowhere(read(text)) == nowhere(read(TEXT))


def shape(value):
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value)


HOSTILE = st.text(st.sampled_from("{}[]:,-&*!|>'\"%#\n ab"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(value=HOSTILE)
def test_rendering_never_changes_structure(read, value):
    """Whatever a template gives, options keep their keys, lengths and types."""
    document = {
        "version": 1,
        "layers": {"l": {"pip": {"packages": ["{{ matrix.a }}", "x{{ matrix.a }}"]}, "set": {"A": "{{ matrix.a }}"}}},
        "envs": {"e": {"matrix": {"a": [value]}, "layers": ["l"], "set": {"B": "{{ matrix.a }}"}}},
    }
    if "{{" in value or "{%" in value:
        return
    env = read(yaml.safe_dump(document)).envs[0]
    assert shape(env.layers[0].options) == shape(document["layers"]["l"]["pip"])
    assert env.layers[0].options["packages"] == [value, f"x{value}"]
    assert (env.layers[0].set, env.set) == ({"A": value}, {"B": value})


@pytest.mark.parametrize("text", ["{{ matrix.a }}", "{{ matrix.a ~ '' }}"])
def test_what_is_put_in_is_not_rendered_again(read, text):
    env = read(
        f'version: 1\nenvs: {{e: {{matrix: {{a: ["x"]}}, set: {{A: "{text}{{{{ \'{{{{ no }}}}\' }}}}"}}}}}}'
    ).envs[0]
    assert env.set == {"A": "x{{ no }}"}


def test_a_big_spec_is_read_in_time(read):
    import time

    layers = "".join(f"  l{n}: {{apt: [p{n}, q{n}]{f', needs: [l{n - 1}]' if n % 5 else ''}}}\n" for n in range(5000))
    envs = "".join(
        f"  e{n}: {{layers: [{', '.join(f'l{n * 5 + k}' for k in range(5))}], "
        f"tasks: {{test: 'pytest {{{{ args }}}}'}}}}\n"
        for n in range(1000)
    )
    start = time.process_time()
    spec = read(f"version: 1\nlayers:\n{layers}envs:\n{envs}")
    assert len(spec.envs) == 1000
    assert time.process_time() - start < 3, "0.4 s where this was written"


HOSTILE_SPECS = {
    "matrix": "  a: {matrix: {" + ",".join(f"a{i}: [1,2,3,4,5,6,7,8,9]" for i in range(12)) + "}}",
    "include": "  a: {matrix: {a: [1], include: [" + ",".join(f"{{b: {i}}}" for i in range(5000)) + "]}}",
    "chain": "".join(f"  e{i}: {{extends: e{i + 1}, set: {{A{i}: x}}}}\n" for i in range(3000)) + "  e3000: {}",
    "points": "  e: {matrix: {a: ["
    + ",".join(map(str, range(1000)))
    + "]}, tasks: {t: {run: ["
    + ",".join('"{{ matrix.a }}"' for _ in range(600))
    + "]}}}",
    "templates": "  a: {tasks: {" + ",".join(f't{i}: "{{{{ args ~ {i} }}}}"' for i in range(3000)) + "}}",
}


@pytest.mark.parametrize("name", list(HOSTILE_SPECS))
def test_hostile_specs_are_refused_quickly(wrong, name):
    import time

    start = time.process_time()
    found = wrong("version: 1\nenvs:\n" + HOSTILE_SPECS[name])
    assert time.process_time() - start < 2
    assert "limit" in {code for _, code, _ in found}


WORDS = st.sampled_from(
    ["a", "b", "x", "host", "sid", "{{ matrix.a }}", "{{ args }}", "{{ no }}", "{% if", "../x", "", "30s", "python"]
)
KEYS = st.sampled_from(
    [
        *ENV_KEYS, "bases", "layers", "envs", "defaults", "include", "version", "apt", "pip", "run", "inputs",
        "network",
        "needs", "debian", "host", "suite", "requirements", "packages", "exclude", "outputs", "a", "b", "test",
        "services",
    ]
)  # fmt: skip
ANY = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-2, 3) | st.floats(0, 4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
NAMED = st.dictionaries(st.sampled_from(["a", "b", "x"]), st.dictionaries(KEYS, ANY, max_size=4) | ANY, max_size=3)


@settings(max_examples=250, deadline=None)
@given(envs=NAMED, layers=NAMED, bases=NAMED, more=st.dictionaries(KEYS, ANY, max_size=2))
def test_whatever_is_written_gives_a_spec_or_problems(wrong, envs, layers, bases, more):
    """Never a traceback; and each problem is in the file."""
    text = yaml.safe_dump({"version": 1, "envs": envs, "layers": layers, "bases": bases, **more})
    lines = text.count("\n") + 1
    for place, code, said in wrong(text):
        assert code
        assert said
        assert 1 <= int(place.split(":")[0]) <= lines

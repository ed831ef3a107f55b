"""The spec that `exec --base BASE --with LAYER` stands for."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from envtool.app.one_off_spec import name_options, spec_text
from envtool.errors import BuildError, UsageError
from envtool.project.one_off_directory import directory_of


def env(base, *layers, network=False):
    return yaml.load(spec_text(base, layers, network=network), yaml.BaseLoader)["envs"]["one-off"]


@pytest.mark.parametrize(
    ("base", "means"),
    [
        ("host", "host"),
        ("debian:trixie", {"debian": "trixie"}),
        ("image:registry.example.org:5000/a/b:3.20", {"image": "registry.example.org:5000/a/b:3.20"}),
        ("debian:12", {"debian": "12"}),
        ("image:a: b#c 'd'\n", {"image": "a: b#c 'd'\n"}),
        (" {image: a, digest: 'x'}", {"image": "a", "digest": "x"}),
    ],
)
def test_bases(base, means):
    assert env(base) == {"base": means}


def test_layers_stay_as_they_are_written():
    made = env("host", "apt: [jq]", "{pip: [a==1.10], set: {A: yes, B: 1.10}}", network=True)
    layers = [{"apt": ["jq"]}, {"pip": ["a==1.10"], "set": {"A": "yes", "B": "1.10"}}]
    assert made == {"base": "host", "layers": layers, "network": "true"}
    assert "B: 1.10" in spec_text("host", ["run: x\nset: {B: 1.10}"], network=False)


@pytest.mark.parametrize(
    ("base", "layers", "message", "hint"),
    [
        ("python:3.12", [], "`--base python:3.12`: no kind of base is `python`", "`--base image:python:3.12`"),
        ("debain:trixie", [], "`--base debain:trixie`: no kind of base is `debain`", "did you mean `debian`?"),
        ("debian", [], "`--base debian`: `debian` needs a value", "for example `--base debian:trixie`"),
        ("debian:", [], "`--base debian:`: `debian` needs a value", "for example"),
        ("{image: a", [], "`--base {image: a` is not YAML: ", "for example"),
        ("host", ["jq"], "`--with jq` is not a mapping", "for example `--with 'apt: [jq]'`"),
        ("host", ["apt: [jq"], "`--with apt: [jq` is not YAML: ", "for example"),
        ("host", [""], "`--with ` is not a mapping", "for example"),
        (
            "host",
            ["apt:jq"],
            "is not a mapping: it is YAML, `KIND: VALUE`, with a space after the colon",
            "for example",
        ),
        ("host", ["a: 1\n---\nb: 1"], "is not YAML: ", "for example"),
    ],
)
def test_options_that_are_none(base, layers, message, hint):
    with pytest.raises(UsageError) as caught:
        spec_text(base, layers, network=False)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("apt: [jq]", "`--with 'apt: [jq]'`"),
        ("run: 'true'", "`--with \"run: 'true'\"`"),
        ("run: |\n  echo a\n  exit 3", "`--with 'run: |…'`"),
        ("run: " + "x" * 80, "`--with 'run: " + "x" * 55 + "…'`"),
        ("run: '$HOME'", "`--with 'run: '\"'\"'$HOME'\"'\"''`"),
    ],
)
def test_an_error_shows_an_option_as_it_is_typed_on_one_line(text, typed):
    error = BuildError("one-off.yaml:7: layer `run` could not be built (see one-off.yaml:7:3)", hint="one-off.yaml:4:5")
    named = name_options(error, "host", ["run: first", text], network=True)
    assert named.message == f"{typed}: layer `run` could not be built (see {typed})"
    assert named.hint == "`--base host`"
    assert type(named) is BuildError


WORDS = st.tuples(st.text(), st.lists(st.text(), max_size=4), st.booleans())


@given(WORDS, WORDS)
def test_other_options_have_another_directory(first, second):
    names = [directory_of("/s", base, layers, network=network) for base, layers, network in (first, second)]
    has_nul = any("\0" in word for base, layers, _ in (first, second) for word in (base, *layers))  # in no argument
    assert (names[0] == names[1]) == (first == second) or has_nul
    for name in names:
        parts = name.split("/")
        assert parts[:3] == ["", "s", "one-off"]
        assert len(parts) == 4
        assert len(parts[3]) <= 201

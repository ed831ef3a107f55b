"""Layers of one's own on what a language adds: where they come in the stack, and what is said where they cannot."""

from __future__ import annotations

import pytest

from envtool import api
from envtool.errors import SpecError
from envtool.plan.graph import build_graph
from envtool.plugins import PluginRegistry
from envtool.spec import load
from tests.unit.spec.conftest import Apt, Debian, Files, Host, Pip, Run


class Snake(api.Language):
    """Adds one layer below all others, and one above those that it may stand on."""

    name = "snake"

    def layers(self, env, project):
        names = {*env.layer_names, *env.above}
        name = "venv" if "venv" not in names else "snake-venv"
        return (
            api.LayerDraft(name="interpreter", kind="apt", options=["snake"], after=False),
            api.LayerDraft(name=name, kind="pip", options=["x"], needs=("interpreter", *env.layer_names)),
        )


class Mute(api.Language):
    name = "mute"

    def layers(self, env, project):
        return ()


REGISTRY = PluginRegistry(
    bases={kind.name: kind for kind in (Host(), Debian())},
    layers={kind.name: kind for kind in (Apt(), Pip(), Run())},
    languages={"snake": Snake(), "mute": Mute()},
)


@pytest.fixture
def read():
    return lambda text: load(Files({"envtool.yaml": text}), "envtool.yaml", root="/r", registry=REGISTRY)


def stack(read, text, language="language: snake, "):
    env = read(f"version: 1\n{text.replace('LANGUAGE', language)}").envs[0]
    return {layer.name: layer.needs for layer in env.layers}


IN_PLACE = "envs: {e: {LANGUAGE layers: [%s]}}"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        # as ever: below what the language adds, which stands on them
        ("{apt: [a]}, {run: b}", ["interpreter", "apt", "run", "venv"]),
        ("{apt: [a]}, {run: b, needs: [apt]}", ["interpreter", "apt", "run", "venv"]),
        ("{run: b, needs: [interpreter]}, {apt: [a]}", ["interpreter", "run", "apt", "venv"]),
        # on it
        ("{apt: [a]}, {run: b, needs: [snake]}", ["interpreter", "apt", "venv", "run"]),
        ("{apt: [a]}, {run: b, needs: [venv]}", ["interpreter", "apt", "venv", "run"]),
        ("{run: b, needs: [snake]}, {apt: [a], needs: []}", ["interpreter", "apt", "venv", "run"]),
        ("{run: b, needs: [snake]}, {apt: [a]}", ["interpreter", "venv", "run", "apt"]),
        ("{run: b, needs: [snake]}, {apt: [a], needs: [run]}", ["interpreter", "venv", "run", "apt"]),
        ("{run: b, needs: [snake]}, {apt: [a], needs: [interpreter]}", ["interpreter", "apt", "venv", "run"]),
    ],
)
def test_where_a_layer_comes(read, layers, expected):
    found = stack(read, IN_PLACE % layers)
    assert [*found] == expected
    assert "run" not in (found["venv"] or ()) or expected.index("run") < expected.index("venv")


def test_the_languages_name_means_all_that_it_adds(read):
    spec = read(
        "version: 1\nlayers: {b: {run: b, needs: [snake, t]}, t: {apt: [t]}}\nenvs: {e: {language: snake, layers: [t, b]}}"
    )
    assert spec.envs[0].layers[-1].needs == ("interpreter", "venv", "t")
    made = build_graph(spec, REGISTRY)
    names = [made.nodes[node].spec.name for node in made.nodes[made.stacks["e"][-1]].below]
    assert names == ["host", "interpreter", "t", "venv"]


def test_a_layer_of_ones_own_of_that_name_comes_first(read):
    assert [*stack(read, "layers: {snake: {apt: [a]}}\n" + IN_PLACE % "snake, {run: b, needs: [snake]}")] == [
        "interpreter", "snake", "run", "venv",
    ]  # fmt: skip


def test_names_are_taken_above_too(read):
    text = "layers: {venv: {run: b, needs: [snake]}}\nenvs: {e: {LANGUAGE layers: [venv]}}"
    assert [*stack(read, text)] == ["interpreter", "snake-venv", "venv"]


def test_a_language_that_adds_nothing_is_nothing_to_stand_on(read):
    assert stack(read, IN_PLACE % "{apt: [a]}, {run: b, needs: [mute]}", "language: mute, ") == {"apt": None, "run": ()}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "layers:\n  b: {run: b, needs: [snake]}\nenvs:\n  e: {layers: [b]}\n  f: {language: snake, layers: [b]}",
            3,
            "no `language: snake`",
        ),
        (
            "layers:\n  b: {run: b, needs: [snek]}\nenvs:\n  e: {language: snake, layers: [b]}\n  f: {language: snake, layers: [b]}",
            3,
            "unknown layer `snek`",
        ),
        ("envs:\n  e:\n    language: snake\n    layers: [{run: b, needs: [vnev]}]", 5, "unknown layer `vnev`"),
        ("layers:\n  b: {run: b, needs: [snake]}\nenvs: {e: {layers: [b]}}", 3, "unknown layer `snake`"),
        (
            "layers:\n  b: {run: b, needs: [t, venv]}\n  t: {apt: [t]}\nenvs: {e: {language: snake, layers: [b]}}",
            5,
            "`t`, which is not in env",
        ),
    ],
)
def test_what_cannot_be(read, text, line, said):
    with pytest.raises(SpecError) as error:
        read(f"version: 1\n{text}")
    (problem,) = error.value.problems
    assert said in problem.message
    assert problem.where.line == line

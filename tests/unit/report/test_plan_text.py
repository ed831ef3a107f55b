"""The text of `envtool plan`: each step once, what is reused folded, the sums, on screens of any width."""

from __future__ import annotations

import re

import pytest

from envtool.cli.plan_text import FOLDED, format_plan
from envtool.plan.plan import Plan, PlannedEnv, PlannedStep
from envtool.report.formatting import Style
from envtool.report.text import strip_colors, visible_width

WIDTHS = (40, 60, 80, 100, 160, 220)
MISSING = "the store has no layer of this key"


def step(name, action="build", *, node="", subject="layer", key="", reason=MISSING, **more):
    values = {"kind": "apt", "state": "build", "summary": "", "pinned": True, "where": None}
    return PlannedStep(
        name=name, subject=subject, action=action, key=key, node=node or name, reason=reason, **values | more
    )


def env(name, *steps, rounds=1, tasks=("test",)):
    return PlannedEnv(name=name, tasks=tasks, steps=steps, rounds=rounds)


def text(*envs, columns=0, typed="", verbosity=0, **more):
    return strip_colors(format_plan(Plan(envs=envs, **more), Style(color=True), columns, typed, verbosity))


BASE = step("trixie", "reuse", subject="base", key="ab" * 32, reason="it is in the store")


def test_what_is_done_comes_first_with_its_reason_and_what_is_reused_is_folded():
    tools = step("tools", key="cd" * 32, summary="2 packages")
    waits = step("deps", "resolve", reason="its key depends on what `tools` comes out as", kind="pip", summary="gone")
    assert text(env("unit", BASE, tools, waits), typed="envtool test") == (
        "unit  test\n"
        "  build   layer tools     2 packages: the store has no layer of this key\n"
        "  resolve layer deps      pip: its key depends on what `tools` comes out as\n"
        "\n"
        "reused: trixie\n"
        "\n"
        "1 to resolve, 1 to build, 1 reused: `envtool test` does this"
    )


def test_where_nothing_is_done_there_is_no_tree():
    assert text(env("a", BASE), env("b", BASE), typed="envtool test") == (
        "reused: trixie\n\n1 reused: `envtool test` builds nothing"
    )


def test_what_is_not_pinned_is_told_whether_it_is_reused_or_not():
    host = step("host", "reuse", subject="base", pinned=False)
    assert "reused: host (not pinned)\n" in text(env("a", host))
    assert "apt, not pinned: " in text(env("a", step("host", subject="base", pinned=False)))


def test_a_step_is_shown_once_below_the_first_env_that_needs_it():
    shared, own = step("shared"), step("own")
    said = text(env("a", BASE, shared), env("b", BASE, shared, own), env("c", BASE, shared), env("d", BASE))
    assert said.count("shared") == said.count("own") == 1
    assert said.index("a  test") < said.index("shared") < said.index("b  test") < said.index("own")
    assert "nothing more for c, d\n" in said
    assert said.endswith("2 to build, 1 reused")


def test_two_nodes_with_one_key_are_built_once_and_two_of_one_name_are_two():
    said = text(
        env("a", BASE, step("requirements", "resolve", node="2"), step("tools", node="4", key="x" * 64)),
        env("b", BASE, step("requirements", "resolve", node="3"), step("tools", node="5", key="y" * 64)),
        env("c", BASE, step("requirements", "resolve", node="3"), step("others", node="6", key="y" * 64)),
    )
    assert said.endswith("2 to resolve, 2 to build, 1 reused")
    assert "others" not in said


@pytest.mark.parametrize("action", ["build", "resolve", "unpack", "pull"])
def test_each_action_is_counted(action):
    assert text(env("a", step("x", action), step("y", action))).endswith(f"2 to {action}")


def test_names_of_the_same_steps_say_what_they_are_on_except_below_that_title():
    envs = [env(f"unit[{n}]", step("tools", node=n, on=f"unit[{n}]")) for n in ("x", "y")]
    assert "[unit[" not in text(*envs)
    assert "tools [trixie]" in text(env("a", step("tools", on="trixie")))
    assert "reused: tools [unit[x]]" in text(env("unit[x]", step("tools", "reuse", on="unit[x]")))


def test_a_base_whose_layers_are_not_known_is_planned_in_two_rounds():
    base = step("slim", "resolve", subject="base", kind="image")
    said = text(env("a", base, step("one"), step("two"), rounds=2), env("b", base, step("three"), rounds=2))
    lines = [line.split("  ")[1].split(" ")[0] if line.startswith("  ") else line for line in said.splitlines()]
    assert lines == [
        *("a  test", "resolve", "second", "build", "build", ""),
        *("b  test", "second", "build", ""),
        "1 base is planned in two rounds: the layers above may be reused then",
        "1 to resolve, 3 to build",
    ]
    assert "rounds" not in text(env("a", step("slim", "resolve", subject="base"), step("one")))


def test_long_lists_are_folded_and_verbose_shows_all_with_their_keys():
    steps = [step(f"layer{n:02}", "reuse", key=f"{n:02}" * 32, reason="it is in the store") for n in range(40)]
    said = text(env("a", *steps))
    assert said.startswith("reused: layer00, ")
    assert f" and {40 - FOLDED} more (-v shows them)\n" in said
    said = text(env("a", *steps), verbosity=1)
    assert [line.split()[2] for line in said.splitlines() if line.startswith("  reuse")] == [s.name for s in steps]
    assert "  reuse   layer layer07   apt, 070707070707: it is in the store" in said
    assert "more" not in text(env("a", *steps[: FOLDED + 1])), "one name takes no more room than `and 1 more`"


def test_quiet_shows_the_sum_alone():
    assert text(env("a", BASE, step("x")), typed="envtool test", verbosity=-1) == (
        "1 to build, 1 reused: `envtool test` does this"
    )


def test_a_team_cache_is_not_asked_and_this_is_said_where_it_matters():
    told = "a run pulls what the team cache has"
    assert told in text(env("a", BASE, step("x")), team_cache=True)
    assert told not in text(env("a", BASE), team_cache=True)
    assert told not in text(env("a", BASE, step("x")))


def test_notes_come_before_the_sum():
    assert text(env("a", BASE), notes=("x",)) == "reused: trixie\n\nnote: x\n1 reused"


LONG = [
    step("debian-bookworm-with-everything-and-more", subject="base", summary="88 packages, 32 MB", pinned=False),
    step("x", "resolve", reason="its pins are neither locked nor known here; they say which layers it has"),
    step("漢字" * 14, reason="its key depends on what `漢字漢字`, `deps` comes out as", kind="python-project"),
    step("esc\x1b[31m\ntwo", summary="a\x1b]0;t\x07b"),
]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("verbosity", [0, 1])
def test_all_lines_fit_and_nothing_is_lost(columns, verbosity):
    plan = Plan(
        envs=(
            env("integration-and-unit[trixie-1,py3.13,postgres-16,redis-7]", *LONG, rounds=2, tasks=("test", "build")),
            env("other", *(step(f"layer-of-a-long-name-{n}", "reuse", key="ab" * 31 + f"{n:02}") for n in range(30))),
        ),
        notes=("two envs write the same output",),
        team_cache=True,
    )
    said = strip_colors(format_plan(plan, Style(color=True), columns, "envtool test", verbosity))
    assert max(map(visible_width, said.split("\n"))) <= columns
    assert "\x1b" not in said
    flat = re.sub(r"\s+", " ", said)
    for words in ("88 packages, 32 MB, not pinned: the store has no layer", "neither locked nor known here; they say"):
        assert words in flat
    assert flat.endswith("1 to resolve, 3 to build, 30 reused: `envtool test` does this")


@pytest.mark.parametrize(("columns", "lines"), [(60, 2), (80, 1), (160, 1), (0, 1)])
def test_a_usual_step_takes_one_line_of_80_columns(columns, lines):
    one = step("node-modules", reason="its key depends on what `tools` comes out as", kind="npm")
    said = text(env("unit", one), columns=columns)
    assert said.split("\n\n", maxsplit=1)[0].count("\n") == lines, said

"""`exec` and `shell` without a project."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.e2e


MADE = ("--base", "host", "--with", "run: echo made >/opt/x")


def exec_one_off(place, *words, **more):
    return place.envtool("exec", *words, **more)


def test_a_command_needs_no_project(place):
    """It writes nothing where it is called. The second one takes the fast path."""
    before = sorted(os.listdir(place.project))
    assert "envtool.yaml" not in before
    for _ in range(2):
        done = exec_one_off(place, *MADE, "--", "cat", "/opt/x", "-", data=b"and more\n")
        assert (done.status, done.out) == (0, "made\nand more\n"), done.said
    assert sorted(os.listdir(place.project)) == before
    assert "run" not in exec_one_off(place, *MADE, "--network", "--", "true").err, (
        "the layer is built once for all envs"
    )
    assert exec_one_off(place, *MADE, "--", "sh", "-c", "exit 7").status == 7


def test_it_stands_for_the_spec_that_it_prints(place):
    printed = exec_one_off(place, *MADE, "--print")
    assert printed.out.startswith("version: 1\nenvs:\n  one-off:\n    base: host\n"), printed.said
    exec_one_off(place, *MADE, "--", "true")
    place.spec(printed.out.removeprefix("version: 1\n"))
    done = place.envtool("exec", "one-off", "--", "cat", "/opt/x")
    assert (done.status, done.out) == (0, "made\n"), done.said
    assert "built" not in done.err, "the layers have the same keys"


def test_a_shell(place):
    done = place.envtool("shell", "--base", "host", data=b"echo here $((6 * 7))\n")
    assert done.out == "here 42\n", done.said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base", "host"], "error: no command to run in `one-off`"),
        (["--base", "host", "true"], "error: `--base` stands in place of an env, and `true` is given, too"),
        (
            ["--with", "apt: [jq]", "--", "jq"],
            "error: `--with` needs `--base`, which is not `host` by itself, as it is in a spec\nhint: for example",
        ),
        (["unit", "--print"], "error: `--print` needs `--base`"),
        (["-C", "/", "--base", "host", "--", "true"], "error: `--base` needs no project, and `-C` names one"),
        (["--base", "alpine:3", "--", "true"], "error: `--base alpine:3`: no kind of base is `alpine`"),
        (
            ["--base", "host", "--with", "run: 'true'", "--with", "atp: [jq]", "--", "jq"],
            "error: `--with 'atp: [jq]'`: unknown key `atp`\nhint: did you mean `apt`?\n",
        ),
        (
            ["--base", "{image: a, digst: x}", "--", "true"],
            "error: `--base '{image: a, digst: x}'`: unknown key `digst`\nhint: known: ",
        ),
        (
            ["--base", "host", "--with", "apt: {pakages: [x]}", "--with", "run: true", "--network", "--", "true"],
            (
                "error: `--with 'apt: {pakages: [x]}'`: unknown key `pakages` in `apt` (did you mean `packages`?)\n"
                "  `--with 'run: true'`: `run`: expected a string or a list, got `true` (write it in quotes: \"true\")\n"
            ),
        ),
        (
            ["--base", "host", "--with", "copy: {from: none, to: /x}", "--", "true"],
            "error: `--with 'copy: {from: none, to: /x}'`: input `none`: there is no such file\n",
        ),
    ],
)
@pytest.mark.one_caller
def test_what_is_wrong(place, words, said):
    done = exec_one_off(place, *words)
    assert done.status == 2, done.said
    assert said in done.err, done.err
    assert "one-off" not in done.err or words == ["--base", "host"], "a file that nobody has written"


def test_a_layer_that_fails_is_named_by_its_option(place):
    done = exec_one_off(place, "--base", "host", "--with", "run: exit 3", "--", "true")
    assert done.status == 3
    assert "error: `--with 'run: exit 3'`: layer `run` could not be built: exit 3" in done.err, done.err
    assert "one-off.yaml" not in done.err

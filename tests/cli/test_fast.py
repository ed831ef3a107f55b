"""The short ways read a command line as the long way does, or leave it alone."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envtool.app import one_off_spec
from envtool.cli import fastpath, interactive, main, session
from envtool.errors import EnvtoolError
from envtool.project import one_off_directory
from envtool.run import fast_exec, fast_test


def one_off(base, *layers, network=False):
    return one_off_directory.directory_of("/store", base, layers, network=network)


SAME = [  # spellings of one command line: the words, and what they mean
    (["exec", "unit", "--", "true"], ("exec", ".", "unit", ("true",))),
    (["exec", "unit", "true"], ("exec", ".", "unit", ("true",))),
    (["-C", "a", "exec", "unit", "--", "true"], ("exec", "a", "unit", ("true",))),
    (["exec", "-C", "a", "unit", "--", "true"], ("exec", "a", "unit", ("true",))),
    (["exec", "unit", "-Ca", "--", "true", "-C", "b"], ("exec", "a", "unit", ("true", "-C", "b"))),
    (["-C", "b", "exec", "-qC", "a", "unit", "sh", "--", "-c", "exit"], ("exec", "a", "unit", ("sh", "-c", "exit"))),
    (["exec", "--color=never", "--quiet", "unit", "true", "--"], ("exec", ".", "unit", ("true",))),
    (["exec", "--base", "host", "--", "true"], ("exec", one_off("host"), "one-off", ("true",))),
    (
        ["exec", "--with=apt: [jq]", "--network", "--base=debian:trixie", "-q", "--with", "run: x", "--", "jq", "-n"],
        ("exec", one_off("debian:trixie", "apt: [jq]", "run: x", network=True), "one-off", ("jq", "-n")),
    ),
    (["test"], ("test", ".", ())),
    (["run", "test"], ("test", ".", ())),
    (["run", "-e", "a", "lint", "--env=b"], ("lint", ".", ("a", "b"))),
    (["-q", "test", "-C", "a", "--color", "always", "-ea"], ("test", "a", ("a",))),
    (["build", "-qe", "a", "--"], ("build", ".", ("a",))),
    (["test", "--json", "-j", "4"], ("test", ".", ())),
    (["--json", "test", "--junit=x.xml", "--jobs=12"], ("test", ".", ())),
    (["run", "lint", "-j2", "--junit", "y"], ("lint", ".", ())),
    (["test", "-v"], ("test", ".", ())),
    (["-vv", "build", "-xvea", "--verbose"], ("build", ".", ("a",))),
    (["run", "lint", "--fail-fast", "-q", "-x"], ("lint", ".", ())),
    (["test", "--offline"], ("test", ".", ())),
    (["build", "-q", "--offline", "-ea", "--offline"], ("build", ".", ("a",))),
]
LONG = [
    ["exec", "unit"], ["exec", "--", "unit", "true"], ["exec", "unit", "ls", "-la"], ["exec", "-e", "unit", "true"],
    ["exec", "unit", "-v", "--", "true"], ["exec", "unit", "--json", "true"], ["exec", "--offline", "unit", "true"],
    ["-e", "unit", "test"], ["test", "x"], ["run"], ["run", "a", "b"], ["test", "--", "x"], ["test", "-e"],
    ["test", "-C", ""], ["test", "--color", "blue"], ["test", "--junit", "."], ["test", "--junit", "/dev/stdout"],
    ["test", "-j", "0"], ["test", "-j", "many"], ["-j", "2", "test"], ["--junit", "x", "test"], ["test", "--json=1"],
    ["test", "-f", "x"], ["test", "-qv"], ["-v", "test", "--json"], ["-x", "test"], ["--fail-fast", "run", "lint"],
    ["--offline", "test"], ["test", "--offline=1"], ["list", "--offline"], ["exec", "unit", "--offline", "--", "true"],
    ["exec", "-x", "unit", "true"], ["test", "--fail-fast=1"], ["test", "--verbose=2"], ["help", "test"],
    ["list", "test"], ["-C", "test"], ["test", "--quiet=1"], ["test", "-"], ["--env", "a", "test"], ["test", "--en", "a"],
    ["exec", "--base", "host"], ["exec", "--base", "host", "true"], ["exec", "--with", "a", "unit", "--", "true"],
    ["exec", "--network", "unit", "true"], ["--base", "host", "exec", "--", "true"], ["test", "--base", "host"],
    ["exec", "-C", "a", "--base", "host", "--", "true"], ["exec", "--base", "host", "--print", "--", "true"],
    ["test", "--directory=a"], ["-C=a", "test"], ["exec", "", "true"], ["test", "-h"], ["--version", "test"], [],
]  # fmt: skip
WORDS = [
    "exec", "test", "run", "build", "list", "help", "unit", "lint", "a", "-", "--", "", "-q", "--quiet", "-v", "-C", "-Ca",
    "-C=a", "-qC", "-Cq", "-e", "-ea", "-qe", "--env", "--env=a", "--en=a", "--color", "--color=never", "--color=x",
    "never", "-x", "-h", "--json", "--junit", "--junit=x", "-f", "-fa", "-j", "-j2", "-vx", "-vqx", "--verbose", "--fail-fast", "--again", "--offline", "--locked",
    "--no-locked", "--refresh", "--allow-pass", "--provenance", "-V", "-la", "--directory=a", "=a",
    "--base", "--base=host", "--with", "--with=a: b", "--network", "--print",
]  # fmt: skip

KNOWN = ["exec", "test", "run", "unit", "-q", "-C", "a", "-Ca", "-qC", "--", "-e", "--env=a", "--color=never", "-l",
         "-v", "-x", "--offline", "--base=host", "--base", "--with", "--network"]  # fmt: skip


@pytest.fixture(scope="module")
def read():
    """Functions of a command line: what the short and the long way make of it, None where they do not take it."""
    with pytest.MonkeyPatch.context() as patch:
        yield _read(patch)


def one_off_project(base, layers, *, network):
    return one_off(base, *layers, network=network)


def _read(patch):
    heard = []
    patch.setattr(fastpath, "find_nearest_spec", lambda directory: directory)
    patch.setattr(fastpath, "store_directory", lambda: "/store")
    patch.setattr(
        fast_exec, "read_plan", lambda store, spec, env: {"spec": spec.removesuffix("/one-off.yaml"), "env": env}
    )
    patch.setattr(fast_exec, "release", lambda plan: None)
    patch.setattr(one_off_spec, "provide_project", one_off_project)
    patch.setattr(fastpath, "_launch", lambda plan, argv: heard.append(("exec", plan["spec"], plan["env"], argv)) or 0)
    patch.setattr(fast_test, "read_plan", lambda store, spec, task, envs: heard.append((task, spec, envs)))

    def enter(settings, env, argv, **how):
        heard.append((settings, {**how}, ("exec", settings.directory, env, argv)))

    def perform(settings, task, request, reports=(), provenance=None):
        heard.append((settings, (request, reports, provenance), (task, settings.directory, request.envs)))

    patch.setattr(interactive, "run_interactively", enter)
    patch.setattr(session, "run_and_report", perform)

    def short(words):
        heard.clear()
        fastpath.try_exec([*words])
        fastpath.try_task([*words])
        return heard[0] if heard else None

    def long(words):
        heard.clear()
        try:
            main.run_command_line([*words])
        except EnvtoolError:
            return None
        return heard[0] if heard else None

    return short, long


@pytest.mark.parametrize(("words", "meaning"), SAME)
def test_every_spelling_takes_the_short_way(read, words, meaning):
    short, long = read
    assert short(words) == meaning
    assert long(words)[2] == meaning


@pytest.mark.parametrize("words", LONG)
def test_what_says_more_takes_the_long_way(read, words):
    assert read[0](words) is None


@given(st.one_of(*(st.lists(st.sampled_from(words), max_size=7) for words in (WORDS, KNOWN))))
@example(["exec", "unit", "ls", "-q"])
@example(["-C", "-q", "test"])
def test_the_short_way_means_what_the_long_way_does(read, words):
    short, long = read
    meaning = short(words)
    if meaning is None:
        return
    said = fastpath.line(words)
    found = long(words)
    assert found is not None, words
    settings, more, same = found
    assert same == meaning
    plain = settings.__class__(
        directory=same[1] if said.base else said.directory,
        file="one-off.yaml" if said.base else "",
        color=said.color,
        verbosity=-1 if said.quiet else settings.verbosity if said.verbose else 0,
        json=said.json,
        called=settings.called,
    )
    assert settings == plain  # nothing else was said
    assert said.verbose == (settings.verbosity > 0)
    if said.verb == "exec":
        assert not any(more.values())
    else:
        request, written, provenance = more
        assert provenance is None
        assert [(name, os.path.abspath(path)) for name, path in written] == [("junit", said.junit)] * bool(said.junit)
        reports = (said.junit,) if said.junit else ()
        assert request == request.__class__(
            directory=said.directory,
            envs=said.envs,
            jobs=request.jobs,
            fail_fast=said.fail_fast,
            offline=said.offline,
            reports=reports,
        )  # how many run at once means nothing where nothing runs


def test_completion_is_for_the_long_way(read, monkeypatch):
    monkeypatch.setenv("_ENVTOOL_COMPLETE", "bash_complete")
    assert read[0](["test"]) is None
    assert read[0](["exec", "unit", "true"]) is None

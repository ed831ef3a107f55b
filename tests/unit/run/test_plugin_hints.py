"""Hints of plugins for a failed task: which one is printed, and what becomes of one that fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.errors import Interrupted, PluginError, ResolveError
from envtool.run import plugin_hints
from tests.unit.run.fakes import stack_of


def task(*hooks):
    call = SimpleNamespace(context=SimpleNamespace(failure_hints=hooks), event_id="t")
    return SimpleNamespace(call=call, request=SimpleNamespace(env="unit", task="test"))


def raising(error):
    def hook(failure):
        raise error

    return hook


def find(*hooks, output="x"):
    return plugin_hints.find_hint(task(*hooks), stack_of(), 2, output)


def test_the_first_that_knows_is_printed():
    assert find() == ""
    assert find(lambda failure: "", lambda failure: " second\n", lambda failure: "third") == "second"


def test_a_hook_gets_what_it_needs():
    seen = []

    def hook(failure):
        seen.append(failure)
        return ""

    assert find(hook, output="fatal error: zlib.h") == ""
    (failure,) = seen
    assert (failure.env, failure.task, failure.status, failure.base_kind) == ("unit", "test", 2, "tarball")
    assert failure.output == "fatal error: zlib.h"


def test_a_hint_of_any_length_is_cut():
    assert len(find(lambda failure: "x" * 100_000)) == plugin_hints.MAX_LENGTH


def test_a_plugin_that_fails_is_named_and_the_task_is_reported():
    error = PluginError("the plugin envtool-bad 1.0", "envtool_failure_hint", "KeyError: 'x'", KeyError("x"))
    assert "envtool-bad" in find(raising(error))


@pytest.mark.parametrize("error", [ResolveError("no mirror", code="no-mirror"), Interrupted("ended")])
def test_a_look_up_that_fails_leaves_it_to_the_next(error):
    assert find(raising(error), lambda failure: "next") == "next"


def test_packages_are_looked_up_on_the_base(monkeypatch):
    asked = []

    class Site:
        def __init__(self, context, request, layers, event_id):
            asked.append((request, len(layers), event_id))

        def packages_with(self, ends):
            return dict.fromkeys(ends, "libx-dev")

    monkeypatch.setattr("envtool.build.site.ContainerSite", Site)
    hint = find(lambda failure: failure.packages_with(["x.h"])["x.h"])
    assert hint == "libx-dev"
    assert asked == [(None, 2, "t")]


def test_installed_packages_are_those_with_a_list_of_dpkg(monkeypatch):
    """Of the layers' own files; on the base `host` this machine's, too."""
    lists = [b"var/lib/dpkg/info/zlib1g-dev:amd64.list", b"var/lib/dpkg/info/make.list", b"var/lib/dpkg/info/make.md5sums",
             b"opt/var/lib/dpkg/info/no.list"]  # fmt: skip
    monkeypatch.setattr(plugin_hints.layers, "read_records", lambda layer: [(path, ()) for path in lists])
    assert plugin_hints.list_packages(stack_of()) == {"zlib1g-dev", "make"}
    seen = []
    find(lambda failure: seen.append(failure.installed()) or "")
    assert seen == [{"zlib1g-dev", "make"}]

"""Whose errors in the project's own files stop a command: those of the envs that it selects, and of what they need."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.errors import Problem, SpecError, UsageError
from envtool.model import Where
from envtool.plugins import discover
from envtool.spec import load
from tests.unit.spec.test_plugin_keys import Bare, Note
from tests.unit.test_plugins import Entry, plugin


class Words(api.Language):
    """Adds a layer `words`; finds an error in `.words` if that says "wrong", and cannot read it if it says "closed"."""

    name = "words"

    def layers(self, env, project):
        text = project.read(".words") or ""
        if text == "wrong":
            where = Where(file=".words", line=1, column=1)
            raise SpecError((Problem(where=where, message=f"wrong for {env.name}", code="words"),))
        if text == "closed":
            raise UsageError("`.words` is closed", code="words")
        return (api.LayerDraft(name="words", kind="note", options="x"),)


REGISTRY = discover([], [Entry("p", lambda: plugin(
    envtool_base_kinds=lambda: [Bare()], envtool_layer_kinds=lambda: [Note()], envtool_languages=lambda: [Words()],
))])  # fmt: skip
HEAD = "version: 1\nbases: {b: {bare: x}}\ndefaults: {base: b}\n"
ENVS = """\
envs:
  good: {tasks: {test: x}}
  bad: {language: words, tasks: {test: x}}
  many: {matrix: {v: [a, b]}, language: words, tasks: {test: x}}
  after: {tasks: {test: {run: x, needs: [test@bad]}}}
"""


def read(*only, spec=HEAD + ENVS, words="wrong", **named):
    project = testing.MemoryProject({"envtool.yaml": spec, ".words": words})
    return load(project, "envtool.yaml", root="/r", registry=REGISTRY, only=only, **named)


def messages(*only, **named):
    with pytest.raises(SpecError) as refused:
        read(*only, **named)
    return [problem.message for problem in refused.value.problems]


def names(spec):
    return [env.name for env in spec.envs]


def test_an_env_that_is_not_selected_does_not_stop_the_command():
    assert names(read("good")) == ["good", "after"]
    assert names(read("good", words="closed")) == ["good", "after"]
    assert names(read("good", words="right")) == ["good", "bad", "many[a]", "many[b]", "after"]


def test_the_errors_of_the_selected_envs_are_reported_alone():
    assert messages("bad") == ["wrong for bad"]
    assert messages("many") == ["wrong for many[a]", "wrong for many[b]"]
    assert messages("many[b]", "good") == ["wrong for many[b]"]
    assert messages("bad", words="closed") == ["language `words`: `.words` is closed"]


def test_an_env_that_a_selected_one_needs_counts_where_it_runs():
    assert names(read("after")) == ["good", "after"]
    assert messages("after", needed=True) == ["wrong for bad"]


def test_without_a_selection_and_for_an_unknown_name_all_errors_count():
    everything = ["wrong for bad", "wrong for many[a]", "wrong for many[b]"]
    assert messages() == everything
    assert messages("good", "gone") == everything


def test_an_error_of_the_spec_counts_whatever_is_selected():
    found = messages("good", spec=f"{HEAD}layers: {{l: {{note: x, needs: [l]}}}}\n{ENVS}")
    assert "layer `l` needs itself: l → l" in found
    assert len(found) == 4  # and all others: the command is refused anyway


def test_what_is_missing_for_the_error_is_no_error_of_its_own():
    """The layer `words` is not there, and the user's layer that needs it says nothing of it."""
    spec = f"{HEAD}envs:\n  good: {{}}\n  bad: {{language: words, layers: [{{note: y, needs: [words]}}]}}\n"
    assert messages(spec=spec) == ["wrong for bad"]
    assert names(read("good", spec=spec)) == ["good"]


SERVICES = """\
services:
  db: {base: b, language: words, command: serve, ports: [80]}
  other: {base: b, command: serve, ports: [80]}
envs:
  good: {services: [other]}
  bad: {services: [db]}
"""


def test_a_service_counts_for_the_envs_that_use_it():
    spec = read("good", spec=HEAD + SERVICES)
    assert (names(spec), [service.name for service in spec.services]) == (["good"], ["other"])
    assert messages("bad", spec=HEAD + SERVICES) == ["wrong for db"]
    assert messages("service:db", spec=HEAD + SERVICES) == ["wrong for db"]
    assert names(read("service:other", spec=HEAD + SERVICES)) == ["good"]

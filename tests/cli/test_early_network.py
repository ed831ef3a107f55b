"""The network of services starts before the spec is read."""

from __future__ import annotations

import os

import pytest

from envtool.cli import fastpath, main
from envtool.container import pod_spawn

SERVICES = "services: {db: {command: sleep 9}}\n"


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A directory with a spec that has services below a directory, and how often the holder of a pod was started."""
    starts: list[int] = []
    monkeypatch.setattr(pod_spawn, "start_early", lambda: starts.append(1))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "envtool.yaml").write_text(SERVICES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("_ENVTOOL_COMPLETE", raising=False)
    return starts


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-C", "test", "test", "--again"], 1),
        (["-Ctest", "--allow-pass", "run", "build", "-e", "app"], 1),
        (["run", "--again", "-C", "test", "unit", "--", "-C", "elsewhere", "-f", "x", "--help"], 1),
        (["test", "--again"], 0),  # no spec here
        (["-C", "test", "why", "test"], 0),
        (["-C", "test", "exec", "run", "--", "test"], 0),
        (["-C", "test", "test", "-f", "other.yaml"], 0),  # the session looks at that one
        (["-C", "test", "test", "--help"], 0),
        (["-C", "missing", "test"], 0),
        (["test", "-C"], 0),
    ],
)
def test_a_run_with_services_begins_with_their_network(started, words, expected):
    fastpath.expect_services(words)
    assert len(started) == expected


def test_completion_starts_no_network(started, monkeypatch):
    monkeypatch.setenv("_ENVTOOL_COMPLETE", "bash_complete")
    fastpath.expect_services(["-C", "test", "test"])
    assert started == []


@pytest.mark.parametrize("kind", ["none", "missing", "directory", "fifo", "link", "NUL"])
def test_only_a_file_with_services_starts_a_network(started, tmp_path, kind):
    spec = tmp_path / "envtool.yaml"
    match kind:
        case "none":
            spec.write_text("version: 1\nenvs: {}\n")
        case "directory":
            spec.mkdir()
        case "fifo":
            os.mkfifo(spec)
        case "link":
            spec.symlink_to("test/envtool.yaml")
    fastpath.start_network("\0" if kind == "NUL" else str(spec))
    assert started == []
    fastpath.start_network(str(tmp_path / "test" / "envtool.yaml"))
    assert started == [1]


def test_a_verb_starts_it_where_the_command_line_says_another_file(started, tmp_path):
    (tmp_path / "test" / "other.yaml").write_text(SERVICES)
    assert main.main(["-C", "test", "-f", "other.yaml", "test"]) == 2
    assert started == [1]

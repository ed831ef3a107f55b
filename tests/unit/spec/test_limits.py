"""`limits:` of envs, tasks, services and layers, and `--limit`: what is read, and each error with its place."""

from __future__ import annotations

import pytest

from envtool.build.limit_checks import check_limits
from envtool.errors import SandboxError, SpecError, UsageError
from envtool.model import Limit
from envtool.spec.limits import LEAST, NAMES, parse_limit, parse_options

FULL = """\
version: 1
layers:
  heavy: {run: make, limits: {memory: 2G, cpus: 2, files: "256"}}
  sized: {run: make, limits: {pids: "{{ matrix.many }}"}}
services:
  db: {base: {debian: bookworm}, command: serve, ready: 80, limits: {memory: 1GiB, pids: 100, enforce: try}}
defaults:
  limits: {pids: 500, disk: 1G, idle: 2m, enforce: try}
envs:
  unit:
    base: {debian: bookworm}
    layers: [heavy]
    services: [db]
    limits: {memory: 2G, cpus: 1.5, time: 10m}
    tasks:
      test: pytest
      slow: {run: pytest, timeout: 20m, limits: {memory: 4G, enforce: must}}
      late: {run: pytest, limits: {time: 30m, files: 64}}
  many:
    base: {debian: bookworm}
    layers: [sized]
    matrix: {many: ["7"]}
"""


def values(limits):
    return {name: (limit.value, limit.must) for name, limit in limits.items()}


def test_where_limits_are_read(read):
    spec = read(FULL)
    unit, many = spec.envs
    test, slow, late = unit.tasks
    below = {"pids": (500, False), "disk": (10**9, False)}
    own = {"memory": (2e9, False), "cpus": (1.5, False)}
    assert values(unit.limits) == {**below, **own}, "exec and shell have no time"
    assert values(test.limits) == {**below, **own, "idle": (120, False), "time": (600, False)}
    assert test.timeout == 600
    assert values(slow.limits) == {
        "pids": (500, True), "disk": (10**9, True), "cpus": (1.5, True), "memory": (4e9, True), "idle": (120, True),
    }  # fmt: skip
    assert slow.timeout == 1200, "its own timeout replaces the time of its env"
    assert late.timeout == 1800
    assert values(late.limits)["files"] == (64, False)
    assert late.limits["time"].where == "envtool.yaml:18:42"
    assert test.limits["pids"].where == "envtool.yaml:8:18"
    (service,) = unit.services
    assert values(service.limits) == {"memory": (1 << 30, False), "pids": (100, False)}
    assert values(unit.layers[0].limits) == {"memory": (2e9, True), "cpus": (2, True), "files": (256, True)}
    assert values(many.layers[0].limits) == {"pids": (7, True)}
    assert spec.layers["sized"].limits == {}, "a declaration that belongs to no env"


@pytest.mark.parametrize(
    ("limits", "message", "hint"),
    [
        ("{memoy: 2G}", "unknown key `memoy` in `limits` of", "did you mean `memory`?"),
        ("{memory: 2x}", "`2x` is not a limit of `memory`", "at least 16MB"),
        ("{memory: 1k}", "`1k` is not a limit of `memory`", "at least 16MB"),
        ("{disk: 10}", "`10` is not a limit of `disk`", "at least 1MB"),
        ("{cpus: 0}", "`0` is not a limit of `cpus`", "1.5"),
        ("{cpus: nan}", "`nan` is not a limit of `cpus`", "1.5"),
        ("{pids: 0}", "`0` is not a limit of `pids`", "from 1"),
        ("{pids: -3}", "`-3` is not a limit of `pids`", "from 1"),
        ("{files: 3}", "`3` is not a limit of `files`", "from 16"),
        ("{idle: 0.5s}", "`0.5s` is not a limit of `idle`", "at least 1s"),
        ("{time: soon}", "`soon` is not a limit of `time`", "write 30s"),
        ("{memory: '{{ matrix.no }}'}", "`matrix.no`", ""),
        ("{enforce: maybe}", "", "`must`"),
        ("{memory: true}", "", ""),
        ("[memory]", "", ""),
    ],
)
def test_what_is_wrong(read, limits, message, hint):
    with pytest.raises(SpecError) as caught:
        read(f"version: 1\nenvs:\n  unit:\n    tasks:\n      test: {{run: 'true', limits: {limits}}}\n")
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in f"{problem.message} {problem.hint}"
    assert problem.where.line == 5


def test_a_time_that_is_there_twice(read):
    with pytest.raises(SpecError) as caught:
        read("version: 1\nenvs: {unit: {tasks: {test: {run: 'true', timeout: 3s, limits: {time: 5s}}}}}\n")
    (problem,) = caught.value.problems
    assert problem.message == "task `test` has its time twice: `timeout`, and `time` of its limits"


def test_a_service_has_no_time(read):
    with pytest.raises(SpecError, match="1 error") as caught:
        read(
            "version: 1\nservices: {db: {base: {debian: b}, command: x, ready: 1, limits: {idle: 5s}}}\nenvs: {u: {}}\n"
        )
    assert "unknown key `idle`" in caught.value.problems[0].message


def test_options_of_the_command_line():
    assert parse_options(["memory=2G", "cpus=0.5", "memory=1G"]) == {
        "memory": Limit(1e9, "--limit memory=1G"), "cpus": Limit(0.5, "--limit cpus=0.5"),
    }  # fmt: skip
    for text, hint in (
        ("memroy=2G", "did you mean `memory`?"),
        ("memory", "500MB"),
        ("pids=many", "number"),
        ("=", ""),
    ):
        with pytest.raises(UsageError) as caught:
            parse_options([text])
        assert f"`--limit {text}`" in caught.value.message
        assert hint in caught.value.hint


@pytest.mark.parametrize("name", NAMES)
def test_the_least_and_nonsense(name):
    least = LEAST[name]
    assert parse_limit(name, f"{least:f}".rstrip("0").rstrip(".") or "0") == pytest.approx(least)
    for text in ("", "x", "-1", "0", "1e400", "inf", "9" * 400, "²", "1 2", "\0"):
        assert parse_limit(name, text) is None, text


def test_a_limit_that_cannot_be_enforced(monkeypatch):
    monkeypatch.setattr("envtool.container.cgroups.find_sites", list)
    notes: list[object] = []
    check_limits(
        "task `t`", {"memory": Limit(1e9, "a:1:1"), "pids": Limit(5, "a:1:2"), "files": Limit(50)}, notes.append
    )
    assert not notes, "memory is sampled, processes are counted by the kernel for each user"
    with pytest.raises(SandboxError) as caught:
        check_limits("task `t`", {"cpus": Limit(1.5, "envtool.yaml:3:9")}, notes.append)
    assert caught.value.message == (
        "task `t`: its limit `cpus` (envtool.yaml:3:9) cannot be enforced here: there is no cgroup that it may use"
    )
    assert "enforce: try" in caught.value.hint
    with pytest.raises(SandboxError, match=r"`disk` .* on this machine's disk"):
        check_limits("task `t`", {"disk": Limit(1e9, "a:1:1")}, notes.append, on_disk=True)
    assert not notes
    check_limits("task `t`", {"cpus": Limit(1.5, "a:1:1", False)}, notes.append)
    assert [note.text for note in notes] == [
        "task `t`: its limit `cpus` (a:1:1) cannot be enforced here: there is no cgroup that it may use"
    ]

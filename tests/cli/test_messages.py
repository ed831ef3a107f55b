"""Whole outputs, as a user sees them, against committed files (tests/golden/messages)."""

from __future__ import annotations

import json
import re
import sys
import types

import pytest

from envtool.container.doctor import Check
from envtool.errors import StoreError
from envtool.report.text import one_line, visible_width
from envtool.store.store import Store

CASES = {
    "test-mixed": ("mixed", ["test"]),
    "test-mixed-again": ("mixed", ["-C", "a dir", "test", "-q"]),
    "test-mixed-verbose": ("mixed", ["test", "-v"]),
    "test-mixed-color": ("mixed", ["test", "--color", "always"]),
    "test-mixed-json": ("mixed", ["test", "--json"]),
    "test-passed-quiet": ("passed", ["run", "lint", "-q"]),
    "test-unchanged": ("unchanged", ["test"]),
    "test-unchanged-quiet": ("unchanged", ["test", "-q"]),
    "test-unchanged-color": ("unchanged", ["test", "--color", "always"]),
    "test-learned": ("learned", ["test", "--learn-network"]),
    "test-learned-quiet": ("learned", ["test", "--learn-network", "-q"]),
    "test-learned-json": ("learned", ["test", "--learn-network", "--json"]),
    "test-huge": ("huge", ["test"]),
    "test-broken": ("broken", ["test"]),
    "test-skipped": ("skipped", ["test", "-x"]),
    "build-outputs": ("outputs", ["build"]),
    "test-build-error": ("build-error", ["test"]),
    "test-build-error-json": ("build-error", ["test", "--json"]),
    "test-no-such-task": ("empty", ["run", "tset"]),
    "test-bug": ("bug", ["test"]),
    "list": ("mixed", ["list"]),
    "list-json": ("mixed", ["list", "--json"]),
    "plan": ("mixed", ["plan"]),
    "plan-test": ("mixed", ["plan", "lint", "--color", "always"]),
    "plan-verbose": ("mixed", ["plan", "-v"]),
    "plan-quiet": ("mixed", ["plan", "-q"]),
    "plan-json": ("mixed", ["plan", "--json"]),
    "lock": ("mixed", ["lock"]),
    "lock-upgrade": ("mixed", ["lock", "--upgrade", "attrs"]),
    "lock-upgrade-json": ("mixed", ["lock", "--upgrade", "attrs", "--json"]),
    "lock-unchanged": ("mixed", ["lock", "--upgrade"]),
    "lock-check": ("mixed", ["lock", "--check", "-e", "unit"]),
    "lock-check-json": ("mixed", ["lock", "--check", "--json"]),
    "lock-check-fits": ("unchanged", ["lock", "--check"]),
    "lock-platform-wrong": ("platform", ["lock", "--platform", "linux/riscv64"]),
    "lock-check-upgrade": ("mixed", ["lock", "--check", "--upgrade"]),
    "lock-name": ("mixed", ["lock", "--upgrade", "nope"]),
    "lock-names-alone": ("mixed", ["lock", "attrs"]),
    "why": ("mixed", ["why"]),
    "why-color": ("mixed", ["why", "deps", "--color", "always", "-v"]),
    "why-json": ("mixed", ["why", "--json"]),
    "why-hit": ("hit", ["why", "deps"]),
    "why-hit-json": ("hit", ["why", "deps", "--json"]),
    "why-task": ("task", ["why", "unit:*"]),
    "why-nothing": ("nothing", ["why"]),
    "test-not-cached": ("not-cached", ["test", "--expect-cached"]),
    "test-not-cached-json": ("not-cached", ["test", "--expect-cached", "--json"]),
    "cache": ("mixed", ["cache"]),
    "cache-verbose": ("mixed", ["cache", "-v"]),
    "cache-json": ("mixed", ["cache", "--json"]),
    "cache-away": ("broken", ["cache"]),
    "cache-key": ("mixed", ["cache", "key", "/somewhere/key"]),
    "cache-key-json": ("mixed", ["cache", "key", "--json"]),
    "schema": ("mixed", ["schema"]),
    "exec": ("mixed", ["exec", "lint", "--", "ls", "-l", "--json"]),
    "exec-unknown": ("mixed", ["exec", "nope", "true"]),
    "exec-nothing": ("mixed", ["exec", "lint"]),
    "exec-json": ("mixed", ["--json", "exec", "lint", "true"]),
    "exec-no-dashes": ("mixed", ["exec", "lint", "ls", "-l"]),
    "shell": ("mixed", ["shell", "lint"]),
    "exec-service": ("mixed", ["exec", "--service", "db", "--", "psql", "-l"]),
    "exec-service-learned": ("mixed", ["exec", "--service", "db", "--learn-network", "--", "psql"]),
    "exec-service-nothing": ("mixed", ["exec", "--service", "db"]),
    "exec-no-env": ("mixed", ["exec", "--", "true"]),
    "ps": ("mixed", ["ps"]),
    "ps-all": ("mixed", ["ps", "--all"]),
    "ps-color": ("mixed", ["ps", "--color", "always"]),
    "ps-empty": ("empty", ["ps"]),
    "ps-killed": ("killed", ["ps"]),
    "down": ("mixed", ["down"]),
    "down-json": ("mixed", ["down", "--json"]),
    "down-one": ("mixed", ["down", "api"]),
    "down-empty": ("empty", ["down"]),
    "down-contradiction": ("mixed", ["down", "--all", "api"]),
    "scale": ("mixed", ["scale", "api=3", "web=0"]),
    "scale-json": ("mixed", ["scale", "api=3", "--json"]),
    "scale-bad": ("mixed", ["scale", "api=many"]),
    "scale-empty": ("empty", ["scale", "api=3"]),
    "logs": ("mixed", ["logs", "-n", "3", "-f", "api"]),
    "logs-color": ("mixed", ["logs", "--color", "always"]),
    "logs-json": ("mixed", ["logs", "--json"]),
    "logs-all": ("mixed", ["logs"]),
    "gc": ("mixed", ["gc", "--keep-size", "20GB"]),
    "gc-dry-run": ("mixed", ["gc", "--older-than", "7d", "--dry-run", "-v"]),
    "gc-nothing": ("nothing", ["gc", "-q"]),
    "gc-json": ("mixed", ["gc", "--json"]),
    "gc-bad-size": ("mixed", ["gc", "--keep-size", "much"]),
    "gc-bad-age": ("mixed", ["gc", "--older-than", "7"]),
    "store-path": ("mixed", ["store", "path"]),
    "store-size": ("mixed", ["store", "size"]),
    "store-size-json": ("mixed", ["store", "size", "--json"]),
    "store-caches": ("mixed", ["store", "caches"]),
    "store-caches-json": ("mixed", ["store", "caches", "--json"]),
    "store-caches-removed": ("mixed", ["store", "caches", "--remove", "unit"]),
    "store-caches-unknown": ("mixed", ["store", "caches", "nothing"]),
    "store-remove": ("mixed", ["store", "remove", "--yes"]),
    "store-remove-json": ("mixed", ["store", "remove", "-y", "--json"]),
    "store-remove-asks": ("mixed", ["store", "remove"]),
    "store-verify": ("mixed", ["store", "verify"]),
    "store-verify-repair": ("mixed", ["store", "verify", "--repair"]),
    "store-verify-whole": ("whole", ["store", "verify", "-q"]),
    "store-verify-json": ("mixed", ["store", "--json", "verify"]),
    "store-unknown": ("mixed", ["store", "verfy"]),
    "inspect-env": ("mixed", ["inspect", "unit", "--files"]),
    "inspect-layer": ("mixed", ["inspect", "deps"]),
    "inspect-bare": ("mixed", ["inspect", "bare", "--json"]),
    "inspect-path": ("mixed", ["inspect", "unit", "/opt/x"]),
    "inspect-path-gone": ("mixed", ["inspect", "unit", "/gone"]),
    "inspect-path-json": ("mixed", ["inspect", "unit", "/opt/x", "--json"]),
    "inspect-env-json": ("mixed", ["inspect", "unit", "--files", "--json"]),
    "inspect-unknown": ("mixed", ["inspect", "nope"]),
    "diff": ("mixed", ["diff", "unit", "docs"]),
    "diff-files": ("mixed", ["diff", "unit", "docs", "--files", "--color", "always"]),
    "diff-same": ("mixed", ["diff", "unit", "unit"]),
    "diff-json": ("mixed", ["diff", "unit", "docs", "--json"]),
    "env": ("mixed", ["env", "unit"]),
    "env-json": ("mixed", ["env", "unit", "--json"]),
    "env-sh": ("mixed", ["env", "unit", "--format", "sh", "--shims", "/a b/shims", "--export", "DANGER"]),
    "env-dotenv": ("mixed", ["env", "unit", "--format", "dotenv", "--export", "DANGER"]),
    "env-contradiction": ("mixed", ["env", "unit", "--shims", ".shims"]),
    "env-shims-colon": ("mixed", ["env", "unit", "--format", "sh", "--shims", "a:b"]),
    "env-no-variable": ("mixed", ["env", "unit", "--format", "sh", "--export", "DANGR"]),
    "env-no-name": ("mixed", ["env", "unit", "--format", "sh", "--export", "not-a-name"]),
    "env-path": ("mixed", ["env", "unit", "--format", "sh", "--export", "PATH"]),
    "shim": ("mixed", ["shim", ".shims"]),
    "shim-json": ("mixed", ["shim", ".shims", "-e", "unit", "python", "--json"]),
    "shim-empty": ("empty", ["shim", ".shims"]),
    "unknown-verb": ("mixed", ["tset"]),
    "unknown-verb-far": ("mixed", ["frobnicate"]),
    "unknown-verb-other": ("mixed", ["ls"]),
    "unknown-verb-task": ("mixed", ["lint"]),
    "help-verb": ("mixed", ["help", "completion"]),
    "version-short": ("mixed", ["-V"]),
    "unknown-option-near": ("mixed", ["test", "--junt", "x.xml"]),
    "unknown-option-early": ("mixed", ["--junit", "x.xml", "test"]),
    "unknown-option": ("mixed", ["test", "--jbos", "2"]),
    "unknown-option-k": ("mixed", ["test", "-k", "slow"]),
    "extra-argument": ("mixed", ["test", "unit"]),
    "missing-argument": ("mixed", ["run"]),
    "bad-value": ("mixed", ["test", "--jobs", "0"]),
    "tail-unwanted": ("mixed", ["list", "--", "x"]),
    "contradiction": ("mixed", ["-q", "test", "-v"]),
    "no-verb": ("mixed", []),
    "help": ("mixed", ["--help"]),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name, envtool, golden):
    scenario, argv = CASES[name]
    golden(name, envtool(*argv, scenario=scenario).text())


def test_spec_error_is_explained(envtool, golden, monkeypatch):
    render = types.ModuleType("envtool.report.source_excerpt")
    render.explain = lambda problem, columns=0: (
        f"{problem.where}: error: {problem.message}\n {problem.where.line} │ {problem.text}\n"
        f"    │              ^^^^^ {problem.hint}"
    )
    monkeypatch.setitem(sys.modules, "envtool.spec", types.ModuleType("envtool.spec"))
    monkeypatch.setitem(sys.modules, "envtool.report.source_excerpt", render)
    golden("spec-error", envtool("list", "--json", scenario="spec-error").text())
    golden("spec-error-color", envtool("list", "--color=always", scenario="spec-error").text())


def _doctor(monkeypatch, state):
    """A machine with a store for each of two other id maps, one of which this account cannot delete."""
    stands, lost = (
        Store(root="/store", ids=f"range-{name}", idmap="range 0-100000-65536")
        for name in ("0123456789ab", "ba9876543210")
    )
    for name, replacement in {
        "check_machine": _machine(state),
        "read_permissions": lambda root: (),
        "describe_ids": lambda: "range 0-1-2",
        "store_directory": lambda: "/store",
        "find_store": lambda idmap: Store(root="/store"),
        "other_idmap_stores": lambda store: (stands, lost),
        "is_deletable": lambda other, inside: other is stands,
        "undeletable_paths": lambda other: (f"/store/ids/{other.ids}",),
    }.items():
        module = "store.inventory" if "deletable" in name else "app.machine_checks"
        monkeypatch.setattr(f"envtool.{module}.{name}", replacement)


def _machine(state):
    """What container.doctor finds."""
    return lambda root: (
        Check(name="kernel", state="ok", text="kernel 6.8, overlay in user namespaces"),
        Check(
            name="subuid", state=state, text="no subuid range for `ann`",
            mend="mend once, as root:   usermod --add-subuids 1-2 ann",
        ),
    )  # fmt: skip


def test_doctor(envtool, golden, monkeypatch):
    _doctor(monkeypatch, "warn")
    golden("doctor", envtool("doctor").text())
    _doctor(monkeypatch, "fail")
    assert envtool("doctor").status == 3
    assert [check["state"] for check in json.loads(envtool("doctor", "--json").out)["checks"]] == [
        "ok",
        "fail",
        "ok",
        "warn",
    ]
    assert "profile envtool " in envtool("doctor", "--print", "apparmor-profile").out


def test_a_store_that_cannot_be_used_is_a_finding(envtool, monkeypatch):
    def standing(_):
        raise StoreError("the store belongs to another user", hint="set ENVTOOL_STORE")

    _doctor(monkeypatch, "ok")
    monkeypatch.setattr("envtool.app.machine_checks.find_store", standing)
    ran = envtool("doctor")
    assert ran.status == 3
    assert "the store belongs to another user" in ran.out
    assert "set ENVTOOL_STORE" in ran.out


# ---- no line that a terminal would wrap ------------------------------------------------------------------------------

WIDTHS = (60, 80, 100, 160, 200)
TELLING = ("ps", "list", "plan", "why", "lock", "cache", "gc", "store", "inspect", "diff")
SHOWN = {
    name: case for name, case in CASES.items()
    if "--json" not in case[1] and {*TELLING} & {*case[1]} and name not in ("gc-bad-size", "gc-bad-age")
}  # fmt: skip
SHOWN |= {f"verify-{scenario}": (scenario, ["verify"]) for scenario in ("mixed", "same", "broken", "interrupted")}
SHOWN["doctor"] = ("mixed", ["doctor"])
LONG = "-of-a-name/that-is/longer-than/most-others/by-forty"
TIMES = re.compile(r"\b\d+\.\ds\b|\b\d+m\d\ds\b|\b\d+(?:\.\d+)? (?:kB|MB|GB)\b")
PRINTERS = (
    "cli.tables",
    "cli.inspect_tables",
    "cli.service_tables",
    "cli.store_tables",
    "cli.cache_tables",
    "cli.verify_tables",
    "report.why",
)


def _shown(envtool, monkeypatch, scenario, argv):
    if argv != ["doctor"]:
        return envtool(*argv, scenario=scenario)
    with monkeypatch.context() as patch:
        _doctor(patch, "warn")
        return envtool(*argv)


@pytest.mark.parametrize("long", [False, True], ids=["names", "long names"])
@pytest.mark.parametrize("columns", WIDTHS)
def test_what_a_verb_prints_fits(columns, long, envtool, monkeypatch):
    monkeypatch.setattr("envtool.cli.console.terminal_width", lambda file=None: columns)
    monkeypatch.setattr("envtool.report.plain.Plain._columns", lambda self: columns)
    if long:
        for each in PRINTERS:
            name = f"envtool.{each}.one_line"
            monkeypatch.setattr(
                name, lambda text: f"{one_line(text)}{LONG}" if text and " " not in text else one_line(text)
            )
    wide = []
    for name, (scenario, argv) in SHOWN.items():
        said = _shown(envtool, monkeypatch, scenario, argv)
        assert "internal error" not in said.err, said
        wide += [(name, line) for line in said.text().split("\n") if visible_width(line) > columns and not _typed(line)]
    assert not wide


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_no_number_and_no_time_is_cut_on_a_narrow_screen(columns, envtool, monkeypatch):
    """What a wide screen has of them, a narrow one has, too."""

    def numbers(wide):
        monkeypatch.setattr("envtool.cli.console.terminal_width", lambda file=None: wide)
        monkeypatch.setattr("envtool.report.plain.Plain._columns", lambda self: wide)
        found = {}
        for name, (scenario, argv) in SHOWN.items():
            text = re.sub(r"\s+", " ", _shown(envtool, monkeypatch, scenario, argv).text())
            found[name] = sorted(TIMES.findall(text))
        return found

    whole = numbers(200)
    assert sum(map(len, whole.values())) > 40
    assert numbers(columns) == whole


def _typed(line: str) -> bool:
    """A line that is one piece, which somebody is to type."""
    return line.strip().startswith("`") and line.count("`") == 2

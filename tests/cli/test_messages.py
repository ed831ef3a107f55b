"""Whole outputs, as a user sees them, against committed files (tests/golden/messages)."""

from __future__ import annotations

import json
import re
import sys
import types

import pytest

from envtool.report.text import one_line, visible_width

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
    "plan-json": ("mixed", ["plan", "--json"]),
    "lock": ("mixed", ["lock"]),
    "lock-upgrade": ("mixed", ["lock", "--upgrade", "attrs"]),
    "lock-upgrade-json": ("mixed", ["lock", "--upgrade", "attrs", "--json"]),
    "lock-unchanged": ("mixed", ["lock", "--upgrade"]),
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
    "gc": ("mixed", ["gc", "--keep-size", "20GB"]),
    "gc-dry-run": ("mixed", ["gc", "--older-than", "7d", "--dry-run", "-v"]),
    "gc-nothing": ("nothing", ["gc", "-q"]),
    "gc-json": ("mixed", ["gc", "--json"]),
    "gc-bad-size": ("mixed", ["gc", "--keep-size", "much"]),
    "gc-bad-age": ("mixed", ["gc", "--older-than", "7"]),
    "store-path": ("mixed", ["store", "path"]),
    "store-size": ("mixed", ["store", "size"]),
    "store-size-json": ("mixed", ["store", "size", "--json"]),
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
    """A machine with a store for each of two id maps."""
    monkeypatch.setitem(sys.modules, "envtool.container.doctor", _probe(state))
    store = types.ModuleType("envtool.store.store")
    stands, lost = (
        types.SimpleNamespace(idmap_path=lambda room, top=top: f"{top}/{room}", idmap="range 0-100000-65536", top=top)
        for top in ("/store/ids/range-0123456789ab", "/store/ids/range-ba9876543210")
    )
    store.check_only_store_files = None
    store.store_directory, store.find_store, store.other_idmap_stores = (
        lambda: "/store",
        lambda _: stands,
        lambda _: [stands, lost],
    )
    survey = types.ModuleType("envtool.store.inventory")
    survey.is_deletable, survey.undeletable_paths = lambda other, inside: other is stands, lambda other: (other.top,)
    monkeypatch.setitem(sys.modules, "envtool.store.inventory", survey)
    _believed(monkeypatch)
    monkeypatch.setitem(sys.modules, "envtool.store.store", store)


def test_doctor(envtool, golden, monkeypatch):
    _doctor(monkeypatch, "warn")
    golden("doctor", envtool("doctor").text())
    monkeypatch.setitem(sys.modules, "envtool.container.doctor", _probe("fail"))
    assert envtool("doctor").status == 3
    assert [check["state"] for check in json.loads(envtool("doctor", "--json").out)["checks"]] == [
        "ok",
        "fail",
        "ok",
        "warn",
    ]
    assert envtool("doctor", "--print", "apparmor-profile").out == "profile envtool {}\n"


def _believed(monkeypatch):
    """There is no config.yaml that is not believed."""
    consent = types.ModuleType("envtool.app.permissions")
    consent.read_permissions = lambda root: ()
    monkeypatch.setitem(sys.modules, "envtool.app.permissions", consent)


def _probe(state):
    def check(name, state, text, mend=""):
        return types.SimpleNamespace(name=name, state=state, text=text, mend=mend)

    probe = types.ModuleType("envtool.container.doctor")
    probe.check_machine = lambda root: (
        check("kernel", "ok", "kernel 6.8, overlay in user namespaces"),
        check("subuid", state, "no subuid range for `ann`", "mend once, as root:   usermod --add-subuids 1-2 ann"),
    )
    probe.apparmor_profile = lambda: "profile envtool {}\n"
    return probe


def test_a_store_that_cannot_be_used_is_a_finding(envtool, monkeypatch):
    from envtool.errors import StoreError

    def standing(_):
        raise StoreError("the store belongs to another user", hint="set ENVTOOL_STORE")

    store = types.ModuleType("envtool.store.store")
    store.find_store = standing
    store.check_only_store_files = store.other_idmap_stores = store.store_directory = None
    _believed(monkeypatch)
    monkeypatch.setitem(sys.modules, "envtool.store.store", store)
    monkeypatch.setitem(sys.modules, "envtool.container.doctor", _probe("ok"))
    ran = envtool("doctor")
    assert ran.status == 3
    assert "the store belongs to another user" in ran.out
    assert "set ENVTOOL_STORE" in ran.out


# ---- no line that a terminal would wrap ------------------------------------------------------------------------------

WIDTHS = (60, 80, 100, 160, 200)
TELLING = ("list", "plan", "why", "lock", "cache", "gc", "store", "inspect", "diff")
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

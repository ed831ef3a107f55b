"""What each fast way imports, and `test` in the long way: the same modules of others and no more, and no more modules of ours, whatever
these are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.pinned.shared import GOLDEN

pytestmark = [pytest.mark.e2e, pytest.mark.any_caller, pytest.mark.one_caller]

KEPT = GOLDEN / "imports.json"


def imported(place, *words, **environ) -> tuple[set[str], set[str]]:
    """Modules of others, and ours (without packages, which only say what is in them), that a command imports and a Python
    that does nothing does not. What is kept has
    those of such a Python too: how many these are is the affair of each installation."""
    place.environ |= {"PYTHONPROFILEIMPORTTIME": "1", **environ}
    try:
        done = place.envtool(*words)
        assert done.status in (0, 1), done.said  # completion ends with 1 in click
        argv = [place.caller.command[0], "-m", "this"]
        nothing = subprocess.run(argv, env=place.variables(), stdin=-3, stdout=-3, stderr=-1, check=True, text=True)
    finally:
        for name in ("PYTHONPROFILEIMPORTTIME", *environ):
            del place.environ[name]
    lines = [
        {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
        for said in (done.err, nothing.stderr)
    ]
    names = lines[0] if os.environ.get("ENVTOOL_UPDATE") else lines[0] - lines[1]
    ours = {name for name in names if name.partition(".")[0].startswith("envtool")}
    packages = {name for name in ours if any(other.startswith(f"{name}.") for other in ours)}
    return names - ours, ours - packages


# What the long way of a task that passes has no use for: reports, hints of failures, other languages, services, networks.
UNUSED = {
    "envtool.build.builder", "envtool.build.failure_hints", "envtool.build.host_network", "envtool.build.network_errors", "envtool.container.pod",
    "envtool.net.host_config", "envtool.plan.change_values", "envtool.plan.why", "envtool.report.junit", "envtool.report.markdown",
    "envtool.report.sbom.document", "envtool.report.terminal", "envtool.teamcache.statement", "envtool_node.package_json",
    "envtool_python.dependency_sources", "envtool_python.metadata", "envtool_python.project_layers", "envtool_python.requirements",
}  # fmt: skip


def test_what_fast_ways_import(place):
    place.task("true")
    place.shell("git init -q .")
    assert place.envtool("exec", "unit", "--", "true").status == 0
    assert place.envtool("test").status == 0
    time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
    for _ in range(2):
        assert place.envtool("test").status == 0
    ways = {
        "exec": imported(place, "exec", "unit", "--", "true"),
        "test": imported(place, "test"),
        "version": imported(place, "--version"),
        "help": imported(place, "--help"),
        "complete": imported(place, _ENVTOOL_COMPLETE="bash_complete", COMP_WORDS="envtool te", COMP_CWORD="1"),
    }
    ways["test --again"] = imported(place, "test", "--again")
    assert not UNUSED & ways["test --again"][1]
    # Of packages the top is enough, and what `_struct` and its kin do is `struct`'s affair: they are built in, or are not.
    found = {
        name: {
            "others": sorted({each.partition(".")[0] for each in others if each[0] != "_"}),
            "ours": len(ours),
        }
        for name, (others, ours) in ways.items()
    }
    # What is built into Debian's Python and not into others (errno, binascii, struct) was added by hand.
    python = ".".join(map(str, sys.version_info[:2]))
    if os.environ.get("ENVTOOL_UPDATE"):
        KEPT.write_text(json.dumps({"python": python, "ways": found}, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    for name, way in found.items():
        held = kept["ways"][name]
        more = {*way["others"]} - {*held["others"]}
        if python != kept["python"]:  # another Python's own modules import others
            more -= sys.stdlib_module_names
        assert not more, f"{name} imports more: {more}"
        assert way["ours"] <= held["ours"], (
            f"{name} imports {way['ours']} modules of ours, not {held['ours']}: {ways[name][1]}"
        )

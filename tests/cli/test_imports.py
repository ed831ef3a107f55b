"""What starting costs, held by a set and not by a clock: what must not be imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

BANNED = {
    "rich",
    "requests",
    "yaml",
    "jinja2",
    "jsonschema_rs",
    "junitparser",
    "pluggy",
    "asyncio",
    "importlib.metadata",
}
OURS = {"envtool.api", "envtool.app", "envtool.cli.test", "envtool.report.terminal"}


def imported(code):
    """Names of all modules after `code`. (-X importtime does not see importlib.import_module.)"""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('modules:', *sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {*ran.stdout.rpartition("modules:")[2].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import envtool.cli.main",
        "from envtool.cli.main import main; main(['--help'])",
        "from envtool.cli.main import main; main(['--version'])",
        "from envtool.cli.main import main; main(['tset'])",
    ],
)
def test_nothing_heavy_before_a_verb_is_known(code):
    names = imported(code)
    assert "click" in names
    assert not names & (BANNED | OURS)


def test_a_verbs_help_imports_that_verb_alone():
    names = imported("from envtool.cli.main import main; main(['list', '--help'])")
    assert "envtool.cli.list" in names
    assert not names & (BANNED | OURS)


def test_the_entry_point_leaves_the_short_way_short():
    assert not imported("import envtool.__main__") & {"click", "dataclasses", "envtool.cli.main"}


def test_the_short_way_of_test_imports_next_to_nothing():
    names = imported(
        "import envtool.__main__, envtool.cli.fastpath, envtool.run.fast_test, envtool.project.rundir, envtool.project.snapshot,"
        " envtool.report.unchanged"
    )
    slow = {"click", "contextlib", "dataclasses", "hashlib", "json", "pathlib", "re", "shutil", "subprocess", "typing"}
    assert not names & (slow | BANNED | {"envtool.model", "envtool.errors", "envtool.container.supervisor"})


# ---- the long way: what a verb that reads or looks imports ----------------------------------------------------------

SPEC = "version: 1\nenvs: {unit: {base: {debian: bookworm}, language: python, tasks: {test: 'true'}}}\n"
PROJECT = '[project]\nname = "small"\nversion = "1"\ndependencies = ["click"]\n'
UNREAD = {  # what no verb needs that reads a spec, and what it would bring
    "jinja2", "rich", "requests", "junitparser", "asyncio", "subprocess", "http", "ssl", "tarfile", "zipfile", "logging",
    "concurrent", "html", "tempfile", "csv",
}  # fmt: skip
MAKING = ("container.supervisor", "container.program", "build.builder", "build.scheduler", "build.site", "store.gc",
          "teamcache", "net.request", "net.download", "net.transfer", "net.host_config", "net.redact", "net.oci.documents",
          "net.oci.registry", "images", "inspect", "verify", "run.task")  # fmt: skip
READING = (*MAKING, "container", "build", "store", "plan", "lock", "events", "run.task_container")
VERBS = {  # the verb, rooms of ours that it has no need of, and how many modules of ours at most
    "list": (READING, 86),
    "schema": ((*READING, "project.source_files", "project.snapshot"), 66),
    "plan": (MAKING, 124),
    "why": (MAKING, 131),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_looks_imports_what_it_needs(verb, tmp_path, monkeypatch):
    pytest.importorskip("envtool_python")
    (tmp_path / "envtool.yaml").write_text(SPEC)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    names = imported(f"from envtool.cli.main import main; assert main(['-C', {str(tmp_path)!r}, {verb!r}]) == 0")
    rooms, most = VERBS[verb]
    ours = {name.removeprefix("envtool.") for name in names if name.startswith("envtool.")}
    assert not {name for name in ours if any(name == room or name.startswith(f"{room}.") for room in rooms)}
    assert not {name.partition(".")[0] for name in names} & UNREAD
    assert "importlib.metadata" not in names
    packages = {name for name in ours if any(other.startswith(f"{name}.") for other in ours)}
    assert len(ours - packages) <= most
    plugins = {
        name
        for name in names
        if name.startswith(
            (
                "envtool_cc.",
                "envtool_java.",
                "envtool_python.",
                "envtool_node.",
                "envtool_rust.",
                "envtool_go.",
                "envtool_services.",
            )
        )
    }
    assert not {
        name
        for name in plugins
        if name.endswith(
            (
                ".resolver",
                ".simple_index",
                ".pip_config",
                ".building",
                ".npmrc",
                ".cargo_config",
                ".vendoring",
                ".module_proxies",
            )
        )
    }


def test_help_imports_the_command_line_alone():
    names = imported("from envtool.cli.main import main; main(['--help'])")
    assert {name for name in names if name.startswith("envtool.")} == {
        "envtool.cli", "envtool.cli.main", "envtool.cli.common_options", "envtool.cli.signals",
        "envtool.distributions", "envtool.errors", "envtool.lazy_dataclass",
    }  # fmt: skip

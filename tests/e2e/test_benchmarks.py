"""Every benchmark runs, with the smallest sizes, as whoever runs pytest: a new one, too, which must know `--tiny`.

Times are not judged here: only that everybody who is installed has one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envtool.container import userns

pytestmark = pytest.mark.e2e

TOP = Path(__file__).resolve().parents[2]
BENCHMARKS = {path.stem: path for path in sorted(TOP.glob("benchmarks/*.py")) if not path.name.startswith("_")}
NETWORK = {"bootstrap", "rerun", "suite"}  # a mirror, an index
OPTIONAL = ("bwrap", "crun", "podman", "buildah", "mmdebstrap", "skopeo", "docker-registry", "git")
FIGURE = re.compile(r"^\d+(\.\d+)?(e[-+]\d+)?$")
LIMIT = 300  # seconds until it hangs; all of them together take less than 60 on a machine with nothing else to do


def tiny(name: str, tmp_path: Path, path: str = "") -> tuple[str, dict]:
    """What a benchmark printed, and what it wrote down."""
    if not Path(sys.executable).with_name("envtool").exists():
        pytest.skip("envtool is not installed beside this Python (.ci/setup --dev)")
    words = [sys.executable, str(BENCHMARKS[name]), "--tiny", "--json", str(tmp_path / "figures.json")]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ENVTOOL_"))}
    scratch = f"/tmp/eb-{secrets.token_hex(4)}"  # podman has no use for a long path
    os.mkdir(scratch, 0o700)
    try:
        environ |= {"TMPDIR": scratch} | ({"PATH": path} if path else {})
        ran = subprocess.run(words, env=environ, cwd="/", capture_output=True, text=True, timeout=LIMIT, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert os.listdir(scratch) == [], "it removes what it made"
    finally:
        userns.remove_as_root(scratch)
    return ran.stdout, json.loads((tmp_path / "figures.json").read_text())


def rows(printed: str) -> list[list[str]]:
    """The cells of the tables of figures."""
    lines = [line for line in printed.splitlines() if line.startswith("| ") and "spread |" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def check(printed: str, figures: dict, *, strict: bool) -> None:
    """Figures for whoever is installed, in what was printed and in what was written down; the others are named."""
    found = {who: spent for row in figures["seconds"].values() for who, spent in row.items()}
    assert found or "git" in figures["left_out"], printed
    assert all(0 < spent < LIMIT for row in figures["seconds"].values() for spent in row.values()), figures
    shown = {
        (what, who): value for what, who, value, _spread, _ratio in (row for row in rows(printed) if len(row) == 5)
    }
    assert set(shown) == {(what, who) for what, row in figures["seconds"].items() for who in row}, printed
    assert all(FIGURE.match(value) and float(value) > 0 for value in shown.values()), printed
    for who, why in figures["left_out"].items():
        assert f"left out: {who}: {why}" in printed
        assert not who.startswith(("envtool", "python")), f"what is ours is always measured: {why}"
        if strict and not why.startswith("cannot be installed here"):  # root is refused nothing
            assert why.endswith(("not installed", "needs root")), f"{who} is installed, and has no figure: {why}"


def measured_tools(figures: dict) -> set[str]:
    """Who has a figure; a program that does it in several ways is `PROGRAM: WAY`."""
    return {who.partition(":")[0] for row in figures["seconds"].values() for who in row}


@pytest.mark.dear(cases=3)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.network) if name in NETWORK else name for name in BENCHMARKS],
)
def test_it_runs(name, tmp_path):
    printed, figures = tiny(name, tmp_path)
    check(printed, figures, strict=os.geteuid() == 0)
    text = BENCHMARKS[name].read_text()
    for tool in OPTIONAL:
        if f'"{tool}"' in text and not shutil.which(tool):
            assert any(tool in f"{who}: {why}" for who, why in figures["left_out"].items()), f"{tool} is not named"
        if tool in ("bwrap", "crun", "podman", "buildah", "mmdebstrap") and f'"{tool}"' in text and shutil.which(tool):
            shown = measured_tools(figures) | set(figures["left_out"])
            assert tool in shown, f"{tool} is installed and has no figure"


@pytest.mark.dear(cases=1)
@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - NETWORK))
def test_it_runs_without_what_is_optional(name, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in os.listdir(directory) if os.path.isdir(directory) else ():
            if program not in OPTIONAL and not (programs / program).is_symlink():
                (programs / program).symlink_to(f"{directory}/{program}")
    printed, figures = tiny(name, tmp_path, path=str(programs))
    check(printed, figures, strict=os.geteuid() == 0)
    assert not measured_tools(figures) & set(OPTIONAL)

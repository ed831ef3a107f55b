from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from envtool.cli.main import main

GOLDEN = Path(__file__).parent.parent / "golden" / "messages"


def _module(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    def text(self) -> str:
        """All of it, with what varies replaced: how a golden file shows it."""
        text = f"-- exit {self.status}\n-- stdout\n{self.out}-- stderr\n{self.err}"
        text = re.sub(r"in \d+\.\ds (──|--)", r"in TIME \1", text)
        text = re.sub(r'"(time|seconds|used)": [\d.]+', r'"\1": 0', text)
        return re.sub(r"/\S*/(good|bad|huge)\b", r"LOGS/\1", text)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The fake app, in the place of the real one; `fake.scenario(name)` chooses what happens."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("FAKE_LOGS", str(tmp_path / "logs"))
    module = _module("fake_app", Path(__file__).parent / "fake_app.py")
    monkeypatch.setitem(sys.modules, "envtool.app", module)
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "ENVTOOL_DEBUG", "FAKE_SCENARIO"):
        monkeypatch.delenv(name, raising=False)
    return module


@pytest.fixture
def envtool(fake, capsys, monkeypatch):
    """Call the command line in this process."""

    def call(*argv: str, scenario: str = "mixed") -> Outcome:
        monkeypatch.setenv("FAKE_SCENARIO", scenario)
        status = main([*argv])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture
def golden():
    """Compare with a committed file; ENVTOOL_UPDATE=1 writes it instead (look at the diff)."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("ENVTOOL_UPDATE"):
            path.write_text(text)
        assert text == path.read_text()

    return compare

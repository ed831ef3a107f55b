from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from envtool.cli.main import main

sys.path.insert(0, os.path.dirname(__file__))
import scripted  # type: ignore[import-not-found]

GOLDEN = Path(__file__).parent.parent / "golden" / "messages"


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
    """The scripted functions, in the place of the app's; $FAKE_SCENARIO chooses what happens."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("FAKE_LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(scripted, "logs", str(tmp_path / "logs"))
    monkeypatch.setattr(scripted, "requests", [])
    scripted.install(monkeypatch.setattr)
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "ENVTOOL_DEBUG", "FAKE_SCENARIO"):
        monkeypatch.delenv(name, raising=False)
    return scripted


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

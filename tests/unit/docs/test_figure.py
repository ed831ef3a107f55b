"""The figure of README.md is what the program prints."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from types import SimpleNamespace

from envtool.events import Finished, Output, Started
from envtool.report.closing import closing
from envtool.report.plain import Plain
from envtool.report.words import Style

README = Path(__file__).parents[3] / "README.md"
FIGURE = re.compile(r"```\n(\$ envtool test\n.*?)```", re.DOTALL)
NOW = 1_700_000_000.0
OUTPUT = "FAILED tests/test_io.py::test_roundtrip - assert 3 == 4\n"


def figure(log):
    file = io.StringIO()
    display = Plain(file, style=Style())

    def piece(subject, name, outcome, spent, detail="", env="", printed="", **more):
        key = f"{subject}{name}{env}{more.get('on', '')}"
        at = {"id": key, "subject": subject, "name": name, "env": env, "on": more.pop("on", "")}
        display.event(Started(time=NOW, **at))
        if printed:
            display.event(Output(id=key, text=printed))
        display.event(Finished(outcome=outcome, time=NOW, seconds=spent, detail=detail, **at, **more))

    piece("base", "bookworm", "built", 7.1, "88 packages, 32 MB")
    piece("base", "trixie", "built", 7.6, "78 packages, 33 MB")
    piece("layer", "python3", "built", 4.2, "22 packages, 9 MB", on="bookworm")
    piece("layer", "python3", "built", 4.4, "14 packages, 6 MB", on="trixie")
    piece("task", "test", "passed", 2.4, env="unit[bookworm]", printed="===== 312 passed in 2.31s =====\n")
    piece("task", "test", "failed", 2.6, env="unit[trixie]", status=1, printed="=== 1 failed, 311 passed in 2.5s ===\n")
    results = [
        SimpleNamespace(env="unit[bookworm]", task="test", outcome="passed", message="", log="", commands=("pytest",)),
        SimpleNamespace(
            env="unit[trixie]", task="test", outcome="failed", message="exit 1", log=str(log), commands=("pytest",)
        ),
    ]
    log.write_text(OUTPUT)
    text = closing(results, 15.8, interrupted=False, again="envtool", shown=(), style=Style(), columns=62)
    return f"$ envtool test\n{file.getvalue()}{text}\n".replace("\n\n", "\n")


def test_the_figure_is_what_the_program_prints(tmp_path, monkeypatch):
    monkeypatch.setattr("envtool.report.closing.output", lambda path, style: Path(path).read_text().rstrip())
    page = README.read_text()
    wanted = figure(tmp_path / "log")
    if os.environ.get("ENVTOOL_UPDATE"):
        page = FIGURE.sub(lambda _: f"```\n{wanted}```", page, count=1)
        README.write_text(page)
    found = FIGURE.search(page)
    assert found
    assert found[1] == wanted

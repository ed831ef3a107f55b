"""What is said of a build backend that cannot be had: a sentence, and no line of ours."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from envtool_python.inside import HOOK


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("nosuch.meta", "there is no module nosuch in"),
        ("mine.nosuch", "there is no module mine.nosuch in"),
        ("mine:nosuch", "has no attribute 'nosuch'"),
    ],
)
def test_a_backend_that_is_not_there(tmp_path, backend, said):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("")
    request = json.dumps([backend, [str(tmp_path)], "build_wheel", [], str(tmp_path / "answer")])
    ran = subprocess.run([sys.executable, "-c", HOOK, request], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_backend_that_fails_itself_says_so_itself(tmp_path):
    (tmp_path / "mine.py").write_text("import needed_and_not_there\n")
    request = json.dumps(["mine", [str(tmp_path)], "build_wheel", [], str(tmp_path / "answer")])
    ran = subprocess.run([sys.executable, "-c", HOOK, request], capture_output=True, text=True, check=False)
    assert "No module named 'needed_and_not_there'" in ran.stderr
    assert "Traceback" in ran.stderr

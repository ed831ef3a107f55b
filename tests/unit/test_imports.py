"""The import rule of docs/architecture.md, as pyproject.toml has it in contracts."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(directory):
    """import-linter over a tree's envtool and plugins; its process imports them from there and nowhere else."""
    sources = [f"{directory}", *(f"{path}" for path in sorted(directory.glob("plugins/*/src")))]
    code = f"import sys; sys.path[:0] = {sources!r}\n"
    code += "from importlinter.cli import lint_imports_command as command; command(['--no-cache'])"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )


def test_contracts_are_kept():
    pytest.importorskip("importlinter")
    ran = lint(ROOT)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("envtool/store/blobs.py", "import envtool.spec"),
        ("envtool/run/task.py", "import envtool.kinds"),
        ("envtool/spec/node.py", "import subprocess"),
        ("envtool/kinds/copy.py", "import envtool.store"),
        ("plugins/envtool_python/src/envtool_python/metadata.py", "import envtool.store"),
        ("plugins/envtool_node/src/envtool_node/lockfile.py", "import envtool.store"),
        ("plugins/envtool_cc/src/envtool_cc/missing.py", "import envtool.store"),
        ("plugins/envtool_java/src/envtool_java/poms.py", "import envtool.store"),
        ("envtool/unlisted.py", "import os"),
        ("envtool/container/pod.py", "import pyroute2"),
        ("envtool/run/task.py", "import envtool.container.network"),
    ],
)
def test_what_breaks_the_rule_is_found(tmp_path, module, line):
    pytest.importorskip("importlinter")
    for source in [*ROOT.glob("envtool/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    broken = tmp_path / module
    broken.write_text((broken.read_text() if broken.exists() else "") + f"\n{line}\n")
    assert lint(tmp_path).returncode != 0


def test_every_room_is_in_the_picture():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = {room for layer in contracts[0]["layers"] for room in layer.split(" | ")}
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert not {
        room for room in rooms if f"`{room}`" not in page and f"{room}/" not in page and f"{room}.py" not in page
    }

"""The examples, each copied out and run as a reader would, by whoever runs the tests, on a store of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network]

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(REPOSITORY), *(str(path) for path in REPOSITORY.glob("plugins/*/src"))])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One for all examples, as on a reader's machine."""
    directory = tmp_path_factory.mktemp("store") / "store"
    yield directory
    from envtool.container import ids

    ids.remove(str(directory))


@pytest.fixture
def example(request, store, tmp_path):
    """A copy of an example, and what runs envtool in it."""
    project = tmp_path / request.param
    shutil.copytree(REPOSITORY / "examples" / request.param, project, ignore=shutil.ignore_patterns(".envtool", "dist"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "envtool", *arguments],
            cwd=project,
            env={**os.environ, "ENVTOOL_STORE": str(store), "PYTHONPATH": PYTHONPATH},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    run.project = project
    return run


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Env -> outcome, from `--json`."""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (result,) = [event for event in events if event.get("event") == "result"]
    return {each["env"]: each["outcome"] for each in result["results"]}


@pytest.mark.parametrize("example", ["quickstart"], indirect=True)
def test_quickstart(example):
    """It passes, builds nothing the second time, takes arguments, and can fail."""
    done = example("test", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout + done.stderr
    again = example("test", "--", "-k", "cli")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "2 passed" in again.stdout + again.stderr
    assert "built" not in again.stdout + again.stderr
    verified = example("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    source = example.project / "src/wordcount/__init__.py"
    source.write_text(source.read_text().replace(".casefold()", ""))
    broken = example("test")
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "test_count" in broken.stdout + broken.stderr
    assert "built" not in broken.stdout + broken.stderr, "a change of the sources rebuilt the editable install"


@pytest.mark.parametrize("example", ["c-build"], indirect=True)
def test_c_build(example):
    """The tests pass, and the build leaves a program that belongs to the caller, and nothing else."""
    before = {path.name for path in example.project.iterdir()}
    done = example("test")
    assert done.returncode == 0, done.stdout + done.stderr
    built = example("build")
    assert built.returncode == 0, built.stdout + built.stderr
    program = example.project / "dist/usr/bin/crcsum"
    assert program.read_bytes().startswith(b"\x7fELF")
    assert program.stat().st_uid == os.getuid()
    assert os.access(program, os.X_OK)
    assert {path.name for path in example.project.iterdir()} == before | {"dist", ".envtool"}
    same = example("verify", "--build")
    assert same.returncode == 0, same.stdout + same.stderr
    (example.project / "src/crcsum.c").write_text("int main(void) { return 0; }\n")
    assert example("test").returncode == 1


@pytest.mark.parametrize("example", ["suites"], indirect=True)
def test_suites(example):
    """An env for each suite, each on its own."""
    done = example("test", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    suites = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
    assert outcomes(done) == {f"portable[{suite}]": "passed" for suite in suites}
    for suite, number in suites.items():
        shown = example("exec", f"portable[{suite}]", "--", "cat", "/etc/debian_version")
        assert shown.stdout.startswith(number), shown.stderr


@pytest.mark.parametrize("example", ["node"], indirect=True)
def test_node(example):
    """Debian's own npm installs what is pinned; the bundle comes back, node_modules does not."""
    before = {path.name for path in example.project.iterdir()}
    done = example("test")
    assert done.returncode == 0, done.stdout + done.stderr
    built = example("build")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "export{" in (example.project / "dist/page.js").read_text()
    assert {path.name for path in example.project.iterdir()} == before | {"dist", ".envtool"}
    source = example.project / "packages/words/words.js"
    source.write_text(source.read_text().replace("kebabCase(title)", "title"))
    broken = example("test")
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "a heading has an anchor" in broken.stdout + broken.stderr
    assert "built" not in broken.stdout + broken.stderr, "a change of the sources installed packages again"

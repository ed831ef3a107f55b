"""A fault of each kind is planted into a copy of the sources, and the tests that hold the promise find it.

A suite that finds nothing any more looks like one that has nothing to find. One fault is tried in CI, all by .ci/long.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

# name: (file, what stands there, what is planted, the tests that have to fail)
FAULTS = {
    "a wrong key": (
        "envtool/keys.py",
        '"arch": arch,\n        "epoch"',
        '"arch": "",\n        "epoch"',
        ["tests/golden/test_keys.py"],
    ),
    "a layer left half": (
        "envtool/store/layers.py",
        '            os.rename(directory, self._store.path("layers", self._key))\n',
        (
            '            os.mkdir(self._store.path("layers", self._key))\n'
            '            __import__("time").sleep(1)\n'
            '            os.rename(directory, self._store.path("layers", self._key))\n'
        ),
        ["tests/e2e/test_killed.py"],
    ),
    "a process left": (
        "envtool/container/pid1.py",
        "    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)\n    os.setsid()\n",
        "    os.setsid()\n",
        ["tests/e2e/test_interrupts.py"],
    ),
    "an open network": (
        "envtool/container/syscalls.py",
        "flags if network else flags | CLONE_NEWNET",
        "flags",
        ["tests/e2e/test_hostile_tasks.py"],
    ),
    "a wrong owner": (
        "envtool/fs/directory.py",
        "os.fchown(fd, *self.owner)",
        "pass",
        ["tests/unit/fs/test_directory.py"],
    ),
}


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="root is missing, as whom .ci/run plants them")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_found(fault, tmp_path):
    path, stands, planted, tests = FAULTS[fault]
    if fault == "a wrong owner" and os.geteuid() != 0:
        pytest.skip("root is missing: only what root copies out can have a wrong owner")
    for name in ("envtool", "plugins", "tests", "examples", "pyproject.toml"):
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".envtool"))
        else:
            shutil.copy(TOP / name, tmp_path / name)
    text = (tmp_path / path).read_text()
    assert text.count(stands) == 1, f"{path} no longer has what the fault takes the place of"
    (tmp_path / path).write_text(text.replace(stands, planted))
    tmp_path.chmod(0o755)
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{':'.join(map(str, tmp_path.glob('plugins/*/src')))}"}
    environ.pop("ENVTOOL_CI_RUN", None)  # it would leave tests to the other run, perhaps those that find the fault
    environ |= {"ENVTOOL_CALLERS": "root", "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    environ["ENVTOOL_DEPTH"] = "long"  # until it is found: ten kills at random moments may miss what two hundred hit
    # In a pid namespace of its own: whatever a fault leaves running, or would kill, is nothing of other tests'.
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    words = [*alone, sys.executable, "-m", "pytest", "-q", "-n0", "-x", "--tb=line", "-p", "no:cacheprovider", *tests]
    ended = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 1, f"nothing failed: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
    assert re.search(r"[1-9]\d* (failed|error)", ended.stdout)

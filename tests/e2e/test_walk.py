"""tests/e2e/walk.py still counts: decision 0142 has what it printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).with_name("walk.py")


@pytest.mark.one_caller
@pytest.mark.parametrize(("walk", "entered"), [
    ("exec", "envtool/container/program.py"), ("test", "envtool/run/cached_task.py"),
    ("build", "envtool/build/builder.py"),
])  # fmt: skip
def test_it_follows_a_name_through_the_files(walk, entered):
    done = subprocess.run([sys.executable, SCRIPT, walk, "--list"], capture_output=True, text=True, check=True)
    *files, sums = done.stdout.splitlines()
    assert entered in files
    count, stays, climbs = map(int, re.findall(r"\d+", sums))
    assert (len(set(files)), len(files)) == (count, stays)
    assert 0 < climbs < stays

"""diffoscope's report on what differs, where it is installed: https://diffoscope.org"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress

from envtool import proc, programs
from envtool.build.context import Context
from envtool.container import userns
from envtool.project import rundir
from envtool.store.temp_dirs import scratch
from envtool.verify.comparison import PathDifference

MOST = 50  # files
LIMIT = 300.0  # seconds


def report(trees: Sequence[int], differences: Sequence[PathDifference], setting: Context, run: str, name: str) -> str:
    """The path of its report on the files whose content differs; empty where there is none. `trees` are open
    directories that container ids own; `run` is where the report is kept."""
    program = programs.find("diffoscope")
    paths = [item.path.lstrip("/") for item in differences if "content" in item.kinds][:MOST]
    if not program or not paths:
        return ""
    target = os.path.join(run, f"verify-{re.sub(r'[^a-zA-Z0-9_.,=-]+', '_', name)}.txt")
    with scratch(setting.store, remove=userns.remove) as top:
        sides = [os.path.join(top, side) for side in ("first", "second")]
        for tree, side in zip(trees, sides, strict=True):
            os.mkdir(side)
            userns.own(side)
            os.chmod(side, 0o755)
            opened = os.open(side, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                userns.inside(_copy, tree, opened, paths)
            finally:
                os.close(opened)
        made = os.path.join(top, "report")
        proc.run((program, "--text", made, *sides), timeout=LIMIT)
        with suppress(OSError), open(made, "rb") as file, rundir.create(target) as out:
            shutil.copyfileobj(file, out)
            return target
    return ""


def _copy(tree: int, target: int, paths: Sequence[str]) -> None:
    """Copy files so that the caller can read them, whoever they belong to."""
    for path in paths:
        place = f"/proc/self/fd/{target}/{path}"
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        shutil.copyfile(f"/proc/self/fd/{tree}/{path}", place, follow_symlinks=False)
        os.chmod(place, 0o644)

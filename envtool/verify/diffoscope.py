"""diffoscope's report on what differs, where it is installed: https://diffoscope.org"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress

from envtool import proc
from envtool.build.context import Context
from envtool.container import userns
from envtool.project import programs, rundir
from envtool.store.temp_dirs import temp_directory
from envtool.verify.comparison import PathDifference

MAX_FILES = 50  # files
TIMEOUT = 300.0  # seconds


def write_report(
    trees: Sequence[int], differences: Sequence[PathDifference], context: Context, run: str, name: str
) -> str:
    """The path of its report on the files whose content differs; empty where there is none. `trees` are open
    directories that container ids own; `run` is where the report is kept."""
    program = programs.find_program("diffoscope")
    paths = [item.path.lstrip("/") for item in differences if "content" in item.kinds][:MAX_FILES]
    if not program or not paths:
        return ""
    target = os.path.join(run, f"verify-{re.sub(r'[^a-zA-Z0-9_.,=-]+', '_', name)}.txt")
    with temp_directory(context.store, remove=userns.remove_as_root) as top:
        sides = [os.path.join(top, side) for side in ("first", "second")]
        for tree, side in zip(trees, sides, strict=True):
            os.mkdir(side)
            userns.give_to_root(side)
            os.chmod(side, 0o755)
            opened = os.open(side, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                userns.run_as_root(_copy_files, tree, opened, paths)
            finally:
                os.close(opened)
        made = os.path.join(top, "report")
        proc.run((program, "--text", made, *sides), timeout=TIMEOUT)
        with suppress(OSError), open(made, "rb") as file, rundir.create_file(target) as out:
            shutil.copyfileobj(file, out)
            return target
    return ""


def _copy_files(tree: int, target: int, paths: Sequence[str]) -> None:
    """Copy files so that the caller can read them, whoever they belong to."""
    for path in paths:
        place = f"/proc/self/fd/{target}/{path}"
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        shutil.copyfile(f"/proc/self/fd/{tree}/{path}", place, follow_symlinks=False)
        os.chmod(place, 0o644)

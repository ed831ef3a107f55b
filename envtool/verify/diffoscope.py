"""Runs diffoscope (https://diffoscope.org) on the files that differ, if it is installed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress

from envtool import proc
from envtool.build.context import Context
from envtool.project import programs, rundir
from envtool.store.temp_dirs import temp_directory
from envtool.verify.comparison import PathDifference

MAX_FILES = 50  # files
TIMEOUT = 300.0  # seconds


def write_report(
    trees: Sequence[int], differences: Sequence[PathDifference], context: Context, run: str, name: str
) -> str:
    """Writes a report on the files whose content differs. Returns its path, "" if there is none. `trees` are
    descriptors of two directories that belong to container ids; `run` is the directory for the report."""
    program = programs.find_program("diffoscope")
    paths = [item.path.lstrip("/") for item in differences if "content" in item.kinds][:MAX_FILES]
    if not program or not paths:
        return ""
    target = os.path.join(run, f"verify-{re.sub(r'[^a-zA-Z0-9_.,=-]+', '_', name)}.txt")
    with temp_directory(context.store, remove=context.runner.remove) as top:
        sides = [os.path.join(top, side) for side in ("first", "second")]
        for tree, side in zip(trees, sides, strict=True):
            os.mkdir(side)
            context.runner.give_to_root(side)
            os.chmod(side, 0o755)
            descriptor = os.open(side, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                context.runner.as_root(_copy_files, tree, descriptor, paths)
            finally:
                os.close(descriptor)
        report = os.path.join(top, "report")
        proc.run((program, "--text", report, *sides), timeout=TIMEOUT)
        with suppress(OSError), open(report, "rb") as file, rundir.create_file(target) as out:
            shutil.copyfileobj(file, out)
            return target
    return ""


def _copy_files(tree: int, target: int, paths: Sequence[str]) -> None:
    """Copies files of any owner, so that the caller can read them."""
    for path in paths:
        copy = f"/proc/self/fd/{target}/{path}"
        os.makedirs(os.path.dirname(copy), 0o755, exist_ok=True)
        shutil.copyfile(f"/proc/self/fd/{tree}/{path}", copy, follow_symlinks=False)
        os.chmod(copy, 0o644)

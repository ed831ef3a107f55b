"""Where what a run leaves can be read afterwards: `.envtool/last/` in the project.

Each run has a directory of its own (`.envtool/runs/<time>-<pid>`), so runs side by side do not mix; `last` is a
symlink to the newest that ended. The directory ignores itself in git and is hidden from containers.
"""

from __future__ import annotations

import os
import time

KEPT = 10  # runs


def open_run(root: str) -> str:
    """Make the directory of a new run and return its path; where the project cannot be written, a temporary one."""
    top = os.path.join(root, ".envtool")
    try:
        _make_top(top)
        path = os.path.join(top, "runs", f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}")
        os.makedirs(path, exist_ok=True)
    except OSError:  # a read-only checkout, or somebody else's
        import tempfile

        return tempfile.mkdtemp(prefix="envtool-run-")
    _own(root, top, os.path.join(top, ".gitignore"), os.path.join(top, "runs"), path)
    return path


def close_run(root: str, path: str) -> None:
    """Point `last` at the run and forget all but the newest few."""
    runs = os.path.join(root, ".envtool", "runs")
    if os.path.dirname(path) != runs:
        return
    link = os.path.join(root, ".envtool", f".last-{os.getpid()}")
    try:
        os.symlink(os.path.join("runs", os.path.basename(path)), link)
        os.replace(link, os.path.join(root, ".envtool", "last"))
        for old in sorted(os.listdir(runs))[:-KEPT]:
            _remove(os.path.join(runs, old))
    except OSError:
        pass  # evidence is a help, never a reason to fail


def log_path(run: str, env: str, task: str) -> str:
    """The file for a task's output: names may hold anything, file names may not."""
    import re

    safe = re.sub(r"[^\w.,=\[\]-]+", "_", f"{env}.{task}")
    return os.path.join(run, f"{safe}.log")


def _remove(run: str) -> None:
    try:  # a run holds files alone, and the warm way of `envtool test` cannot wait for shutil
        for name in os.listdir(run):
            os.unlink(os.path.join(run, name))
        os.rmdir(run)
    except OSError:
        import shutil

        shutil.rmtree(run, ignore_errors=True)


def _make_top(top: str) -> None:
    os.makedirs(top, exist_ok=True)
    ignore = os.path.join(top, ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w") as file:
            file.write("*\n")


def _own(root: str, *paths: str) -> None:
    # root in somebody's checkout must not leave root's files in it
    if os.geteuid() == 0:
        owner = os.stat(root)
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid)

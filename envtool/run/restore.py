"""Restores what a cached result left: its log, its statement and its outputs, where a run would have written them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from envtool.container import userns
from envtool.container.outputs import OutputReceiver
from envtool.fs import hashing
from envtool.fs.beneath import open_beneath
from envtool.project import rundir
from envtool.run import provenance
from envtool.run.prepared_task import TaskCall
from envtool.store.results import StoredOutput, StoredResult


def restore_result(call: TaskCall, result: StoredResult) -> bool:
    """Copies log, statement and outputs to where a run of the task would have left them. Returns False if one of them
    cannot be restored: then the task has to run, and its error says what is in the way. Raises Interrupted."""
    context = call.context
    try:
        _copy(result.log, call.log)
        with contextlib.suppress(FileNotFoundError):
            _copy(result.statement, provenance.path_for(call.log))
    except OSError:
        return False
    return restore_outputs(result, context.root, context.files, call.task.outputs, context.cancel.check)


def _copy(source: str, target: str) -> None:
    """Copies a file from the store to the directory of the run."""
    import shutil

    with open(source, "rb") as file, rundir.create_file(target) as out:
        shutil.copyfileobj(file, out, 1 << 20)


def restore_outputs(
    result: StoredResult,
    root: str,
    protected: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    check: Callable[[], None] | None = None,
) -> bool:
    """Restores outputs that are missing or differ; returns False if one cannot be restored. Raises what `check`
    raises."""
    wrong = [output for output in result.outputs if not _output_unchanged(root, output, check)]
    if not wrong:
        return True
    receiver = OutputReceiver(root, owned=userns.caller_ids().mode == "root", protected=protected, patterns=patterns)
    try:
        for output in wrong:
            if output.link:
                receiver.link(output.path, output.link)
            else:
                receiver.copy(result.output_path(output), output.path, output.mode, output.mtime_ns, check)
    finally:
        _, notes = receiver.finish()
    return not notes and not receiver.lost


def _output_unchanged(root: str, output: StoredOutput, check: Callable[[], None] | None) -> bool:
    """Returns whether an output is in the project with the content and mode that it had, and is reached through no
    link."""
    parent, name = os.path.split(output.path)
    try:
        directory = open_beneath(root, parent, os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError:
        return False
    try:
        if output.link:
            return os.readlink(name, dir_fd=directory) == output.link
        with open(open_beneath(directory, name, follow=False), "rb") as file:
            state = os.fstat(file.fileno())
            same = state.st_mode == 0o100000 | output.mode and state.st_size == output.size
            return same and hashing.sha256_of_file(file, check) == output.sha256
    except OSError:
        return False
    finally:
        os.close(directory)

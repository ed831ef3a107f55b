"""Artefacts: what a needed task has left, for the tasks that need it.

They come from the result of that task, whether it ran now or is remembered, and never from the checkout: each needed
task has a directory of this run, into which its outputs are copied, and the digests in the requests are of that copy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace

from envtool.container.program import BindMount, ContainerStep, Program
from envtool.container.step_functions import reference
from envtool.errors import EnvtoolError
from envtool.fs import hashing
from envtool.model import PROJECT, Json
from envtool.run import staged_outputs
from envtool.run.needed_tasks import NeededTask
from envtool.run.task_request import Artefact
from envtool.store.results import StoredOutput, StoredResult
from envtool.store.temp_dirs import remove_tree

MOUNTED = "/run/envtool/needs"  # where a container sees the directories, each under a number


def copy_stored(result: StoredResult, directory: str, check: Callable[[], None]) -> None:
    """Makes a directory with the outputs of a remembered result. Raises OSError, Interrupted."""
    _make(directory)
    source = os.path.join(result.directory, "outputs")
    modes = {output.path: (output.mode, output.mtime_ns) for output in result.outputs}
    copied = staged_outputs.copy_outputs(source, modes, directory, attributes=modes, check=check)
    if copied.lost or copied.notes:
        raise OSError(copied.lost or copied.notes[0])


def copy_staged(staging: str, outputs: Sequence[str], directory: str, check: Callable[[], None]) -> None:
    """Makes a directory with outputs that are in `staging`. Raises OSError, Interrupted."""
    _make(directory)
    copied = staged_outputs.copy_outputs(staging, outputs, directory, check=check)
    if copied.lost or copied.notes:
        raise OSError(copied.lost or copied.notes[0])


def _make(directory: str) -> None:
    """Makes an empty directory; a failed try may have left one."""
    remove_tree(directory)
    os.mkdir(directory, 0o755)


def read_artefacts(directory: str, outputs: Sequence[str], check: Callable[[], None]) -> tuple[Artefact, ...]:
    """Returns what is in a directory that one of the functions above has made. Raises OSError, Interrupted."""
    files = []
    for path in sorted(outputs):
        info = os.lstat(os.path.join(directory, path))
        if stat.S_ISLNK(info.st_mode):
            files.append(Artefact(path, link=os.readlink(os.path.join(directory, path))))
            continue
        with open(os.path.join(directory, path), "rb") as file:
            digest = hashing.sha256_of_file(file, check)
        files.append(Artefact(path, mode=stat.S_IMODE(info.st_mode), sha256=digest))
    return tuple(files)


def stored_artefacts(outputs: Sequence[StoredOutput]) -> tuple[Artefact, ...]:
    """Returns the artefacts of a remembered result, as `read_artefacts` does of its copy."""
    return tuple(
        sorted(
            Artefact(output.path, link=output.link)
            if output.link
            else Artefact(output.path, mode=output.mode, sha256=output.sha256)
            for output in outputs
        )
    )


def add_artefacts(program: Program, needs: Sequence[NeededTask], times: Sequence[tuple[str, int]] = ()) -> Program:
    """Returns the container of a task with the artefacts that it needs: their mounts, and a first step that puts them
    in place. `times` are mtimes that it sees of some of them, by path."""
    patterns = sorted({pattern for need in needs for pattern in need.task.outputs})
    if not patterns:
        return program
    directories = [need.directory for need in needs if need.directory]
    binds = tuple(
        BindMount(source=directory, target=f"{MOUNTED}/{number}", mapped=True)
        for number, directory in enumerate(directories)
    )
    placed: list[Json] = [[path, time] for path, time in times]
    step = ContainerStep(
        call=reference("envtool.container.place_artefacts:place_artefacts"),
        arguments=(
            PROJECT,
            [*patterns],
            [bind.target for bind in binds],
            *([placed] if placed else []),
        ),
    )
    return replace(program, binds=(*program.binds, *binds), steps=(step, *program.steps))


def placing_error(text: str) -> EnvtoolError:
    """Returns the error for artefacts that the first step could not put in place."""
    return EnvtoolError(f"the outputs of the tasks that it needs cannot be put in place: {text}", code="artefacts")

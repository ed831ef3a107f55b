"""Copies outputs from a directory of the store, where a container has left them, to the project."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from envtool.container import userns
from envtool.container.outputs import OutputReceiver
from envtool.run.task_request import TaskResult

if TYPE_CHECKING:
    from envtool.run.prepared_task import TaskCall


class CopiedOutputs(NamedTuple):
    """What was copied, and what was not: `lost` is an output that is missing now, the others are no outputs."""

    paths: tuple[str, ...]
    notes: tuple[str, ...]
    lost: str


def copy_outputs(
    source: str,
    outputs: Iterable[str],
    target: str,
    *,
    protected: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    attributes: Mapping[str, tuple[int, int]] | None = None,
    check: Callable[[], None] | None = None,
) -> CopiedOutputs:
    """Copies files and links, by their paths below `source`, to below `target`, with the directories of `source`.
    `attributes` are mode and mtime (ns) of each; without, those that it has in `source` stay.
    Raises OSError where one of the two cannot be read, and what `check` raises."""
    receiver = OutputReceiver(target, owned=userns.caller_ids().mode == "root", protected=protected, patterns=patterns)
    try:
        for directory, names, _ in os.walk(source):
            for name in names:
                if not os.path.islink(os.path.join(directory, name)):
                    receiver.directory(os.path.relpath(os.path.join(directory, name), source))
        for path in outputs:
            info = os.lstat(os.path.join(source, path))
            if stat.S_ISLNK(info.st_mode):
                receiver.link(path, os.readlink(os.path.join(source, path)))
            else:
                mode, mtime = attributes[path] if attributes else (stat.S_IMODE(info.st_mode), info.st_mtime_ns)
                receiver.copy(os.path.join(source, path), path, mode, mtime, check)
    finally:
        paths, notes = receiver.finish()
    return CopiedOutputs(paths, notes, receiver.lost)


def publish_result(call: TaskCall, result: TaskResult, staging: str) -> TaskResult:
    """Copies what a task has left in `staging` to the project; returns its result with what came there. A task whose
    outputs are not all there has failed. Raises OSError, Interrupted."""
    context = call.context
    copied = copy_outputs(
        staging,
        result.outputs,
        context.root,
        protected=context.files,
        patterns=call.task.outputs,
        check=context.cancel.check if result.outcome == "passed" else None,
    )
    outcome = "failed" if copied.lost and result.outcome == "passed" else result.outcome
    noted = add_note(result, "; ".join(filter(None, [copied.lost, *copied.notes])))
    return replace(noted, outcome=outcome, outputs=copied.paths)


def add_note(result: TaskResult, note: str) -> TaskResult:
    """Returns a result with a further text in the first line of its message."""
    first, newline, hints = result.message.partition("\n")
    return replace(result, message="; ".join(filter(None, [first, note])) + newline + hints)

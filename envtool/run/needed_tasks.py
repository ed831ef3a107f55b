"""The tasks that a task needs, once they have passed, and what it sees of them, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from envtool.errors import Problem, SpecError
from envtool.model import Task
from envtool.run.task_request import Artefact, Artefacts


class NeededTask(NamedTuple):
    """A task that another one needs, and has passed. `directory` has its outputs at their paths; empty if it has
    none."""

    env: str
    task: Task
    files: tuple[Artefact, ...] = ()
    directory: str = ""


def join_artefacts(task: Task, needs: Sequence[NeededTask]) -> Artefacts:
    """Returns the artefacts that a task gets. Raises SpecError if two of the tasks that it needs have different files
    of one path."""
    files: dict[str, tuple[Artefact, str]] = {}
    patterns: set[str] = set()
    for env, needed, artefacts, _ in needs:
        patterns.update(needed.outputs)
        for artefact in artefacts:
            other, owner = files.setdefault(artefact.path, (artefact, f"{needed.name}@{env}"))
            if other != artefact:
                names = f"`{owner}` and `{needed.name}@{env}`"
                message = f"task `{task.name}` needs {names}, which have different files {artefact.path}"
                hint = "`{{ env.name }}` in the path of the outputs keeps them apart"
                raise SpecError((Problem(where=task.where, message=message, code="artefacts", hint=hint),))
    return Artefacts(tuple(sorted(patterns)), tuple(artefact for _, (artefact, _) in sorted(files.items())))

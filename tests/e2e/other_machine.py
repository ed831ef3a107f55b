"""A program: what a machine of another architecture says of a project's lock, and whether this machine's own stack
answers in the place of another as it answers for itself. `tests/e2e/test_lock_platforms.py` starts it.

    other_machine.py locked MACHINE   the codes of the errors with which `test --locked` ends on such a machine, as JSON
    other_machine.py alike            name -> [pins, pins by a stack that stands in], as JSON: for this architecture
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building, open_project
from envtool.build import locking
from envtool.build.context import Cancel
from envtool.build.lock_platforms import PlatformLock
from envtool.build.scheduler import Scheduler
from envtool.errors import SpecError
from envtool.lock.lock import Lock


def locked_errors(machine: str) -> list[str]:
    real = os.uname()
    known = {name: getattr(real, name) for name in ("sysname", "nodename", "release", "version")}
    os.uname = lambda: SimpleNamespace(**known, machine=machine)  # type: ignore[assignment, return-value]
    try:
        project = open_project(CommandRequest(directory=".", locked=True))
    except SpecError as error:
        return [problem.code for problem in error.problems]
    assert project.context.arch == machine
    return []


def alike() -> dict[str, list[object]]:
    request = CommandRequest(directory=".", locked=False)
    with open_for_building(request, lambda event: None, Cancel.make(), parts=False) as project:
        scheduler = Scheduler(project.graph, project.context)
        for env in project.graph.stacks:
            scheduler.stack(env)
        own = locking.lock_entries(scheduler.graph(), scheduler.finished_layers())
        other = PlatformLock(project.graph, replace(project.context, lock=Lock()), project.context.arch)
        other.resolve_without_stacks()
        there = {entry.question.name: entry.pins for entry in other.entries(scheduler)}
    return {entry.question.name: [entry.pins, there[entry.question.name]] for entry in own}


if __name__ == "__main__":
    print(json.dumps(locked_errors(sys.argv[2]) if sys.argv[1] == "locked" else alike()))

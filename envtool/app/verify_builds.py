"""Builds layers and outputs twice and compares them: `verify`."""

from __future__ import annotations

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import emit_warnings, open_for_building
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler
from envtool.events import Emit, Noted
from envtool.project import rundir
from envtool.spec.select_envs import all_services, stack_envs
from envtool.verify.comparison import VerifyResult


def verify(
    request: CommandRequest, names: tuple[str, ...], emit: Emit, cancel: Cancel, *, build: bool = False
) -> tuple[VerifyResult, ...]:
    """Build layers (or with `build` the outputs of the task `build`) twice under variation, and compare them. `names`
    of bases, layers and envs, or globs, select them. Raises SpecError, UsageError, StoreError."""
    from envtool.verify import run_all, selection

    with open_for_building(request, emit, cancel) as project:
        scheduler = Scheduler(project.graph, project.context)
        targets = (
            selection.select_tasks(project.spec, names)
            if build
            else selection.select_layers(project.spec, scheduler.graph(), names)
        )
        emit_warnings(stack_envs(project.spec), emit)
        directory, note = rundir.open_run(project.spec.root)
        if note:
            emit(Noted(text=note))
        if not build and any(service.prepare for service in all_services(project.spec)):
            emit(Noted(text="the prepared state of services is data: it is not built again, and not compared"))
        try:
            return run_all.verify_all(targets, scheduler, project.context, directory, request.jobs, request.fail_fast)
        finally:
            rundir.close_run(project.spec.root, directory)

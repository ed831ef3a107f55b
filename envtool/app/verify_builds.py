"""Layers and outputs made twice and compared."""

from __future__ import annotations

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler
from envtool.events import Emit, Noted
from envtool.project import rundir
from envtool.verify.comparison import VerifyResult


def verify(
    request: CommandRequest, names: tuple[str, ...], emit: Emit, cancel: Cancel, *, build: bool = False
) -> tuple[VerifyResult, ...]:
    """Make layers (or with `build` the outputs of the task `build`) twice under variation, and compare. `names` are
    those of bases, layers and envs, or globs. Raises SpecError, UsageError, StoreError."""
    from envtool.verify import run_all, selection

    with open_for_building(request, emit, cancel) as at:
        stacks = Scheduler(at.nodes, at.setting)
        targets = (
            selection.select_tasks(at.spec, names) if build else selection.select_layers(at.spec, stacks.graph(), names)
        )
        directory, note = rundir.open_run(at.spec.root)
        if note:
            emit(Noted(text=note))
        try:
            return run_all.verify_all(targets, stacks, at.setting, directory, request.jobs, request.fail_fast)
        finally:
            rundir.close_run(at.spec.root, directory)

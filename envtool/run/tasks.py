"""Runs one task of one env in its throw-away container and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from envtool import project
from envtool.container import ids, start
from envtool.errors import EnvtoolError
from envtool.events import Finished, Outcome, Started
from envtool.model import Env, Task
from envtool.realise import advice
from envtool.realise.setting import Setting
from envtool.realise.stacks import Stack
from envtool.realise.tee import Tee
from envtool.run import describe, provenance
from envtool.run.result import Result
from envtool.store import layers


def run_task(
    env: Env, task: Task, stack: Stack, setting: Setting, *, log: str, host: Mapping[str, str], view: str = ""
) -> Result:
    """Run it. `view` is the digest of the project, where it is known: it goes into the evidence. Raises SandboxError
    when there can be no container; everything else is in the result."""
    began = time.time()
    event_id = f"task:{env.name}:{task.name}"
    setting.emit(Started(id=event_id, subject="task", name=task.name, env=env.name, time=began))
    outcome: Outcome = "error"
    status: int | None = None
    outputs: tuple[str, ...] = ()
    message = hint = ""
    try:
        with layers.using(setting.store, [made.layer for made in stack.made]), scratch_for(env, setting) as scratch:
            program = describe.container(
                env,
                stack,
                project=setting.root,
                hidden=project.hidden(setting.root),
                host=host,
                scratch=scratch,
                task=task,
            )
            with open(log, "w+b") as file, Tee(file, setting.emit, event_id) as tee:
                ended = start.run(
                    program.flat(),
                    stdout=tee.writer,
                    stderr=tee.writer,
                    cancel=setting.cancel.reader,
                    outputs_to=setting.root if task.outputs else "",
                )
                tee.close()
                said = tee.text(1 << 16) if ended.status else ""
        status, outputs = ended.status, ended.outputs
        outcome, message = _outcome(ended, task)
        if outcome == "failed":
            base = stack.made[0].settled.node.kind.name
            hint = advice.of_task(ended.status, said, network=env.network, scratch=env.scratch, base=base)
    except EnvtoolError as error:
        message = error.message
        outcome = "interrupted" if error.exit_status == 130 else "error"
        raise
    finally:
        now = time.time()
        setting.emit(
            Finished(
                id=event_id,
                subject="task",
                name=task.name,
                env=env.name,
                outcome=outcome,
                status=status,
                time=now,
                seconds=now - began,
                detail=message,
                outputs=outputs,
            )
        )
    result = Result(
        env=env.name,
        task=task.name,
        outcome=outcome,
        status=status,
        seconds=now - began,
        started=began,
        log=log,
        outputs=outputs,
        message=f"{message}\n{hint}" if hint else message,
    )
    if outcome == "passed":
        provenance.record(env, task, stack, setting, result, view=view)
    return result


def _outcome(ended: start.Exit, task: Task) -> tuple[Outcome, str]:
    notes = "; ".join(ended.notes)
    if ended.interrupted:
        return "interrupted", notes
    if ended.timed_out:
        return "timeout", "; ".join(filter(None, [f"timed out after {task.timeout:g}s", notes]))
    if ended.status:
        return "failed", "; ".join(filter(None, [f"exit {ended.status}", notes]))
    missing = [pattern for pattern in task.outputs if not ended.outputs]
    if missing:
        return "failed", f"made none of its outputs ({', '.join(missing)})"
    return "passed", notes


def scratch_for(env: Env, setting: Setting) -> AbstractContextManager[str]:
    """A directory for what the env's commands write, gone afterwards; empty for memory."""
    return layers.scratch(setting.store, remove=ids.remove) if env.scratch == "disk" else nullcontext("")

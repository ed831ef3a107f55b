"""The worker process, which does one build of a comparison with an environment that differs from the caller's.

Its standard input is a pickled LayerJob or TaskJob. Its standard output is one JSON object per line: `{"output": text}`
while it works, then one of `{"captured": [diff ID, bytes, entries]}`, `{"ended": {…}}` and `{"error": {…}}`.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from collections.abc import Mapping
from typing import Any

from envtool.build.builder import RebuildDirectory, rebuild
from envtool.build.context import Cancel, Context
from envtool.build.stack import Parents, ResolvedNode
from envtool.build.tee import Tee
from envtool.build.variation import BuildVariation
from envtool.container import program_json, syscalls
from envtool.container.runner import LocalRunner
from envtool.errors import EnvtoolError
from envtool.events import Event, Output
from envtool.fs.beneath import hold_project
from envtool.lazy_dataclass import dataclass
from envtool.project import programs
from envtool.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerJob:
    """Build a layer in `directory`."""

    store: Store
    root: str
    identity: tuple[int, ...]  # device and inode of the root: see beneath.hold_project
    arch: str
    resolved: ResolvedNode
    parents: Parents
    directory: str
    variation: BuildVariation


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob:
    """Run a container and store its outputs in `directory`."""

    program: str  # of program_json.to_json
    directory: str


def main() -> int:
    """Does the job of standard input, for the process whose pid is the only argument. The exit status only says whether
    there is an answer."""
    syscalls.die_with_parent(int(sys.argv[1]))  # a worker must not outlive its parent; containers end with the worker
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 - the parent wrote it
    lock = threading.Lock()
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # other output goes to standard error, not into the answer

    def write(line: Mapping[str, Any]) -> None:
        with lock:
            answer.write(json.dumps(line) + "\n")
            answer.flush()

    def emit(event: Event) -> None:
        if isinstance(event, Output):
            write({"output": event.text})

    try:
        write(_run_task(job, emit) if isinstance(job, TaskJob) else _build_layer(job, emit))
    except EnvtoolError as error:
        write({"error": {"message": error.message, "hint": error.hint, "code": error.code, "output": error.output}})
    return 0


def _build_layer(job: LayerJob, emit: Any) -> dict[str, Any]:
    programs.exclude_checkout(job.root)
    if job.identity:
        hold_project(job.root, job.identity)
    context = Context(store=job.store, root=job.root, arch=job.arch, emit=emit, cancel=Cancel.make(), refresh=False)
    captured = rebuild(job.resolved, job.parents, context, "verify", RebuildDirectory(job.directory), job.variation)
    return {"captured": [*captured]}


def _run_task(job: TaskJob, emit: Any) -> dict[str, Any]:
    with open(os.path.join(job.directory, "log"), "w+b") as log, Tee(log, emit, "verify") as tee:
        outputs = os.path.join(job.directory, "outputs")
        os.mkdir(outputs)
        os.chmod(outputs, 0o755)
        outcome = LocalRunner().run(
            program_json.from_json(job.program), stdout=tee.writer, stderr=tee.writer, outputs_to=outputs
        )
        tee.close()
        output = tee.text(1 << 16)
    answer = {
        "status": outcome.status,
        "outputs": [*outcome.outputs],
        "notes": [*filter(None, [outcome.lost]), *outcome.notes],
        "output": output,
    }
    return {"ended": answer | {"timed_out": outcome.timed_out}}

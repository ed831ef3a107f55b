"""Starts a worker process for one build and reads its answer."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from envtool import proc
from envtool.build.context import Context
from envtool.errors import BuildError, Interrupted, MakeError
from envtool.store.temp_dirs import temp_directory
from envtool.verify.variations import VariationSide
from envtool.verify.worker_main import LayerJob, TaskJob


@contextmanager
def side_directory(context: Context, side: VariationSide) -> Iterator[str]:
    """An empty directory for one build, on the store's file system; removed afterwards in any case."""
    with temp_directory(context.store, remove=context.runner.remove) as top:
        path = top
        for name in side.directory.split("/"):
            path = os.path.join(path, name)
            os.mkdir(path)
            os.chmod(path, 0o755)
        os.mkdir(os.path.join(top, "tmp"))
        yield path


WORKER_CODE = "import sys; from envtool.verify import worker_main; sys.exit(worker_main.main())"


def run_worker(job: LayerJob | TaskJob, side: VariationSide, context: Context, on_output: Callable[[str], None]) -> Any:
    """Runs the job in a process of its own and returns its answer. Calls `hear` with the output of its commands. Raises
    BuildError, MakeError, Interrupted."""
    answers: list[dict[str, Any]] = []

    def on_line(text: bytes) -> None:
        message = json.loads(text)
        if "output" in message:
            on_output(message["output"])
        else:
            answers.append(message)

    temp_directory = os.path.join(job.directory[: -len(side.directory)], "tmp")
    # -P keeps the current directory off the module path; our own module path brings the same plugins
    environment = side.environment(temp_directory) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    outcome = proc.stream(
        (sys.executable, "-P", "-c", WORKER_CODE, str(os.getpid())),
        on_line,
        env=environment,
        cwd=job.directory,
        umask=side.umask,
        input=pickle.dumps(job),
        cancel=context.cancel.reader,
    )
    context.cancel.check()
    if not answers:
        raise MakeError(f"a process that builds ended: {outcome.failure()}", code="verify-worker")
    answer = answers[-1]
    if "error" in answer:
        error = answer["error"]
        if error["code"] == "interrupted":
            raise Interrupted
        raise BuildError(error["message"], code=error["code"], hint=error["hint"], output=error["output"])
    return answer.get("captured") or answer.get("ended")

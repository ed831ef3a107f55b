"""A worker as its parent sees it."""

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
from envtool.container import userns
from envtool.errors import BuildError, Interrupted, MakeError
from envtool.store.temp_dirs import temp_directory
from envtool.verify.variations import VariationSide
from envtool.verify.worker_main import LayerJob, TaskJob


@contextmanager
def side_directory(context: Context, side: VariationSide) -> Iterator[str]:
    """An empty directory for one side, on the store's file system; gone afterwards, whatever happens."""
    with temp_directory(context.store, remove=userns.remove_as_root) as top:
        path = top
        for name in side.directory.split("/"):
            path = os.path.join(path, name)
            os.mkdir(path)
            os.chmod(path, 0o755)
        os.mkdir(os.path.join(top, "tmp"))
        yield path


WORKER_CODE = "import sys; from envtool.verify import worker_main; sys.exit(worker_main.main())"


def run_worker(job: LayerJob | TaskJob, side: VariationSide, context: Context, hear: Callable[[str], None]) -> Any:
    """Let a process of its own do the job; its answer. `hear` gets what the commands print. Raises BuildError,
    MakeError, Interrupted."""
    answers: list[dict[str, Any]] = []

    def line(text: bytes) -> None:
        said = json.loads(text)
        if "output" in said:
            hear(said["output"])
        else:
            answers.append(said)

    temporary = os.path.join(job.directory[: -len(side.directory)], "tmp")
    # -P: not what lies in the current directory; our own path, so that the same plugins are there
    environment = side.environment(temporary) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = proc.stream(
        (sys.executable, "-P", "-c", WORKER_CODE, str(os.getpid())),
        line,
        env=environment,
        cwd=job.directory,
        umask=side.umask,
        input=pickle.dumps(job),
        cancel=context.cancel.reader,
    )
    context.cancel.check()
    if not answers:
        raise MakeError(f"a process that builds ended: {ended.failure()}", code="verify-worker")
    answer = answers[-1]
    if "error" in answer:
        error = answer["error"]
        if error["code"] == "interrupted":
            raise Interrupted
        raise BuildError(error["message"], code=error["code"], hint=error["hint"], output=error["output"])
    return answer.get("captured") or answer.get("ended")

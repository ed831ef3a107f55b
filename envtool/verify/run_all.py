"""Verifies all selected layers and tasks, in the order of the spec, as many at once as the machine has processors."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from envtool.build.context import Context
from envtool.build.scheduler import Scheduler
from envtool.model import Env, Task
from envtool.project import host_access
from envtool.store.temp_dirs import temp_directory
from envtool.verify import layers, outputs
from envtool.verify.clock import FaketimeLibraries
from envtool.verify.comparison import VerifyResult
from envtool.verify.layers import VerifyContext, VerifyTarget


def verify_all(
    targets: Sequence[VerifyTarget | tuple[Env, Task]],
    scheduler: Scheduler,
    context: Context,
    evidence: str,
    jobs: int = 0,
    fail_fast: bool = False,
) -> tuple[VerifyResult, ...]:
    """Returns each target's result, in order; with `fail_fast` only up to the first that is not "same"."""
    tasks = (target[0] for target in targets if not isinstance(target, VerifyTarget))
    host_access.check_passed(tasks, context.allowed, os.environ)
    jobs = jobs or len(os.sched_getaffinity(0))
    stop = threading.Event()
    with temp_directory(context.store, remove=context.runner.remove) as top:
        verification = VerifyContext(
            scheduler=scheduler,
            context=context,
            clocks=FaketimeLibraries(context, top),
            evidence=evidence,
            jobs=jobs,
        )

        def verify(target: VerifyTarget | tuple[Env, Task]) -> VerifyResult | None:
            if stop.is_set() or context.cancel.is_set():
                return None
            if isinstance(target, VerifyTarget):
                result = layers.verify_layer(target, verification)
            else:
                result = outputs.verify_task(
                    *target, verification, host_access.select_variables(target[0].passed, os.environ)
                )
            if fail_fast and result.outcome != "same":
                stop.set()
            return result

        with ThreadPoolExecutor(max(1, jobs // 2), thread_name_prefix="verify") as pool:
            return tuple(result for result in pool.map(verify, targets) if result is not None)

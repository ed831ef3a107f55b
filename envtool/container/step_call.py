"""A step of a container that is a function, in the process that pid 1 has forked for it. Only programs with such steps
load this (step_functions.py).
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn

from envtool.container import messages


def run_call(step: dict[str, Any], report: int) -> NoReturn:
    """Calls the function of a step in the step's own process, with its environment. An exception is its failure, and
    goes to pid 1 through the descriptor `report`."""
    gc.freeze()
    gc.enable()
    os.environ.clear()
    os.environ.update(step["env"])
    # The supervisor's own stream objects may hold text that was never flushed and must not be printed here.
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False, buffering=1)  # noqa: SIM115
    status = 0
    try:
        step["call"](*step["arguments"])
    except BaseException as error:
        status = 1
        os.write(report, messages.pack("raised", describe_error(error)[:8000]))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 1
    os._exit(status)


def describe_error(error: BaseException) -> str:
    """Returns the text of a call's failure: an EnvtoolError's message, an OSError with its file, else type and text."""
    if message := getattr(error, "message", ""):
        hint = getattr(error, "hint", "")
        return f"{message}\n{hint}" if hint else str(message)
    if isinstance(error, OSError) and error.strerror:
        return f"{messages.describe_os_error(error)}{messages.traceback_summary(error)}"
    return f"{type(error).__name__}: {error}{messages.traceback_summary(error) or ' (ENVTOOL_DEBUG=1 shows where)'}"

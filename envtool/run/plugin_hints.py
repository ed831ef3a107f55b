"""Hints of plugins for a failed task, from what it printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envtool.errors import EnvtoolError, PluginError

if TYPE_CHECKING:
    from envtool.build.scheduler import Stack
    from envtool.run.prepared_task import PreparedTask

MAX_LENGTH = 2000  # characters of a hint that are printed


def find_hint(task: PreparedTask, stack: Stack, status: int, output: str) -> str:
    """Returns the first hint that a plugin has for a failed task; "" if none has one. A plugin that fails is named in
    place of its hint, and the task's own failure stays what is reported."""
    context, base = task.call.context, stack.layers[0].resolved
    if not context.failure_hints:
        return ""
    from envtool.api import FailedTask

    failure = FailedTask(
        env=task.request.env,
        task=task.request.task,
        status=status,
        output=output,
        base_kind=base.node.kind.name,
        packages_with=lambda ends: _packages_with(task, stack, ends),
    )
    for hook in context.failure_hints:
        try:
            text = hook(failure=failure)
        except PluginError as error:
            text = error.message
        except EnvtoolError:  # also an interruption: the task's failure is reported all the same
            continue
        if text.strip():
            return text.strip()[:MAX_LENGTH]
    return ""


def _packages_with(task: PreparedTask, stack: Stack, ends: Sequence[str]) -> Mapping[str, str]:
    from envtool.build.site import ContainerSite

    site = ContainerSite(task.call.context, stack.layers[0].resolved.request, stack.layers, task.call.event_id)
    return site.packages_with(ends)

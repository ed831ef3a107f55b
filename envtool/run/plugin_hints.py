"""Hints of plugins for a failed task, from what it printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from envtool.errors import EnvtoolError, MakeError, PluginError
from envtool.store import layers

if TYPE_CHECKING:
    from envtool.build.scheduler import Stack
    from envtool.run.prepared_task import PreparedTask

_DPKG_INFO = "/var/lib/dpkg/info"
_DPKG_LIST = re.compile(r"([a-z0-9][a-z0-9.+-]*)(?::[a-z0-9]+)?\.list")  # dpkg(1): a file for each installed package
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
        installed=lambda: list_packages(stack),
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


def list_packages(stack: Stack) -> frozenset[str]:
    """Returns the names of Debian's packages in a stack, by dpkg's lists of their files; skips damaged layers."""
    names: list[str] = []
    if stack.layers[0].resolved.node.kind.name == "host":
        with suppress(OSError):
            names += os.listdir(_DPKG_INFO)
    for layer in stack.layers:
        with suppress(MakeError):
            paths = (os.fsdecode(path).rpartition("/") for path, _ in layers.read_records(layer.layer))
            names += [name for directory, _, name in paths if directory.strip("/") == _DPKG_INFO.strip("/")]
    return frozenset(match[1] for match in map(_DPKG_LIST.fullmatch, names) if match)

"""The files that tasks of this run add to the project while others run. No other task of the run sees them: each sees
the files that were there when the run began, and the artefacts of the tasks that it needs, whichever task ends first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from envtool.container.output_patterns import matches_pattern
from envtool.project.snapshot_diff import list_present
from envtool.run.prepared_task import take_snapshot
from envtool.run.result_cache import NotCacheable

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.plan.task_graph import TaskId

_GLOB = frozenset("*?[")


class HiddenPaths(NamedTuple):
    """What a task that starts now must not see, relative to the project."""

    files: tuple[str, ...] = ()  # that other tasks have added, or written in the place of its own outputs
    places: tuple[str, ...] = ()  # files and directories that are not there yet, and that outputs would be or be in


class OutputsOfRun:
    """Called by any thread."""

    def __init__(self, context: Context, patterns: Mapping[TaskId, Sequence[str]]) -> None:
        """`patterns` are the outputs of each task of the run. Where the project's files cannot be listed, nothing is
        ever hidden. Raises Interrupted."""
        self._lock = threading.Lock()
        self._patterns = patterns
        self._written: dict[str, TaskId] = {}  # path -> the task that left it last
        self._before: frozenset[str] | None = None
        self._places: dict[str, str] = {}  # pattern -> its place
        try:
            self._before = frozenset(list_present(take_snapshot(context)))
        except NotCacheable:
            return
        self._directories = {directory for path in self._before for directory in _parents(path)}
        for pattern in {pattern for of_task in patterns.values() for pattern in of_task}:
            if place := _find_place(context.root, pattern, self._before | self._directories):
                self._places[pattern] = place

    def add(self, task: TaskId, paths: Iterable[str]) -> None:
        """Notes the outputs of a task, which are in the project now."""
        if self._before is not None:
            with self._lock:
                self._written.update(dict.fromkeys(paths, task))

    def hidden_from(self, task: TaskId, needs: Sequence[TaskId]) -> HiddenPaths:
        """Returns what a task must not see that starts now. What it needs is not hidden: its container replaces that by
        the artefacts."""
        if self._before is None:
            return HiddenPaths()
        needed = {pattern for need in needs for pattern in self._patterns[need]}
        with self._lock:
            others = [path for path, owner in self._written.items() if owner != task and owner not in needs]
        # What was there before stays visible, but for an output of the task itself that another one has overwritten.
        own = self._patterns[task] if others else ()
        added = tuple(path for path in others if path not in self._before or _is_output(own, path))
        places = {*self._places.values()} - {self._places[pattern] for pattern in needed if pattern in self._places}
        directories = {directory for path in added for directory in _parents(path)} - self._directories
        return HiddenPaths(added, tuple(sorted(places | directories)))


def _is_output(patterns: Sequence[str], path: str) -> bool:
    return any(matches_pattern(pattern, path) for pattern in patterns)


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _find_place(root: str, pattern: str, there: frozenset[str]) -> str:
    """Returns the first part of a pattern's path that the project does not have; empty if a wildcard comes before."""
    path = ""
    for part in (part for part in pattern.split("/") if part not in ("", ".")):
        if part == ".." or _GLOB & {*part}:
            return ""
        path = f"{path}/{part}" if path else part
        if path not in there:
            return "" if os.path.lexists(os.path.join(root, path)) else path  # ignored files are hidden anyway
    return ""

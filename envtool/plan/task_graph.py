"""The tasks of one run as a graph: those that the command line names, and all that they need. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from envtool.errors import UsageError
from envtool.model import Env, Spec, Task

TaskId = tuple[str, str]  # names of the env and the task


class TaskNode(NamedTuple):
    """One task of a run."""

    env: Env
    task: Task  # with the commands that run: only those of a named task have the arguments of the command line
    is_named: bool  # False: only another task needs it
    is_needed: bool  # another task of the run needs it


class TaskGraph(NamedTuple):
    """All tasks of a run, each after those that it needs; otherwise in the order of the spec."""

    nodes: Mapping[TaskId, TaskNode]

    @property
    def has_needs(self) -> bool:
        """Whether one task waits for another."""
        return any(node.task.needs for node in self.nodes.values())


def make_task_graph(spec: Spec, names: Sequence[str], args: Sequence[str] = ()) -> TaskGraph:
    """Returns the graph of the tasks of these names, in all selected envs. `args` are the arguments of the command
    line, which the commands of the spec have already. Raises UsageError where a task would run both with and without
    them."""
    envs = {env.name: env for env in spec.envs}
    named = [
        (env.name, task.name)
        for name in names
        for env in spec.envs
        for task in env.tasks
        if env.is_selected and task.name == name
    ]
    order: dict[TaskId, None] = {}
    for task_id in named:
        _add(task_id, envs, order)
    needed = {need for task_id in order for need in find_task(envs, task_id).needs}
    nodes: dict[TaskId, TaskNode] = {}
    for task_id in order:
        task, is_named = find_task(envs, task_id), task_id in named
        if args and task.uses_args and task_id in needed and is_named:
            message = (
                f"task `{task.name}` of env `{task_id[0]}` gets the arguments, and another task needs it without them"
            )
            hint = "name other envs with `-e`, or run the two one after the other"
            raise UsageError(message, code="task-arguments", hint=hint)
        if not is_named and task.plain_commands is not None:
            task = replace(task, commands=task.plain_commands)
        nodes[task_id] = TaskNode(envs[task_id[0]], task, is_named, task_id in needed)
    return TaskGraph(nodes)


def warn_of_unread_args(graph: TaskGraph) -> str:
    """Returns a warning if the command line's arguments have no effect: no task that it names has `{{ args }}`. Empty
    otherwise."""
    named = [node for node in graph.nodes.values() if node.is_named]
    if any(node.task.uses_args for node in named):
        return ""
    env, task = named[0].env, named[0].task
    return (
        f"the arguments after `--` have no effect: task `{task.name}` of env `{env.name}`"
        f" ({task.where}) has no `{{{{ args }}}}` in its command"
    )


def find_task(envs: Mapping[str, Env], task_id: TaskId) -> Task:
    """Returns the task of an id."""
    return next(task for task in envs[task_id[0]].tasks if task.name == task_id[1])


def _add(task_id: TaskId, envs: Mapping[str, Env], order: dict[TaskId, None]) -> None:
    """Adds a task after all that it needs; a stack of its own, since a chain may be longer than Python's."""
    pending: list[tuple[TaskId, bool]] = [(task_id, False)]
    while pending:
        current, is_ready = pending.pop()
        if current in order:
            continue
        if is_ready:
            order[current] = None
        else:
            pending.append((current, True))
            pending += [(need, False) for need in reversed(find_task(envs, current).needs)]

"""Resolves the `needs:` of tasks, and the names under `pipeline:`, once all envs are expanded."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envtool.model import Env
    from envtool.spec.declarations import WrittenNeed
    from envtool.spec.node import Problems, YamlNode


def resolve_tasks(
    written: Sequence[WrittenNeed], envs: Sequence[Env], files: Sequence[YamlNode], problems: Problems
) -> tuple[tuple[Env, ...], tuple[str, ...]]:
    """Returns the envs with the needs of their tasks, and the names under `pipeline:`. `files` are the main spec file
    and those that it includes. Notes all errors."""
    resolved = resolve_task_needs(written, envs, problems, is_complete=not problems.noted)
    return resolved, read_pipeline(files, resolved, problems)


def resolve_task_needs(
    written: Sequence[WrittenNeed], envs: Sequence[Env], problems: Problems, *, is_complete: bool
) -> tuple[Env, ...]:
    """Returns the envs with the needs of their tasks. Notes unknown names and cycles. `is_complete` False: an env is
    missing, whose error is noted already."""
    if not written:
        return tuple(envs)
    by_name = {env.name: env for env in envs}
    groups: dict[str, list[Env]] = {}
    for env in envs:
        groups.setdefault(env.group, []).append(env)
    needs: dict[tuple[str, str], dict[tuple[str, str], YamlNode]] = {}
    for need in written:
        found = needs.setdefault((need.env, need.task), {})
        for target in _find(need, by_name, groups, problems, is_complete=is_complete):
            found.setdefault(target, need.node)
    _check_cycles(needs, problems)
    return tuple(
        replace(
            env,
            tasks=tuple(replace(task, needs=tuple(needs.get((env.name, task.name), ()))) for task in env.tasks),
        )
        if any((env.name, task.name) in needs for task in env.tasks)
        else env
        for env in envs
    )


def _find(
    need: WrittenNeed,
    by_name: Mapping[str, Env],
    groups: Mapping[str, Sequence[Env]],
    problems: Problems,
    *,
    is_complete: bool,
) -> list[tuple[str, str]]:
    """Returns the (env, task) that one entry means: of its own env, of a named one, or of all of a named matrix."""
    name, at, place = need.text.partition("@")
    if not at:
        own = by_name.get(need.env)
        if own is None:
            return []
        if name in (task.name for task in own.tasks):
            return [(own.name, name)]
        others = [env for env in by_name.values() if name in (task.name for task in env.tasks)]
        hint = (
            f"write `{name}@{_short_name(others[0], groups)}` for that of another env"
            if others
            else problems.nearest_hint(name, [task.name for task in own.tasks if task.name != need.task])
        )
        message = f"task `{need.task}` needs the task `{name}`, which its env does not have"
        problems.add(need.node, message, code="unknown-task", hint=hint)
        return []
    full = need.node.source.resolve_name(place, {**by_name, **groups})
    envs = [by_name[full]] if full in by_name else [*groups.get(full, ())]
    if not envs:
        if is_complete:
            hint = problems.nearest_hint(place, list(dict.fromkeys([*groups, *by_name])))
            message = f"task `{need.task}` needs a task of the unknown env `{place}`"
            problems.add(need.node, message, code="unknown-env", hint=hint)
        return []
    having = [(env.name, name) for env in envs if name in (task.name for task in env.tasks)]
    if not having:
        hint = problems.nearest_hint(name, list(dict.fromkeys(task.name for env in envs for task in env.tasks)))
        message = f"task `{need.task}` needs the task `{name}`, which env `{place}` does not have"
        problems.add(need.node, message, code="unknown-task", hint=hint)
    return having


def _short_name(env: Env, groups: Mapping[str, Sequence[Env]]) -> str:
    return env.group if len(groups[env.group]) == 1 else env.name


def _check_cycles(needs: Mapping[tuple[str, str], Mapping[tuple[str, str], YamlNode]], problems: Problems) -> None:
    """Notes tasks that need themselves, directly or through others; each cycle once, with the place of each need."""
    done: set[tuple[str, str]] = set()
    for start in needs:
        path: list[tuple[str, str]] = [start]
        pending = [iter(needs[start])]
        while path:
            target = next(pending[-1], None)
            if target is None:
                done.add(path.pop())
                pending.pop()
            elif target in path:
                _note_cycle([*path[path.index(target) :], target], needs, problems)
            elif target not in done and target in needs:
                path.append(target)
                pending.append(iter(needs[target]))


def _note_cycle(
    cycle: Sequence[tuple[str, str]],
    needs: Mapping[tuple[str, str], Mapping[tuple[str, str], YamlNode]],
    problems: Problems,
) -> None:
    nodes = [needs[task][needed] for task, needed in pairwise(cycle)]
    names = " → ".join(f"{name}@{env}" for env, name in cycle)
    places = ", ".join(dict.fromkeys(f"{node.source.file}:{node.line}" for node in nodes))
    message = f"task `{cycle[0][1]}` needs itself: {names}"
    problems.add(nodes[-1], message, code="cycle", hint=f"remove one of these `needs`: {places}")


def read_pipeline(files: Sequence[YamlNode], envs: Iterable[Env], problems: Problems) -> tuple[str, ...]:
    """Returns the names under `pipeline:` of the first file. Notes those that no env has as a task, and the key in
    another file."""
    for included in files[1:]:
        if included.get("pipeline") is not None:
            hint = f"it is of the whole project: write it in {files[0].source.file}"
            problems.add(included.key("pipeline"), "`pipeline` in an included file", code="pipeline", hint=hint)
    node = files[0].get("pipeline")
    if node is None:
        return ()
    names: list[str] = []
    known = list(dict.fromkeys(task.name for env in envs for task in env.tasks))
    for item in node.items():
        if not isinstance(item.value, str):
            continue
        if item.value not in known:
            message = f"no env has the task `{item.value}`"
            problems.add(item, message, code="unknown-task", hint=problems.nearest_hint(item.value, known))
        elif item.value in names:
            problems.add(item, f"`{item.value}` is in the pipeline twice", code="duplicate", hint="remove it")
        else:
            names.append(item.value)
    return tuple(names)

"""Which envs write the same outputs: each overwrites the other's, and takes away that it is unchanged. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from envtool.fs import globs
from envtool.model import Env, Task

_STARS = re.compile(r"\*+|\?|\[[^\]]*\]")


def find_output_clashes(pairs: Iterable[tuple[Env, Task]]) -> tuple[str, ...]:
    """A sentence for each output of a task that several envs can write, in the order of the spec."""
    wishes = [(env.name, task.name, pattern.strip("/")) for env, task in pairs for pattern in task.outputs]
    told: set[tuple[str, str]] = set()
    said = []
    for _, task, pattern in wishes:
        envs = list(
            dict.fromkeys(env for env, name, other in wishes if name == task and _patterns_overlap(pattern, other))
        )
        if len(envs) < 2 or any((env, task) in told for env in envs):
            continue
        told |= {(env, task) for env in envs}
        more = f" and {len(envs) - 2} more" if len(envs) > 2 else ""
        names = f"{', '.join(envs[:2])}{more}" if more else " and ".join(envs)
        said.append(
            f"`{task}` of {names} can write the same file (outputs: {pattern}): the last one leaves its own, and"
            " none is unchanged after that; `{{ env.name }}` in the path keeps them apart"
        )
    return tuple(said)


def _patterns_overlap(one: str, other: str) -> bool:
    """Whether a path can match both patterns, as far as one that `*` makes can tell."""
    return _matches_sample(one, other) or _matches_sample(other, one)


def _matches_sample(pattern: str, other: str) -> bool:
    return globs.matcher((pattern, f"{pattern}/**")).fullmatch(_STARS.sub("x", other)) is not None

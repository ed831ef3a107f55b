"""Finds envs that write the same outputs: each overwrites those of the others, and none stays unchanged. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from envtool.fs import globs
from envtool.model import Env, Task

_STARS = re.compile(r"\*+|\?|\[[^\]]*\]")


def find_output_clashes(pairs: Iterable[tuple[Env, Task]]) -> tuple[str, ...]:
    """Returns a sentence for each output of a task that several envs can write, in the order of the spec."""
    outputs = [(env.name, task.name, pattern.strip("/")) for env, task in pairs for pattern in task.outputs]
    reported: set[tuple[str, str]] = set()
    sentences = []
    for _, task, pattern in outputs:
        envs = list(
            dict.fromkeys(env for env, name, other in outputs if name == task and _patterns_overlap(pattern, other))
        )
        if len(envs) < 2 or any((env, task) in reported for env in envs):
            continue
        reported |= {(env, task) for env in envs}
        more = f" and {len(envs) - 2} more" if len(envs) > 2 else ""
        names = f"{', '.join(envs[:2])}{more}" if more else " and ".join(envs)
        sentences.append(
            f"`{task}` of {names} can write the same file (outputs: {pattern}): the last one leaves its own, and"
            " none is unchanged after that; `{{ env.name }}` in the path keeps them apart"
        )
    return tuple(sentences)


def _patterns_overlap(pattern: str, other: str) -> bool:
    """Whether a path can match both patterns; tested with one path for each pattern."""
    return _matches_sample(pattern, other) or _matches_sample(other, pattern)


def _matches_sample(pattern: str, other: str) -> bool:
    return globs.matcher((pattern, f"{pattern}/**")).fullmatch(_STARS.sub("x", other)) is not None

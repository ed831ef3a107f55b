"""Finds envs that can write, or wrote, the same outputs: the project has those of the env that ended last. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from envtool.fs import globs
from envtool.lazy_dataclass import dataclass
from envtool.model import Env, Task

_ADVICE = "`{{ env.name }}` in the path keeps them apart"
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
        sentences.append(
            f"`{task}` of {_join_names(envs)} can write the same file (outputs: {pattern}): the project then has that"
            f" of the env that ends last; {_ADVICE}"
        )
    return tuple(sentences)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenOutputs:
    """What a task left in the project: path -> what the file is (digest and mode, or target of a link), as text; empty
    where that is not known."""

    env: str
    task: str
    files: Mapping[str, str]


def find_overwritten_outputs(tasks: Sequence[WrittenOutputs]) -> tuple[str, ...]:
    """Returns a sentence for each group of envs that wrote the same paths. Files known to be the same are no clash: the
    next run finds all of them unchanged."""
    writers: dict[tuple[str, str], list[WrittenOutputs]] = {}
    for written in tasks:
        for path in written.files:
            writers.setdefault((written.task, path), []).append(written)
    groups: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}
    for (task, path), group in writers.items():
        files = {written.files[path] for written in group}
        if len(group) > 1 and (len(files) > 1 or "" in files):
            groups.setdefault((task, tuple(written.env for written in group), "" not in files), []).append(path)
    return tuple(
        f"`{task}` of {_join_names(envs)} wrote {'different files' if is_known else 'a file'} to {paths[0]}"
        f"{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: the project has"
        f" that of the env that ended last{', and each run writes it again' if is_known else ''}; {_ADVICE}"
        for (task, envs, is_known), paths in groups.items()
    )


def _join_names(envs: Sequence[str]) -> str:
    return f"{', '.join(envs[:2])} and {len(envs) - 2} more" if len(envs) > 2 else " and ".join(envs)


def _patterns_overlap(pattern: str, other: str) -> bool:
    """Whether a path can match both patterns; tested with one path for each pattern."""
    return _matches_sample(pattern, other) or _matches_sample(other, pattern)


def _matches_sample(pattern: str, other: str) -> bool:
    return globs.matcher((pattern, f"{pattern}/**")).fullmatch(_STARS.sub("x", other)) is not None

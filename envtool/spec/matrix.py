"""Expands a matrix into its points, as CI systems do.

An entry of `exclude` removes every combination that has all values of the entry. Then each entry of `include` adds its
further values to every combination that has the entry's values of the matrix's own axes. If there is no such
combination, the entry is a point of its own.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

from envtool.spec.scalar_types import label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.spec.node import Problems, YamlNode

Point: TypeAlias = "dict[str, str]"

MAX_POINTS = 2000  # of one matrix
MAX_ENTRIES = 200  # of `include` and of `exclude`: each is compared with each point


def expand_points(matrix: YamlNode, env: str, problems: Problems) -> list[tuple[str, Point]]:
    """Returns each point with the name of its env, in the order of the axes as written. Notes errors; [] after one."""
    axes = {name: [value_text(value) for value in node.items()] for name, node in _axes(matrix).items()}
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MAX_POINTS:
        problems.add(matrix, f"the matrix of env `{env}` has {count:,} points, at most {MAX_POINTS:,} go", code="limit")
        return []
    for key in ("include", "exclude"):
        entries = len(_entries(matrix, key))
        if entries > MAX_ENTRIES:
            problems.add(matrix.key(key), f"`{key}` has {entries:,} entries, at most {MAX_ENTRIES} go", code="limit")
            return []
    combinations = (
        [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())] if axes else []
    )
    combinations = _apply_exclude(combinations, matrix, axes, problems)
    points = [(name_of(env, [point[axis] for axis in axes]), point) for point in combinations]
    points += _apply_include(combinations, matrix, axes, env)
    if not points and (matrix.get("exclude") or not axes):
        hint = "all are excluded" if axes else "write an axis, as in `matrix: {suite: [bookworm, trixie]}`"
        problems.add(matrix, f"the matrix of env `{env}` has no points", code="empty", hint=hint)
    return points


def name_of(env: str, values: list[str]) -> str:
    """Returns the name of a point's env, as in `unit[bookworm,3.12]`."""
    return f"{env}[{','.join(label(value) for value in values)}]"


def value_text(node: YamlNode) -> str:
    """Returns a matrix value as text; numbers as they were written."""
    return node.value if isinstance(node.value, str) else node.text


def _axes(matrix: YamlNode) -> Mapping[str, YamlNode]:
    return {name: node for name, node in matrix.mapping().items() if name not in ("include", "exclude")}


def _entries(matrix: YamlNode, key: str) -> list[tuple[YamlNode, Point]]:
    node = matrix.get(key)
    return [(entry, {k: value_text(v) for k, v in entry.mapping().items()}) for entry in (node.items() if node else [])]


def _apply_exclude(
    combinations: list[Point], matrix: YamlNode, axes: Mapping[str, list[str]], problems: Problems
) -> list[Point]:
    for node, entry in _entries(matrix, "exclude"):
        unknown = [name for name in entry if name not in axes]
        for name in unknown:
            hint = problems.nearest_hint(name, axes)
            problems.add(node.key(name), f"unknown axis `{name}` in `exclude`", code="unknown-axis", hint=hint)
        remaining = [point for point in combinations if any(point.get(k) != v for k, v in entry.items())]
        if len(remaining) == len(combinations) and not unknown:
            hint = "write values that the axes have, or remove it"
            problems.add(node, "this entry of `exclude` excludes nothing", code="exclude", hint=hint)
        combinations = remaining
    return combinations


def _apply_include(
    combinations: list[Point], matrix: YamlNode, axes: Mapping[str, list[str]], env: str
) -> list[tuple[str, Point]]:
    """Adds values to `combinations` in place. Returns the entries that are points of their own, with their names."""
    points: list[tuple[str, Point]] = []
    for _, entry in _entries(matrix, "include"):
        own = {name: value for name, value in entry.items() if name in axes}
        matching = [point for point in combinations if all(point[name] == value for name, value in own.items())]
        for point in matching:
            point.update(entry)
        if not matching:
            points.append((name_of(env, list(entry.values())), entry))
    return points

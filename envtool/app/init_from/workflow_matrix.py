"""`strategy: {matrix: …}` of a job: its points. Source: GitHub's documentation, "Running variations of jobs"."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from envtool.app.compose.compose_values import scalar_text
from envtool.app.init_from.taken_spec import CannotTakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool.spec.node import YamlNode

    Point = dict[str, Any]

MAX_POINTS = 256  # jobs of one matrix, as on GitHub
_MAX_PRODUCT = 10_000  # points before `exclude`


def matrix_points(strategy: YamlNode | None) -> list[Point]:
    """Returns the values of each point; one without values if there is no matrix. Raises CannotTakeError for a matrix
    that an expression makes, and for more points than GitHub takes."""
    matrix = strategy.get("matrix") if strategy is not None else None
    if matrix is None:
        return [{}]
    if not isinstance(matrix.value, dict):
        raise CannotTakeError("its matrix is made by an expression", "write the values out", matrix.line)
    axes: dict[str, list[Any]] = {}
    for name, node in matrix.value.items():
        if name not in ("include", "exclude"):
            if not isinstance(node.value, list):
                raise CannotTakeError(f"`matrix: {name}` is no list of values", "write the values out", node.line)
            axes[name] = [plain_value(member) for member in node.value]
    if math.prod(len(values) for values in axes.values()) > _MAX_PRODUCT:
        raise CannotTakeError(f"its matrix has more than {_MAX_PRODUCT:,} points", "", matrix.line)
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    excluded = _entries(matrix.get("exclude"))
    points = [point for point in product if not any(_matches(point, entry) for entry in excluded)]
    points = _include(points, axes, _entries(matrix.get("include")))
    if len(points) > MAX_POINTS:
        raise CannotTakeError(f"its matrix has more than {MAX_POINTS} points", "", matrix.line)
    return points


def plain_value(node: YamlNode) -> Any:
    """Returns a value without positions; a number is text, as GitHub puts it into one."""
    if isinstance(node.value, dict):
        return {name: plain_value(member) for name, member in node.value.items()}
    if isinstance(node.value, list):
        return [plain_value(member) for member in node.value]
    return node.value if isinstance(node.value, bool | None) else scalar_text(node)


def _entries(node: YamlNode | None) -> list[Point]:
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list) or not all(isinstance(member.value, dict) for member in node.value):
        raise CannotTakeError("`include` and `exclude` are lists of mappings", "write the values out", node.line)
    if len(node.value) > MAX_POINTS:
        raise CannotTakeError(f"its matrix has more than {MAX_POINTS} entries", "", node.line)
    return [plain_value(member) for member in node.value]


def _matches(point: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return all(name in point and point[name] == value for name, value in entry.items())


def _include(points: list[Point], axes: Mapping[str, Any], entries: Iterable[Point]) -> list[Point]:
    """Returns the points with the values of each entry added where these change no axis; an entry that fits no point is
    one of its own."""
    originals = [dict(point) for point in points]
    more: list[Point] = []
    for entry in entries:
        fitting = [
            point
            for point, original in zip(points, originals, strict=True)
            if all(original[name] == value for name, value in entry.items() if name in axes)
        ]
        for point in fitting:
            point.update(entry)
        more += [] if fitting else [dict(entry)]
    return [*points, *more]

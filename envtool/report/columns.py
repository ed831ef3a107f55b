"""Where the columns of a line begin, by the longest names so far."""

from __future__ import annotations

from envtool.lazy_dataclass import dataclass
from envtool.report import unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Columns at which a task's name (after its env's) and the detail begin; the times follow the detail."""

    task: int = 15
    detail: int = 26

    @classmethod
    def of(cls, names: int, envs: int, tasks: int, columns: int) -> Layout:
        """The layout for the longest names of layers, envs and tasks, in columns, on a screen of `columns` (0: no
        limit)."""
        task, detail = unchanged.layout(names, envs, tasks, columns)
        return cls(task=task, detail=detail)


DEFAULT_LAYOUT = Layout()

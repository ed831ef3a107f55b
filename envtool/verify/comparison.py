"""The result of one comparison, as a value."""

from __future__ import annotations

from envtool.events import Outcome
from envtool.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDifference:
    """One path that differs: in what (store.compare_trees.KINDS, or "member NAME" of an archive), and lines that show
    it."""

    path: str
    kinds: tuple[str, ...]
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """One layer, or the outputs of one env's task, that was built twice. `outcome`: "same", "differs", "error",
    "interrupted". `diff_ids` are those of the two builds (empty for outputs), `stored` is the layer's in the store,
    `expected` the one in the lock; an empty one was not compared."""

    name: str
    subject: str  # "base", "layer" or "task"
    kind: str
    env: str  # the first env that uses it
    outcome: Outcome
    seconds: float
    differences: tuple[PathDifference, ...] = ()
    between: str = ""  # which two differ: "two builds", "the store and a build"
    diff_ids: tuple[str, ...] = ()
    stored: str = ""
    expected: str = ""
    notes: tuple[str, ...] = ()  # what could not be varied, and why
    report: str = ""  # path of diffoscope's report
    message: str = ""  # the error message, if the outcome is "error"

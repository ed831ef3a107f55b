"""`--audit`: runs some of the tasks that `inputs: observed` would skip, and fails where a skip was wrong.

A skip is wrong if the task does not pass now, or if it reads a file that it did not read when it passed, and that has
changed since. Then the result that would have been used is removed, and no earlier one is used for other files.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.container.looked_up_names import is_below
from envtool.errors import UsageError
from envtool.events import Noted
from envtool.project import snapshot_diff
from envtool.run import observed_reads
from envtool.store import results, snapshots

if TYPE_CHECKING:
    from envtool.run.prepared_task import PreparedTask, TaskCall
    from envtool.run.result import Result
    from envtool.store.results import StoredReads, StoredResult

MAX_NAMED = 5  # files that a message names


def parse_share(text: str) -> float:
    """Returns a part in per cent ("5%") as a number from 0 to 1. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text, re.ASCII)
    if match is None or float(match[1]) > 100:
        message = f"`--audit`: `{text}` is no part: write 5%, or anything from 0% to 100%"
        raise UsageError(message, code="usage.audit")
    return float(match[1]) / 100


class Audit:
    """The audit of one task. `share` is the part of the skips that is run, from 0 to 1."""

    def __init__(self, share: float, draw: Callable[[], float] = random.random) -> None:
        self._share, self._draw = share, draw
        self._skipped: StoredResult | None = None

    def takes(self, call: TaskCall, stored: StoredResult) -> bool:
        """Returns whether the task runs, although this result would be used for it."""
        if self._draw() >= self._share:
            return False
        self._skipped = stored
        text = "audited: it would have been skipped, since no file that it read has changed"
        call.context.emit(Noted(text=text, id=call.event_id))
        return True

    def compare(self, task: PreparedTask, result: Result, reads: StoredReads | None) -> Result:
        """Returns the result of an audited task: an error where the skip would have been wrong."""
        if self._skipped is None or result.outcome == "interrupted":
            return result
        call = task.call
        if result.outcome != "passed":
            fault = f"it does not pass any more ({result.outcome})"
        elif files := self._changed_and_read(task, reads):
            more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
            named = ", ".join(f"`{path}`" for path in files[:MAX_NAMED])
            fault = f"this time it read {named}{more}, which changed since"
        else:
            return result
        observed_reads.forget_results(task.request.document(), call.context)
        results.remove_result(call.context.store, self._skipped.key)  # and with it plans that it decided (fast_plan.py)
        text = f"`inputs: observed` would have skipped it, and that was wrong: {fault}"
        call.context.emit(Noted(text=text, id=call.event_id))
        hint = "write `inputs: all` for it: what it reads depends on more than the files that it has read"
        return replace(
            result,
            outcome="failed",
            message="\n".join(filter(None, [result.message, text, hint])),
            where=f"{call.task.where.file}:{call.task.where.line}",
            commands=tuple(command.typed() for command in call.task.commands),
        )

    def _changed_and_read(self, task: PreparedTask, reads: StoredReads | None) -> list[str]:
        """Returns the files that differ between the run whose result would have been used and this one, and that this
        one read."""
        assert self._skipped is not None
        if reads is None or reads.unread is None or task.snapshot is None:
            return []  # not known: it passed, and that is all
        before = snapshots.get(task.call.context.store, str(self._skipped.document.get("view")))
        now: Mapping[str, tuple[int, str]] = snapshots.parse_rows(snapshot_diff.snapshot_manifest(task.snapshot))
        unread = {*reads.unread}
        return [path for path in sorted(now) if (before or {}).get(path) != now[path] and not is_below(path, unread)]

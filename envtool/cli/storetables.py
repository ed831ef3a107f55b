"""What the verbs that look after the store print: tables for people, values for `--json` (docs/json.md)."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from envtool.cli.tables import table
from envtool.report.text import one_line, size
from envtool.report.words import Style, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.model import Json

SORTS = {"layer": "layer", "file": "fetched file", "result": "result"}
MOST = 40  # rows of a list that are shown; -v and --json have all


def swept(done: Any, style: Style, *, verbosity: int = 0, now: float | None = None) -> str:
    """What each env costs, what went, and what is left."""
    now = time.time() if now is None else now
    lines: list[str] = []
    collected = done.collected
    if verbosity >= 0 and done.envs:
        titles = ("env", "project", "layers", "own", "shared", "files", "used", "after")
        head, *body = table([titles, *(_cost(each, now) for each in done.envs)])
        lines += [style.paint("2", head), *body, ""]
    if verbosity > 0:
        lines += _things(collected.gone, now)
    word = "would go" if done.dry_run else "gone"
    lines += [f"{word}: {text}" for text in _sums(collected.gone)]
    if collected.litter:
        amount = f", {size(collected.litter_size)}" if collected.litter_size else ""
        lines.append(f"{word}: {counted(collected.litter, 'leftover')}{amount}")
    if collected.busy:
        lines.append(f"kept: {', '.join(_sums(collected.busy))}, in use now")
    if not collected.gone and not collected.litter:
        lines.append("nothing to remove")
    left = done.size - collected.freed
    freed = f"{size(collected.freed)} {'would be' if done.dry_run else ''} freed".replace("  ", " ")
    lines.append(f"{freed}; the store takes {size(left)}, {size(done.free)} of {size(done.disk)} are free")
    return "\n".join(lines)


def _cost(each: Any, now: float) -> tuple[str, ...]:
    same = each.after == each.own + each.shared and each.after_files == each.files
    return (
        one_line(each.env) or "(earlier builds)",
        one_line(each.project) or "-",
        str(each.layers),
        size(each.own),
        size(each.shared),
        size(each.files),
        ago(each.used, now),
        "same" if same else size(each.after + each.after_files),
    )


def ago(then: float, now: float) -> str:
    """When something was used, in days."""
    if not then:
        return "-"
    days = int(max(0.0, now - then) // 86400)
    return "today" if not days else f"{counted(days, 'day')} ago"


def _sums(items: Sequence[Any]) -> list[str]:
    found = []
    for sort, word in SORTS.items():
        these = [item for item in items if item.sort == sort]
        if these:
            found.append(f"{counted(len(these), word)}, {size(sum(item.size for item in these))}")
    return found


def _things(items: Sequence[Any], now: float) -> list[str]:
    rows = [(item.sort, item.name[:12], size(item.size), ago(item.used, now)) for item in items]
    return [*table(rows), ""] if rows else []


def swept_json(done: Any) -> Json:
    """The last object of `gc`."""
    collected = done.collected
    return {
        "event": "gc",
        "store": done.store,
        "dry_run": done.dry_run,
        "size": done.size,
        "freed": collected.freed,
        "free": done.free,
        "disk": done.disk,
        "gone": [_item(item) for item in collected.gone],
        "busy": [_item(item) for item in collected.busy],
        "leftovers": collected.litter,
        "envs": [asdict(each) for each in done.envs],
    }


def _item(item: Any) -> Json:
    return {"sort": item.sort, "name": item.name, "size": item.size, "used": round(item.used, 3)}

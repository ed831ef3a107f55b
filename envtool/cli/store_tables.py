"""What the verbs that look after the store print: tables for people, values for `--json` (docs/json.md)."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from envtool.cli.tables import table
from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.model import Json

SORT_WORDS = {"layer": "layer", "file": "fetched file", "result": "result", "cache": "cache"}
MOST = 40  # rows of a list that are shown; -v and --json have all


def format_gc(done: Any, style: Style, *, verbosity: int = 0, now: float | None = None, columns: int = 0) -> str:
    """What each env costs, what of it stays, what went, and what is left."""
    now = time.time() if now is None else now
    lines: list[str] = []
    collected = done.collected
    if verbosity >= 0 and done.envs:
        titles = ("env", "project", "layers", "own", "shared", "files", "used", "stays")
        head, *body = table([titles, *(_cost_row(each, now) for each in done.envs)], columns, firm=range(2, 8))
        lines += [style.paint("2", head), *body, ""]
    if verbosity > 0:
        lines += _item_rows(collected.gone, now)
    word = "would go" if done.dry_run else "gone"
    lines += [f"{word}: {text}" for text in _format_totals(collected.gone)]
    if collected.litter:
        amount = f", {size(collected.litter_size)}" if collected.litter_size else ""
        lines.append(f"{word}: {pluralize(collected.litter, 'leftover')}{amount}")
    if collected.busy:
        lines.append(f"kept: {', '.join(_format_totals(collected.busy))}, in use now")
    if not collected.gone and not collected.litter:
        lines.append("nothing to remove")
    if done.removing:
        lines.append(f"being removed by another envtool: {size(done.removing)}")
    if done.stuck:
        lines.append(_format_undeletable(done.stuck))
    left = done.size - collected.freed
    freed = f"{size(collected.freed)} {'would be' if done.dry_run else ''} freed".replace("  ", " ")
    lines.append(f"{freed}; the store takes {size(left)}, {size(done.free)} of {size(done.disk)} are free")
    if done.dry_run and collected.gone:
        lines.append("`envtool gc` with the same options removes it")
    return "\n".join(lines)


def _cost_row(each: Any, now: float) -> tuple[str, ...]:
    same = each.after == each.own + each.shared and each.after_files == each.files
    return (
        one_line(each.env) or "(earlier builds)",
        one_line(each.project) or "-",
        str(each.layers),
        size(each.own),
        size(each.shared),
        size(each.files),
        format_days_ago(each.used, now),
        "all" if same else size(each.after + each.after_files),
    )


def format_days_ago(then: float, now: float) -> str:
    """When something was used, in days."""
    if not then:
        return "-"
    days = int(max(0.0, now - then) // 86400)
    return "today" if not days else f"{pluralize(days, 'day')} ago"


def _format_totals(items: Sequence[Any]) -> list[str]:
    found = []
    for sort, word in SORT_WORDS.items():
        these = [item for item in items if item.sort == sort]
        if these:
            found.append(f"{pluralize(len(these), word)}, {size(sum(item.size for item in these))}")
    return found


def _item_rows(items: Sequence[Any], now: float) -> list[str]:
    rows = [(item.sort, item.name[:12], size(item.size), format_days_ago(item.used, now)) for item in items]
    return [*table(rows), ""] if rows else []


def gc_json(done: Any) -> Json:
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
        "gone": [_item_json(item) for item in collected.gone],
        "busy": [_item_json(item) for item in collected.busy],
        "leftovers": collected.litter,
        "removing": done.removing,
        "envs": [asdict(each) for each in done.envs],
    }


def _item_json(item: Any) -> Json:
    return {"sort": item.sort, "name": item.name, "size": item.size, "used": round(item.used, 3)}


def format_sizes(found: Any, style: Style) -> str:
    """A line a sort of thing, and the sum."""
    rows = [
        (pluralize(found.sorts[sort][0], word), size(found.sorts[sort][1]))
        for sort, word in SORT_WORDS.items()
        if sort in found.sorts
    ]
    under_way = found.unfinished
    rows += [
        (words, size(amount))
        for words, amount in (
            ("being made now", under_way.made),
            ("being removed now", under_way.going),
            ("left by stopped runs", under_way.left),
        )
        if amount
    ]
    rest = found.size - under_way.size - sum(amount for _, amount in found.sorts.values())
    lines = table([*rows, ("everything else", size(rest))])
    if under_way.left and not under_way.going:
        lines.append("what stopped runs left is removed when the store is used next, or by `envtool gc`")
    amount, maps = found.others
    if maps:
        lines.append(
            f"of this, {size(amount)} was made when containers had other ids ({'; '.join(map(one_line, maps))})"
        )
    if found.stuck:
        lines.append(f"not measured: {_format_undeletable(found.stuck)}")
    return "\n".join(
        [style.paint("1", one_line(found.store)), *(f"  {line}" for line in lines),
         f"{size(found.size)}; {size(found.free)} of {size(found.disk)} are free"]
    )  # fmt: skip


def sizes_json(found: Any) -> Json:
    """The object of `store size`."""
    sorts: dict[str, Json] = {
        sort: {"count": found.sorts.get(sort, (0, 0))[0], "size": found.sorts.get(sort, (0, 0))[1]}
        for sort in SORT_WORDS
    }
    others: Json = {"size": found.others[0], "idmaps": [*found.others[1]]}
    rest = found.unfinished
    return {
        "store": found.store, "size": found.size, "free": found.free, "disk": found.disk, "sorts": sorts,
        "others": others, "stuck": [*found.stuck],
        "unfinished": {"made": rest.made, "removing": rest.going, "left": rest.left},
    }  # fmt: skip


def format_removal(done: Any, where: str) -> str:
    """What went, and what did not."""
    if done is None:
        return f"there is no store: {one_line(where)}"
    lines = [f"{one_line(path)} is nothing of envtool's, and stays" for path in done.foreign]
    if done.stuck:
        lines += [_format_undeletable(done.stuck), f"{size(done.size)} of {one_line(where)} are gone"]
    else:
        lines.append(f"{one_line(where)} is gone: {size(done.size)}")
    return "\n".join(lines)


def _format_undeletable(places: Sequence[str]) -> str:
    """What only root can delete."""
    listed = " ".join(shlex.quote(one_line(place)) for place in places)
    return f"made with ids that this account has no more, only root can delete it: `sudo rm -r {listed}`"


def removal_json(done: Any, where: str) -> Json:
    """The last object of `store remove`."""
    if done is None:
        return {"event": "removed", "store": where, "size": 0, "foreign": [], "stuck": []}
    return {
        "event": "removed", "store": done.store, "size": done.size, "foreign": [*done.foreign], "stuck": [*done.stuck],
    }  # fmt: skip


def format_check(found: Any, style: Style) -> str:
    """Each thing that is damaged, and the sum."""
    lines: list[str] = []
    for each in found.damages:
        name = each.name[:12] if len(each.name) >= 64 else one_line(each.name)
        ended = f" ({one_line(each.mended)})" if each.mended else ""
        sort = SORT_WORDS.get(each.sort, each.sort)
        lines.append(f"{style.paint('31', style.glyphs('✗'))} {sort} {name}: {one_line(each.what)}{ended}")
        lines += [f"    {one_line(path)}" for path in each.paths]
    looked = ", ".join(pluralize(found.counts[sort], word) for sort, word in SORT_WORDS.items() if sort in found.counts)
    state = f"{len(found.damages)} damaged" if found.damages else "all whole"
    if found.damages and not found.left:
        state += ", all repaired"
    lines.append(f"{looked or 'nothing'}, {size(found.size)}: {state}")
    if found.left and not any(each.mended for each in found.left):
        lines.append("`envtool store verify --repair` removes what is damaged: it is made or fetched again")
    return "\n".join(lines)


def check_json(found: Any) -> Json:
    """The last object of `store verify`."""
    return {
        "event": "checked",
        "damages": [{**asdict(each), "paths": [*each.paths]} for each in found.damages],
        "left": len(found.left),
        "counts": dict(found.counts),
        "size": found.size,
    }

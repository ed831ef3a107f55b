"""Text and JSON of `gc` and `store` (docs/json.md)."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from envtool.cli.tables import table
from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.maintenance import GcReport, StoredCache, StoreSizes
    from envtool.inspect.costs import Cost
    from envtool.inspect.remove_store import StoreRemoval
    from envtool.inspect.store_check import StoreCheck
    from envtool.model import Json
    from envtool.store.inventory import StoredItem

SORT_WORDS = {"layer": "layer", "file": "fetched file", "result": "result", "cache": "cache"}


def format_gc(report: GcReport, style: Style, *, verbosity: int = 0, now: float | None = None, columns: int = 0) -> str:
    """The cost of each env, how much of it stays, what was removed, and the size of the store afterwards."""
    now = time.time() if now is None else now
    lines: list[str] = []
    collected = report.collected
    if verbosity >= 0 and report.envs:
        titles = ("env", "project", "layers", "own", "shared", "files", "used", "stays")
        head, *body = table([titles, *(_cost_row(cost, now) for cost in report.envs)], columns, firm=range(2, 8))
        lines += [style.paint("2", head), *body, ""]
    if verbosity > 0:
        lines += _item_rows(collected.gone, now)
    verb = "would go" if report.dry_run else "gone"
    lines += [f"{verb}: {text}" for text in _format_totals(collected.gone)]
    if collected.litter:
        amount = f", {size(collected.litter_size)}" if collected.litter_size else ""
        lines.append(f"{verb}: {pluralize(collected.litter, 'leftover')}{amount}")
    if collected.busy:
        lines.append(f"kept: {', '.join(_format_totals(collected.busy))}, in use now")
    if not collected.gone and not collected.litter:
        lines.append("nothing to remove")
    if report.removing:
        lines.append(f"being removed by another envtool: {size(report.removing)}")
    if report.stuck:
        lines.append(_format_undeletable(report.stuck))
    remaining = report.size - collected.freed
    freed = f"{size(collected.freed)} {'would be' if report.dry_run else ''} freed".replace("  ", " ")
    lines.append(f"{freed}; the store takes {size(remaining)}, {size(report.free)} of {size(report.disk)} are free")
    if report.dry_run and collected.gone:
        lines.append("`envtool gc` with the same options removes it")
    return "\n".join(lines)


def _cost_row(cost: Cost, now: float) -> tuple[str, ...]:
    all_stays = cost.after == cost.own + cost.shared and cost.after_files == cost.files
    return (
        one_line(cost.env) or "(earlier builds)",
        one_line(cost.project) or "-",
        str(cost.layers),
        size(cost.own),
        size(cost.shared),
        size(cost.files),
        format_days_ago(cost.used, now),
        "all" if all_stays else size(cost.after + cost.after_files),
    )


def format_days_ago(then: float, now: float) -> str:
    """The days since an item was used, as in "3 days ago"; "-" if it never was. Both times are Unix times."""
    if not then:
        return "-"
    days = int(max(0.0, now - then) // 86400)
    return "today" if not days else f"{pluralize(days, 'day')} ago"


def _format_totals(items: Sequence[StoredItem]) -> list[str]:
    totals = []
    for sort, word in SORT_WORDS.items():
        of_sort = [item for item in items if item.sort == sort]
        if of_sort:
            totals.append(f"{pluralize(len(of_sort), word)}, {size(sum(item.size for item in of_sort))}")
    return totals


def _item_rows(items: Sequence[StoredItem], now: float) -> list[str]:
    rows = [(item.sort, item.name[:12], size(item.size), format_days_ago(item.used, now)) for item in items]
    return [*table(rows), ""] if rows else []


def gc_json(report: GcReport) -> Json:
    """The last object of `gc`."""
    collected = report.collected
    return {
        "event": "gc",
        "store": report.store,
        "dry_run": report.dry_run,
        "size": report.size,
        "freed": collected.freed,
        "free": report.free,
        "disk": report.disk,
        "gone": [_item_json(item) for item in collected.gone],
        "busy": [_item_json(item) for item in collected.busy],
        "leftovers": collected.litter,
        "removing": report.removing,
        "envs": [asdict(cost) for cost in report.envs],
    }


def _item_json(item: StoredItem) -> Json:
    return {"sort": item.sort, "name": item.name, "size": item.size, "used": round(item.used, 3)}


def format_sizes(sizes: StoreSizes, style: Style) -> str:
    """One line per sort of item, and the sum."""
    rows = [
        (pluralize(sizes.sorts[sort][0], word), size(sizes.sorts[sort][1]))
        for sort, word in SORT_WORDS.items()
        if sort in sizes.sorts
    ]
    unfinished = sizes.unfinished
    rows += [
        (label, size(amount))
        for label, amount in (
            ("being written now", unfinished.made),
            ("being removed now", unfinished.going),
            ("left by stopped runs", unfinished.left),
        )
        if amount
    ]
    others = sizes.size - unfinished.size - sum(amount for _, amount in sizes.sorts.values())
    lines = table([*rows, ("everything else", size(others))])
    if unfinished.left and not unfinished.going:
        lines.append("what stopped runs left is removed when the store is used next, or by `envtool gc`")
    amount, idmaps = sizes.others
    if idmaps:
        lines.append(
            f"of this, {size(amount)} was built when containers had other ids ({'; '.join(map(one_line, idmaps))})"
        )
    if sizes.stuck:
        lines.append(f"not measured: {_format_undeletable(sizes.stuck)}")
    return "\n".join(
        [style.paint("1", one_line(sizes.store)), *(f"  {line}" for line in lines),
         f"{size(sizes.size)}; {size(sizes.free)} of {size(sizes.disk)} are free"]
    )  # fmt: skip


def sizes_json(sizes: StoreSizes) -> Json:
    """The object of `store size`."""
    sorts: dict[str, Json] = {
        sort: {"count": sizes.sorts.get(sort, (0, 0))[0], "size": sizes.sorts.get(sort, (0, 0))[1]}
        for sort in SORT_WORDS
    }
    others: Json = {"size": sizes.others[0], "idmaps": [*sizes.others[1]]}
    unfinished = sizes.unfinished
    return {
        "store": sizes.store, "size": sizes.size, "free": sizes.free, "disk": sizes.disk, "sorts": sorts,
        "others": others, "stuck": [*sizes.stuck],
        "unfinished": {"made": unfinished.made, "removing": unfinished.going, "left": unfinished.left},
    }  # fmt: skip


def format_caches(
    caches: Sequence[StoredCache], style: Style, *, removed: bool, now: float | None = None, columns: int = 0
) -> str:
    """One line per cache of tasks."""
    if not caches:
        return "no cache of a task was removed" if removed else "there is no cache of a task"
    now = time.time() if now is None else now
    rows = [("env", "path", "size", "used", "key", "project")]
    for cache in caches:
        project = cache.project if cache.below in ("", ".") else f"{cache.project} ({cache.below})"
        used = format_days_ago(cache.used, now)
        rows.append((one_line(cache.env), one_line(cache.path), size(cache.size), used, cache.name, one_line(project)))
    head, *body = table(rows, columns, firm=range(1, 5))
    total = size(sum(cache.size for cache in caches))
    last = f"{pluralize(len(caches), 'cache')}, {total}"
    return "\n".join([style.paint("2", head), *body, f"removed: {last}" if removed else last])


def caches_json(caches: Sequence[StoredCache], *, removed: bool) -> Json:
    """The object of `store caches`."""
    return {"event": "caches", "removed": removed, "caches": [asdict(cache) for cache in caches]}


def format_removal(removal: StoreRemoval | None, store: str) -> str:
    """What was removed, and what was not."""
    if removal is None:
        return f"there is no store: {one_line(store)}"
    lines = [f"{one_line(path)} is nothing of envtool's, and stays" for path in removal.foreign]
    if removal.stuck:
        lines += [_format_undeletable(removal.stuck), f"{size(removal.size)} of {one_line(store)} are gone"]
    else:
        lines.append(f"{one_line(store)} is gone: {size(removal.size)}")
    return "\n".join(lines)


def _format_undeletable(paths: Sequence[str]) -> str:
    """A sentence about trees that only root can delete."""
    listed = " ".join(shlex.quote(one_line(path)) for path in paths)
    return f"built with ids that this account no longer has, only root can delete it: `sudo rm -r {listed}`"


def removal_json(removal: StoreRemoval | None, store: str) -> Json:
    """The last object of `store remove`."""
    if removal is None:
        return {"event": "removed", "store": store, "size": 0, "foreign": [], "stuck": []}
    return {
        "event": "removed", "store": removal.store, "size": removal.size, "foreign": [*removal.foreign],
        "stuck": [*removal.stuck],
    }  # fmt: skip


def format_check(result: StoreCheck, style: Style) -> str:
    """One line per damaged item, and the sum."""
    lines: list[str] = []
    for damage in result.damages:
        name = damage.name[:12] if len(damage.name) >= 64 else one_line(damage.name)
        repair = f" ({one_line(damage.mended)})" if damage.mended else ""
        sort = SORT_WORDS.get(damage.sort, damage.sort)
        lines.append(f"{style.paint('31', style.glyphs('✗'))} {sort} {name}: {one_line(damage.what)}{repair}")
        lines += [f"    {one_line(path)}" for path in damage.paths]
    checked = ", ".join(
        pluralize(result.counts[sort], word) for sort, word in SORT_WORDS.items() if sort in result.counts
    )
    state = f"{len(result.damages)} damaged" if result.damages else "all whole"
    if result.damages and not result.left:
        state += ", all repaired"
    lines.append(f"{checked or 'nothing'}, {size(result.size)}: {state}")
    if result.left and not any(damage.mended for damage in result.left):
        lines.append("`envtool store verify --repair` removes what is damaged: it is built or fetched again")
    return "\n".join(lines)


def check_json(result: StoreCheck) -> Json:
    """The last object of `store verify`."""
    return {
        "event": "checked",
        "damages": [{**asdict(damage), "paths": [*damage.paths]} for damage in result.damages],
        "left": len(result.left),
        "counts": dict(result.counts),
        "size": result.size,
    }

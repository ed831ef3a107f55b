"""How `envtool why` reads: what, since when, what changed and where, what did not. Pure."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from envtool.fs.sizes import format_size as size
from envtool.report.formatting import pluralize
from envtool.report.text import one_line, pad, visible_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.model import Json
    from envtool.plan.change_values import Change
    from envtool.plan.why import Explanation
    from envtool.report.formatting import Style

MAX_CHANGES = 12  # changes of one part, and items of one list, that are shown without -v
MAX_CONSEQUENCES = 5  # of those that only follow from another
MAX_VALUE_LENGTH = 60  # characters of an old and of a new value


def format_explanations(told: Sequence[Explanation], style: Style, *, now: float, whole: bool = False) -> str:
    """One paragraph for each; layers that only wait for another are one line. What would read the same (points of a
    matrix) is said once. `whole`: nothing is cut short."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in told:
        name, *lines = _format_explanation(each, style, now, None if whole else MAX_CHANGES)
        groups.setdefault((name, "\n".join(lines)), []).extend(each.envs)
    names = [name for name, _ in groups]
    parts: list[str] = []
    for (name, rest), envs in groups.items():
        many = names.count(name) > 1 and bool(envs)
        parts.append(
            f"{name} ({_join_items([*dict.fromkeys(envs)], None if whole else 3)}){rest}" if many else name + rest
        )
    short = ["\n" not in part for part in parts]
    out = ""
    for index, part in enumerate(parts):
        gap = "" if not index else "\n" if short[index] and short[index - 1] else "\n\n"
        out += gap + part
    return style.glyphs(out)


def _format_explanation(each: Explanation, style: Style, now: float, most: int | None) -> list[str]:
    """The name, the rest of its line, and the lines below."""
    name = style.paint("1", one_line(each.name))
    if each.subject == "task" and each.state != "run":
        return [name, f" {_format_task(each, style, now)}"]
    if each.state == "cached":
        return [name, f" is {style.paint('32', 'cached')}: {_format_origin(each, now)}", *_content_lines(each, most)]
    waits = ", ".join(f"`{one_line(other)}`" for other in each.waits)
    if each.state == "wait" and not each.changes:
        own = "nothing of its own changed" if each.since else "no earlier build of it is in the store"
        return [name, f" waits for {waits} below it: {own}"]
    what = {
        "build": "will be built",
        "ask": "will be resolved",
        "run": "will be run",
        "wait": f"waits for {waits} below it",
    }[each.state]
    head = f" {style.paint('33', what)}: {_headline(each, now)}"
    lines = [name, head, *_change_lines(each.changes, style, most)]
    if each.same:
        lines.append(f"same as before: {', '.join(map(one_line, each.same))}")
    return lines


def _format_task(each: Explanation, style: Style, now: float) -> str:
    """Of a task that is not run again, or cannot be spoken of yet."""
    if each.state == "wait" or each.since is None:
        return f"waits for {', '.join(f'`{one_line(other)}`' for other in each.waits)}"
    passed = f"it passed {format_when(each.since.time, now)} {one_line(each.summary)}".rstrip()
    return f"is {style.paint('32', 'unchanged')} and not run again: {passed} (result {each.key[:12]})"


def _headline(each: Explanation, now: float) -> str:
    since = each.since
    place = f"{each.where.file}:{each.where.line}"
    if since is None:
        nothing = {"ask": "nothing like it was asked before", "run": "no run of it that passed is remembered"}
        none = each.summary if each.state == "run" else ""
        return f"{none or nothing.get(each.state, 'no earlier build of it is in the store')} ({place})"
    causes = sum(not change.follows for change in each.changes)
    things = "one thing" if causes == 1 else f"{causes} things"
    things += " of its own" if each.state == "wait" else ""
    if not since.key:
        if not each.changes:
            return f"its remembered answer no longer fits this machine ({place})"
        asked = "locked" if each.locked else f"asked {format_when(since.time, now)}"
        return f"{things} changed since it was {asked}"
    if each.state == "run":
        return f"{things} changed since it passed {format_when(since.time, now)}"
    other = f" as `{one_line(since.name)}`" if since.name and since.name != each.name else ""
    elsewhere = f" in {one_line(since.project)}" if since.project and since.project != each.project else ""
    return f"{things} changed since {format_when(since.time, now)}{other}{elsewhere} (build {since.key[:12]})"


def _change_lines(changes: Sequence[Change], style: Style, most: int | None) -> list[str]:
    """A row for each change: causes, then what followed from them."""
    rows: list[tuple[str, ...]] = []
    for follows in (False, True):
        some = [change for change in changes if change.follows == follows]
        if follows and some:
            rows.append(("in consequence:",))
        for part in dict.fromkeys(change.part for change in some):
            these = [change for change in some if change.part == part]
            shown = these if most is None else these[: MAX_CONSEQUENCES if follows else most]
            for change in shown:
                rows.append((part, *_change_cells(change, style), _format_location(change)))
                rows += [(f"  because {why.part} {' '.join(_change_cells(why, style))}",) for why in change.because[:3]]
            if len(these) > len(shown):
                rows.append((f"{part}  and {len(these) - len(shown)} more",))
    full = [row for row in rows if len(row) > 1]
    widths = [
        max((visible_width(row[column]) + 2 for row in full if any(row[column + 1 :])), default=0)
        for column in range(3)
    ]
    lines = []
    for row in rows:
        cells = "".join(pad(cell, columns) for cell, columns in zip(row, widths, strict=False) if len(row) > 1)
        lines.append(f"  {cells}{row[-1]}".rstrip())
    return lines


def _change_cells(change: Change, style: Style) -> tuple[str, str]:
    name = one_line(change.name)
    if change.how == "order":
        order = f"{_shorten(change.old)} → {_shorten(change.new)}" if change.old else ""
        return name or "order", f"in another order {order}".rstrip() if name else order
    if change.how == "renamed":
        return name, f"was {one_line(change.old)}"
    if change.how in ("added", "removed"):
        sign, value = ("+", change.new) if change.how == "added" else ("-", change.old)
        color = "32" if change.how == "added" else "31"
        words = [style.paint(color, sign), _shorten(value) or ("new" if change.how == "added" else "gone")]
        return name, " ".join(words)
    if not change.old and not change.new:
        return name, ""
    return name, " → ".join(_shorten_pair(change.old, change.new))


def _format_location(change: Change) -> str:
    return ", ".join(one_line(word) for word in (change.note, change.where) if word)


def _shorten_pair(old: str, new: str) -> tuple[str, str]:
    """Two texts short enough to be shown, beginning near where they part; of several lines the first that differs."""
    if "\n" in old or "\n" in new:
        before, after = old.split("\n"), new.split("\n")
        number = next(
            (index for index, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
            min(len(before), len(after)),
        )
        old, new = ("".join(lines[number : number + 1]) for lines in (before, after))
        return f"line {number + 1}: {_shorten(old) or 'nothing'}", _shorten(new) or "nothing"
    if max(len(old), len(new)) <= MAX_VALUE_LENGTH:
        return one_line(old) or "nothing", one_line(new) or "nothing"
    if len(old) == len(new) == 64 and " " not in old + new:
        return f"{old[:12]}…", f"{new[:12]}…"
    shared = next((index for index, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, shared - 20)
    lead = "…" if start else ""
    return lead + _shorten(old[start:]), lead + _shorten(new[start:])


def _shorten(text: str) -> str:
    text = one_line(text)
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        return f"{text[:12]}…"
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"


# ---- hits ----------------------------------------------------------------------------------------------------------


def _format_origin(each: Explanation, now: float) -> str:
    assert each.content is not None
    words = [each.kind, one_line(each.summary)]
    if each.since is not None:
        words.append(f"{'pulled' if each.since.pulled else 'built'} {format_when(each.since.time, now)}")
    return ", ".join(dict.fromkeys(word for word in words if word))


def _content_lines(each: Explanation, most: int | None) -> list[str]:
    content = each.content
    assert content is not None
    dates = f"dates to {_format_day(content.epoch)}" if content.epoch else ""  # an image's layer is as old as it says
    tree = (f"{size(content.size)} in {pluralize(content.entries, 'file')} and directories", content.arch, dates)
    rows = [
        ("key", each.key),
        ("diff ID", content.diff_id),
        ("tree", ", ".join(filter(None, tree))),
        ("stands on", _join_items([f"{subject} {name}" for subject, name in content.below], most)),
        ("pins", _join_items([f"{name} {version}" for name, version in content.pins], most)),
        ("inputs", _join_items(content.inputs, most)),
        (
            "variables",
            _join_items(
                [f"{name} unset" if value is None else f"{name}={value}" for name, value in content.variables.items()],
                most,
            ),
        ),
        ("spec", f"{each.where.file}:{each.where.line}"),
        ("from", one_line(each.since.pulled) if each.since else ""),
        ("team cache", f"refused: {one_line(each.since.refused)}" if each.since and each.since.refused else ""),
    ]
    return [f"  {pad(name, 11)}{value}" for name, value in rows if value]


def _join_items(items: Sequence[str], most: int | None) -> str:
    shown = ", ".join(one_line(item) for item in items[:most])
    left = len(items) - most if most is not None and len(items) > most else 0
    return f"{shown} and {left} more" if left else shown


def format_when(then: float, now: float) -> str:
    """A time as people say it: "today 18:02", "yesterday 18:02", "2026-11-02 18:02" (local time)."""
    there, here = time.localtime(then), time.localtime(now)
    clock = time.strftime("%H:%M", there)
    if there[:3] == here[:3]:
        return f"today {clock}"
    if there[:3] == time.localtime(now - 86400)[:3]:
        return f"yesterday {clock}"
    return time.strftime("%Y-%m-%d %H:%M", there)


def _format_day(epoch: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(epoch))


def format_summary(told: Sequence[Explanation]) -> str:
    """The sum at the end, where everything that is missing was asked for."""
    states = [each.state for each in told]
    if not states:
        return "nothing would be built: every base and layer is cached"
    parts = [
        (states.count("build"), "to build"),
        (states.count("ask"), "to resolve"),
        (states.count("run"), "to run"),
        (states.count("wait"), "waiting for what is below"),
    ]
    return ", ".join(f"{pluralize(number, 'step')} {word}" for number, word in parts if number)


# ---- JSON ----------------------------------------------------------------------------------------------------------


def explanations_json(told: Sequence[Explanation]) -> Json:
    """The same as a value (docs/json.md)."""
    return [_explanation_json(each) for each in told]


def _explanation_json(each: Explanation) -> Json:
    value: dict[str, Json] = asdict(replace(each, since=None))
    del value["project"]
    if each.since is not None:
        since = each.since
        value["since"] = {
            "key": since.key,
            "diff_id": since.diff_id,
            "time": since.time,
            "name": since.name,
            "project": since.project,
            "pulled": since.pulled,
            "refused": since.refused,
        }
    return value

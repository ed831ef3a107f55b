"""The text and JSON of `envtool why`: state, time, what changed and where, what did not. Pure."""

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

MAX_CHANGES = 12  # changes of one part, and items of one list, shown without -v
MAX_CONSEQUENCES = 5  # changes shown that only follow from another
MAX_VALUE_LENGTH = 60  # characters shown of an old and of a new value


def format_explanations(explanations: Sequence[Explanation], style: Style, *, now: float, whole: bool = False) -> str:
    """Returns one paragraph for each explanation; a layer that only waits for another gets one line. Explanations with
    the same text (points of a matrix) appear once. `whole`: nothing is cut."""
    groups: dict[tuple[str, str], list[str]] = {}
    for explanation in explanations:
        name, *lines = _format_explanation(explanation, style, now, None if whole else MAX_CHANGES)
        groups.setdefault((name, "\n".join(lines)), []).extend(explanation.envs)
    names = [name for name, _ in groups]
    parts: list[str] = []
    for (name, text), envs in groups.items():
        is_ambiguous = names.count(name) > 1 and bool(envs)
        parts.append(
            f"{name} ({_join_items([*dict.fromkeys(envs)], None if whole else 3)}){text}"
            if is_ambiguous
            else name + text
        )
    short = ["\n" not in part for part in parts]
    joined = ""
    for index, part in enumerate(parts):
        gap = "" if not index else "\n" if short[index] and short[index - 1] else "\n\n"
        joined += gap + part
    return style.glyphs(joined)


def _format_explanation(explanation: Explanation, style: Style, now: float, limit: int | None) -> list[str]:
    """Returns the name, the rest of its line, and the lines below. `limit`: changes and items to show; None: all."""
    name = style.paint("1", one_line(explanation.name))
    reads = _read_lines(explanation, limit)
    if explanation.subject == "task" and explanation.state != "run":
        return [name, f" {_format_task(explanation, style, now)}", *reads]
    if explanation.state == "cached":
        return [
            name,
            f" is {style.paint('32', 'cached')}: {_format_origin(explanation, now)}",
            *_content_lines(explanation, limit),
        ]
    waits = ", ".join(f"`{one_line(other)}`" for other in explanation.waits)
    if explanation.state == "wait" and not explanation.changes:
        reason = "nothing of its own changed" if explanation.since else "no earlier build of it is in the store"
        return [name, f" waits for {waits} below it: {reason}"]
    state_text = {
        "build": "will be prepared" if explanation.subject == "state" else "will be built",
        "ask": "will be resolved",
        "run": "will be run",
        "wait": f"waits for {waits} below it",
    }[explanation.state]
    first_line = f" {style.paint('33', state_text)}: {_headline(explanation, now)}"
    lines = [name, first_line, *_change_lines(explanation.changes, style, limit)]
    if explanation.same:
        lines.append(f"same as before: {', '.join(map(one_line, explanation.same))}")
    return [*lines, *reads]


def _read_lines(explanation: Explanation, limit: int | None) -> list[str]:
    """Returns the lines about the files of the project that a task read when it passed: their number, without `limit`
    their names too."""
    reads = explanation.reads
    if reads is None:
        return []
    if reads.reason:
        return [f"  it is not known what it read of {pluralize(reads.total, 'project file')}: {one_line(reads.reason)}"]
    line = f"  it read {reads.read:,} of {reads.total:,} project file{'s' * (reads.total != 1)}"
    return (
        [line]
        if limit is not None or not reads.files
        else [f"{line}:", *(f"    {one_line(path)}" for path in reads.files)]
    )


def _format_task(explanation: Explanation, style: Style, now: float) -> str:
    """Returns the text of a task that is unchanged, or waits for other layers."""
    if explanation.state == "wait" or explanation.since is None:
        return f"waits for {', '.join(f'`{one_line(other)}`' for other in explanation.waits)}"
    passed = f"it passed {format_when(explanation.since.time, now)} {one_line(explanation.summary)}".rstrip()
    return f"is {style.paint('32', 'unchanged')} and not run again: {passed} (result {explanation.key[:12]})"


def _headline(explanation: Explanation, now: float) -> str:
    since = explanation.since
    position = f"{explanation.where.file}:{explanation.where.line}"
    if since is None:
        defaults = {"ask": "nothing like it was resolved before", "run": "no run of it that passed is remembered"}
        summary = explanation.summary if explanation.state == "run" else ""
        return f"{summary or defaults.get(explanation.state, 'no earlier build of it is in the store')} ({position})"
    causes = sum(not change.follows for change in explanation.changes)
    things = "one thing" if causes == 1 else f"{causes} things"
    things += " of its own" if explanation.state == "wait" else ""
    if not since.key:
        if not explanation.changes:
            return f"its stored versions no longer fit this machine ({position})"
        event = "locked" if explanation.locked else f"resolved {format_when(since.time, now)}"
        return f"{things} changed since it was {event}"
    if explanation.state == "run":
        return f"{things} changed since it passed {format_when(since.time, now)}"
    other = f" as `{one_line(since.name)}`" if since.name and since.name != explanation.name else ""
    elsewhere = f" in {one_line(since.project)}" if since.project and since.project != explanation.project else ""
    return f"{things} changed since {format_when(since.time, now)}{other}{elsewhere} (build {since.key[:12]})"


def _change_lines(changes: Sequence[Change], style: Style, limit: int | None) -> list[str]:
    """Returns a line for each change: causes first, then consequences."""
    rows: list[tuple[str, ...]] = []
    for follows in (False, True):
        selected = [change for change in changes if change.follows == follows]
        if follows and selected:
            rows.append(("in consequence:",))
        for part in dict.fromkeys(change.part for change in selected):
            of_part = [change for change in selected if change.part == part]
            listed = of_part if limit is None else of_part[: MAX_CONSEQUENCES if follows else limit]
            for change in listed:
                rows.append((part, *_change_cells(change, style), _format_location(change)))
                rows += [
                    (f"  because {cause.part} {' '.join(_change_cells(cause, style))}",) for cause in change.because[:3]
                ]
            if len(of_part) > len(listed):
                rows.append((f"{part}  and {len(of_part) - len(listed)} more",))
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
    """Returns two texts, shortened to begin near their first difference; of several lines, the first that differs."""
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
    ellipsis = "…" if start else ""
    return ellipsis + _shorten(old[start:]), ellipsis + _shorten(new[start:])


def _shorten(text: str) -> str:
    text = one_line(text)
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        return f"{text[:12]}…"
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"


# ---- cached --------------------------------------------------------------------------------------------------------


def _format_origin(explanation: Explanation, now: float) -> str:
    assert explanation.content is not None
    words = [explanation.kind, one_line(explanation.summary)]
    if explanation.since is not None:
        words.append(f"{'pulled' if explanation.since.pulled else 'built'} {format_when(explanation.since.time, now)}")
    return ", ".join(dict.fromkeys(word for word in words if word))


def _content_lines(explanation: Explanation, limit: int | None) -> list[str]:
    content = explanation.content
    assert content is not None
    dates = (
        f"dates to {_format_day(content.epoch)}" if content.epoch else ""
    )  # the layer of an image has a date of its own
    entries = "1 file or directory" if content.entries == 1 else f"{content.entries} files and directories"
    tree = (f"{size(content.size)} in {entries}", content.arch, dates)
    rows = [
        ("key", explanation.key),
        ("diff ID", content.diff_id),
        ("tree", ", ".join(filter(None, tree))),
        ("stands on", _join_items([f"{subject} {name}" for subject, name in content.below], limit)),
        ("pins", _join_items([f"{name} {version}" for name, version in content.pins], limit)),
        ("inputs", _join_items(content.inputs, limit)),
        (
            "variables",
            _join_items(
                [f"{name} unset" if value is None else f"{name}={value}" for name, value in content.variables.items()],
                limit,
            ),
        ),
        ("spec", f"{explanation.where.file}:{explanation.where.line}"),
        ("from", one_line(explanation.since.pulled) if explanation.since else ""),
        (
            "team cache",
            f"refused: {one_line(explanation.since.refused)}"
            if explanation.since and explanation.since.refused
            else "",
        ),
    ]
    return [f"  {pad(name, 11)}{value}" for name, value in rows if value]


def _join_items(items: Sequence[str], limit: int | None) -> str:
    text = ", ".join(one_line(item) for item in items[:limit])
    omitted = len(items) - limit if limit is not None and len(items) > limit else 0
    return f"{text} and {omitted} more" if omitted else text


def format_when(then: float, now: float) -> str:
    """Returns a local time: "today 18:02", "yesterday 18:02", "2026-11-02 18:02"."""
    local, local_now = time.localtime(then), time.localtime(now)
    clock = time.strftime("%H:%M", local)
    if local[:3] == local_now[:3]:
        return f"today {clock}"
    if local[:3] == time.localtime(now - 86400)[:3]:
        return f"yesterday {clock}"
    return time.strftime("%Y-%m-%d %H:%M", local)


def _format_day(epoch: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(epoch))


def format_summary(explanations: Sequence[Explanation]) -> str:
    """Returns the last line of `envtool why` for everything that is missing."""
    states = [explanation.state for explanation in explanations]
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


def explanations_json(explanations: Sequence[Explanation]) -> Json:
    """Returns the explanations as JSON (docs/json.md)."""
    return [_explanation_json(explanation) for explanation in explanations]


def _explanation_json(explanation: Explanation) -> Json:
    value: dict[str, Json] = asdict(replace(explanation, since=None))
    del value["project"]
    value["reads"] = explanation.reads.to_json() if explanation.reads is not None else None
    if explanation.since is not None:
        since = explanation.since
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

"""Values of the app as tables, trees and JSON: what list, plan and doctor print."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from envtool.fs.sizes import format_size as size
from envtool.report.formatting import Style, pluralize
from envtool.report.text import elide_middle, fit_lines, one_line, pad, visible_width

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from envtool.cli.app_interface import CheckOutcome, LockOutcome
    from envtool.model import Json, Spec

MIN_COLUMNS = 12  # columns of a table that would be of no use with fewer
_STATE_COLORS = {"cached": "32", "build": "33", "unknown": "2"}
_SIGNS = {"ok": ("✓", "32"), "warn": ("!", "33"), "fail": ("✗", "31")}


def table(rows: Sequence[Sequence[str]], columns: int = 0, firm: Container[int] = ()) -> list[str]:
    """Rows in columns, the first the head. On a screen of so many `columns` (0: without end) the widest cells lose
    their middle, those of the first, which are names to be typed, last; those of `firm` ones, which are numbers and
    times, never. Where that is not enough, what is firm follows each row on a line of its own, by its title."""
    widths = [max(visible_width(cell) for cell in column) + 2 for column in zip(*rows, strict=True)]
    while columns and sum(widths) - 2 > columns:
        loose = [at for at, wide in enumerate(widths) if at not in firm and wide > MIN_COLUMNS]
        if not loose:
            break
        at = max(loose[1:] if loose[0] == 0 and len(loose) > 1 else loose, key=lambda each: widths[each])
        widths[at] -= 1
    if columns and firm and sum(widths) - 2 > columns:
        return _stack_firm_columns(rows, columns, firm)
    cells = [[elide_middle(cell, wide - 2) for cell, wide in zip(row, widths, strict=True)] for row in rows]
    return ["".join(pad(cell, wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in cells]


def _stack_firm_columns(rows: Sequence[Sequence[str]], columns: int, firm: Container[int]) -> list[str]:
    titles = rows[0]
    loose = [at for at in range(len(titles)) if at not in firm]
    head, *lines = table([[row[at] for at in loose] for row in rows], columns)
    out = [head]
    for row, line in zip(rows[1:], lines, strict=True):
        out += [
            line,
            *_fill_lines([f"{titles[at]} {row[at]}".strip() for at in range(len(row)) if at in firm], columns),
        ]
    return out


def _fill_lines(pairs: Sequence[str], columns: int) -> list[str]:
    """As many on a line as there is room for."""
    lines: list[str] = []
    for pair in pairs:
        if lines and visible_width(lines[-1]) + 2 + visible_width(pair) <= columns:
            lines[-1] += f"  {pair}"
        else:
            lines.append(f"    {pair}")
    return lines


def format_envs(spec: Spec, style: Style, columns: int = 0) -> str:
    """One line an env; where that has no room for all names, an env and its tasks, and below what they stand on."""
    rows = [("env", "base", "layers", "tasks")]
    rows += [
        (
            one_line(env.name),
            env.base.name if env.base.name == env.base.kind else f"{one_line(env.base.name)} ({env.base.kind})",
            ", ".join(one_line(layer.name) for layer in env.layers) or "-",
            ", ".join(one_line(task.name) for task in env.tasks) or "-",
        )
        for env in spec.envs
    ]
    head, *lines = table(rows)
    if not columns or max(map(visible_width, (head, *lines))) <= columns:
        return "\n".join([style.paint("2", head), *lines])
    lines = []
    for name, base, layers, tasks in rows[1:]:
        lines.append(style.paint("1", fit_lines(name, columns)))
        pairs = (("base", base), ("layers", layers), ("tasks", tasks))
        lines += [fit_lines(f"  {pad(title, 8)}{said}", columns, indent=8) for title, said in pairs]
    return "\n".join(lines)


def envs_json(spec: Spec) -> Json:
    """The same as a value (docs/json.md)."""
    return {
        "file": spec.file,
        "root": spec.root,
        "envs": [
            {
                "name": env.name,
                "group": env.group,
                "point": {**env.point},
                "base": {"name": env.base.name, "kind": env.base.kind},
                "layers": [{"name": layer.name, "kind": layer.kind} for layer in env.layers],
                "tasks": [task.name for task in env.tasks],
                "where": str(env.where),
            }
            for env in spec.envs
        ],
    }


def format_plan(value: Any, style: Style, columns: int = 0, typed: str = "") -> str:
    """A tree for each env, bottom first, the sum, and what is `typed` to make all that. Where there is no room for all,
    the keys go; what a step is stands below its name where it has no room beside it, and a name that is too long loses
    its middle."""
    steps = [step for env in value.envs for step in env.steps]
    name = max((visible_width(one_line(step.name)) for step in steps), default=0) + 1
    what = max((visible_width(", ".join(_what(step, style))) for step in steps), default=0)
    room = (columns or 1 << 20) - BRANCH - STATE
    keys = max(name, NAME) + KEY + what <= room
    name = min(max(name, NAME), max(room - what, NAME))
    lines: list[str] = []
    seen: dict[tuple[str, ...], str] = {}
    for env in value.envs:
        tasks = ", ".join(one_line(task) for task in env.tasks)
        title = elide_middle(one_line(env.name), columns) if columns else one_line(env.name)
        lines.append(fit_lines(f"{style.paint('1', title)}  {tasks}".rstrip(), columns))
        for number, step in enumerate(env.steps):
            same = (
                (step.key,) if step.key else (step.subject, step.name, step.node)
            )  # what one name means may be several
            seen[same] = step.state
            last = number == len(env.steps) - 1
            start = f" {style.glyphs('└─' if last else '├─')} {pad(step.subject, 6)}"
            state = pad(style.paint(_STATE_COLORS[step.state], step.state), STATE)
            line = f"{start}{pad(elide_middle(one_line(step.name), name - 1), name)}{state}"
            line += pad(step.key[:12] or "-", KEY) if keys else ""
            said = ", ".join(_what(step, style))
            if visible_width(line) + visible_width(said) <= (columns or 1 << 20):
                lines.append(f"{line}{said}")
                continue
            bar = " " if last else style.glyphs("│")
            below = fit_lines(said, columns - BRANCH, indent=0).split("\n")
            lines += [line.rstrip(), *(f" {bar}  {' ' * (BRANCH - 4)}{each}" for each in below)]
    states = [*seen.values()]
    parts = [
        f"{pluralize(states.count('build'), 'step')} to build" if "build" in states else "",
        f"{states.count('unknown')} not known yet" if states.count("unknown") else "",
        f"{states.count('cached')} cached",
    ]
    notes = [fit_lines(f"note: {one_line(note)}", columns) for note in value.notes]
    done = "makes the rest" if "build" in states or "unknown" in states else "builds nothing"
    sums = ", ".join(part for part in parts if part) + (f": `{typed}` {done}" if typed else "")
    return "\n".join([*lines, "", *notes, fit_lines(sums, columns)])


BRANCH, NAME, STATE, KEY = 10, 18, 9, 14  # columns of a plan: the least for a name


def _what(step: Any, style: Style) -> list[str]:
    """What a step is, and what is to be said of it."""
    return [one_line(step.summary) or step.kind, *([] if step.pinned else [style.paint("33", "not pinned")])]


def plan_json(value: Any) -> Json:
    """The same as a value (docs/json.md)."""
    document: dict[str, Any] = asdict(value)
    for step in (step for env in document["envs"] for step in env["steps"]):
        del step["node"]
    return document


def format_fetch(value: Any) -> str:
    """As in: 97 files, 45 MB; 12 fetched, 3.1 MB."""
    whole = f"{pluralize(len(value.files), 'file')}, {size(sum(item.size for item in value.files))}"
    new = f"{value.fetched} fetched, {size(value.fetched_bytes)}" if value.fetched else "all of them were here"
    return f"{whole}; {new}" if value.files else "these envs need no files"


def fetch_json(value: Any) -> Json:
    """The last object of `fetch` (docs/json.md)."""
    files: list[Json] = [
        {"sha256": item.fetch.sha256, "size": item.size, "names": [*item.names], "needed_by": [*item.needed_by]}
        for item in value.files
    ]
    return {"event": "fetched", "files": files, "fetched": value.fetched, "fetched_bytes": value.fetched_bytes}


def format_vendor(value: Any) -> str:
    """As in: envtool.vendor: 97 files, 45 MB; 12 written, 3 removed."""
    done = [f"{value.written} written" if value.written else "nothing to write"]
    done += [f"{value.removed} removed"] if value.removed else []
    return f"{value.path}: {pluralize(value.written + value.kept, 'file')}, {size(value.size)}; {', '.join(done)}"


def vendor_json(value: Any) -> Json:
    """The last object of `vendor` (docs/json.md)."""
    document: dict[str, Json] = asdict(value)
    return {"event": "vendored", **document}


def format_export(value: Any) -> str:
    """As in: unit.tar: localhost/unit:latest, 4 layers, 41 MB, sha256:…"""
    path = "standard output" if value.target.path == "-" else value.target.path
    return f"{path}: {_format_image(value)}, {value.digest}" if value.digest else f"{path}: uses {value.name}"


def export_json(value: Any) -> Json:
    """The last object of `export` (docs/json.md)."""
    return {
        "event": "exported",
        "format": value.target.form,
        "path": value.target.path,
        **{name: each for name, each in asdict(value).items() if name != "target"},
    }


def format_push(value: Any) -> str:
    """As in: registry.example/unit:1.4: 4 layers, 41 MB, 2.1 MB sent."""
    sent = f"{size(value.sent)} sent" if value.sent else "all of it there already"
    return f"{_format_image(value)}; {sent}"


def push_json(value: Any) -> Json:
    """The last object of `push` (docs/json.md)."""
    document: dict[str, Json] = asdict(value)
    return {"event": "pushed", **document}


def _format_image(value: Any) -> str:
    return f"{value.name}, {pluralize(len(value.layers), 'layer')}, {size(value.size)}"


def format_lock(done: LockOutcome, columns: int = 0) -> str:
    """What moved, old and new, and the sum."""
    state = "written" if done.written else "unchanged"
    sum_up = f"{done.file}: {done.entries} locked, {state}"
    if not done.changes:
        return fit_lines(sum_up, columns)
    platforms = len({change.platform for change in done.changes}) > 1
    rows = [("what", "name", "old", "new", *(["platform"] if platforms else []))]
    rows += [
        (each.entry, each.name or "-", each.old or "-", each.new or "-", *([each.platform] if platforms else []))
        for each in done.changes
    ]
    return "\n".join([*table(rows, columns), "", fit_lines(sum_up, columns)])


def lock_json(done: LockOutcome) -> Json:
    """The same as a value (docs/json.md)."""
    return {
        "event": "lock",
        "file": done.file,
        "written": done.written,
        "entries": done.entries,
        "changes": [asdict(each) for each in done.changes],
    }


def format_checks(found: Sequence[CheckOutcome], style: Style, *, quiet: bool = False, columns: int = 0) -> str:
    """A line for each, under what is wrong the command that mends it, and what comes of all."""
    lines: list[str] = []
    for check in found:
        if quiet and check.state == "ok":
            continue
        sign, code = _SIGNS[check.state]
        line = f" {style.paint(code, style.glyphs(sign))} {check.name}: {check.text}"
        lines.append(fit_lines(line, columns))
        if check.mend:
            lines += [f"   {line}" for line in check.mend.splitlines()]
    states = {check.state for check in found}
    last = "containers run here: `envtool test` runs a project, `envtool init` begins one"
    if "fail" in states:
        last = (
            f"envtool cannot work here until what is marked {style.glyphs('✗')} is mended; then again: `envtool doctor`"
        )
    elif "warn" in states:
        last = "containers run here; what is marked ! would be better mended; then again: `envtool doctor`"
    return "\n".join(lines if quiet and lines == [] else [*lines, "", fit_lines(last, columns)])


def checks_json(found: Iterable[CheckOutcome]) -> Json:
    """The same as a value (docs/json.md)."""
    return {
        "checks": [{"name": each.name, "state": each.state, "text": each.text, "mend": each.mend} for each in found]
    }

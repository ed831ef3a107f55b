"""The lines of a report, one for each piece of work. Pure: values to text.

The name is in column 8, the detail in column 26, the times in columns 44 and 60; further right for longer names if the
screen is wide enough (Layout). Colour never carries meaning alone. No line is wider than `columns` (0: no limit): names
lose their middle, details their end, and the time is always shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.fs.sizes import format_limit
from envtool.fs.sizes import format_size as size
from envtool.lazy_dataclass import dataclass
from envtool.report import unchanged
from envtool.report.columns import DEFAULT_LAYOUT, Layout
from envtool.report.text import clip, clip_words, elide_middle, format_seconds, one_line, pad, visible_width, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.events import Attempted, Finished, Learned, Noted, Started
    from envtool.model import Task
    from envtool.report.progress import RunningWork
    from envtool.report.stream import ReportedResult

_ASCII = str.maketrans("✓✗─━╌│├└…→·", "+x-=.||`.>.")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "-\\|/"
MIN_SHOWN_SECONDS = 0.05  # shorter durations are not shown
MAX_RULE_WIDTH = 62  # columns of a rule
LAST_LINE_SECONDS = 10.0  # seconds after which a task's last line of output is shown beside it
MIN_NAME_WIDTH = 12  # columns to which a name may be shortened: names can still be distinguished
MIN_BAR_SCREEN = 68  # columns of a screen that is wide enough for bars beside most names
MIN_DETAIL_WIDTH = 6  # columns of a detail: fewer would say nothing
FLAKY_SIGN, FLAKY_COLOR = "~", "33"  # of a task that passed after it had failed in the same run
_GOOD_OUTCOMES = ("built", "cached", "pulled", "done", "passed", "same")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the output can show: colours, and signs beyond ASCII."""

    color: bool = False
    unicode: bool = True

    def paint(self, code: str, text: str) -> str:
        """Returns `text` in the SGR colour `code` ("31", "1;32"), or unchanged without colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def glyphs(self, text: str) -> str:
        """Returns `text` with envtool's signs in ASCII if the terminal's encoding has no others."""
        return text if self.unicode else text.translate(_ASCII)


def pluralize(number: int, word: str) -> str:
    """Returns a number of things: "1 layer", "2 layers"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLayout:
    """The parts of one line: `lead` has the sign or subject, then the names, the detail and the times."""

    lead: str
    names: tuple[str, ...]
    detail: str = ""
    middle: str = ""
    end: str = ""
    layout: Layout = DEFAULT_LAYOUT

    def format(self, columns: int, *, dim: Style | None = None, moving: bool = False) -> str:
        """Returns the line, at most `columns` wide.

        `dim`: the detail is output of a task, and painted dim. `moving`: names are shortened for the detail, down to
        MIN_NAME_WIDTH, or by a third of the line for a dim detail.
        """
        available = self._available_columns(columns)
        max_detail = (
            available // 3 if dim else max(available // 3, available - visible_width(self.lead) - MIN_NAME_WIDTH - 1)
        )
        text = self._head(
            available - (min(visible_width(self.detail), max_detail) + 1 if moving and self.detail else 0)
        )
        if self.detail:
            column = self.layout.detail
            if max(visible_width(text) + 1, column) + visible_width(self.detail) > available:
                column = 0  # the detail follows the name directly
            remaining = available - max(visible_width(text) + 1, column)
            visible_detail = clip(self.detail, remaining) if dim else clip_words(self.detail, remaining)
            if visible_detail == self.detail or remaining >= MIN_DETAIL_WIDTH:
                text = pad(text, column) + (dim.paint("2", visible_detail) if dim else visible_detail)
        middle = self.layout.detail + 18
        if self.middle and max(visible_width(text) + 1, middle) + visible_width(self.middle) <= available:
            text = pad(text, middle) + self.middle
        if self.end:
            text = pad(text, min(self.layout.detail + 34, available + 1)) + self.end
        return text.rstrip()

    def fits(self, columns: int, name: int | None = None) -> bool:
        """Whether the whole detail fits beside the names, or beside `name` columns of them."""
        available = self._available_columns(columns)
        head_width = visible_width(self._head(available))
        head_width = head_width if name is None else min(head_width, visible_width(self.lead) + name)
        return head_width + 1 + visible_width(self.detail) <= available

    def _available_columns(self, columns: int) -> int:
        """Returns the columns that are available beside the times."""
        return (columns or 1 << 20) - (visible_width(self.end) + 1 if self.end else 0)

    def _head(self, available: int) -> str:
        """Returns the lead and the names, each in its column; of two names, the longer is shortened first."""
        *first_names, name = self.names
        budget = available - visible_width(self.lead)
        if not first_names:
            return self.lead + elide_middle(name, max(1, budget))
        column = self.layout.task
        name_width = min(
            visible_width(name), max(budget - max(column, visible_width(first_names[0]) + 1), budget // 2, 1)
        )
        before = pad(
            elide_middle(first_names[0], max(1, budget - name_width - 1)), min(column, max(1, budget - name_width))
        )
        return self.lead + before + elide_middle(name, name_width)


def _format_name(event: Started | Finished) -> str:
    name = one_line(event.name)
    return f"{name} [{one_line(event.on)}]" if event.on else name


def format_finished(
    event: Finished,
    piece: RunningWork | None,
    *,
    fetched: float | None,
    style: Style,
    columns: int = 0,
    layout: Layout | None = None,
) -> str:
    """Returns the line of a finished piece; two or more lines if the detail does not fit beside the name."""
    line_layout = replace(_finished_line(event, piece, fetched=fetched, style=style), layout=layout or DEFAULT_LAYOUT)
    if not line_layout.detail or line_layout.fits(columns):
        return line_layout.format(columns)
    return "\n".join((replace(line_layout, detail="").format(columns), wrap(f"   {line_layout.detail}", columns)))


def _finished_line(event: Finished, piece: RunningWork | None, *, fetched: float | None, style: Style) -> LineLayout:
    detail = one_line(event.detail)
    if event.subject == "task":
        return _task_line(event, piece, detail, style=style)
    lead, names = f" {pad(event.subject, 7)}", (_format_name(event),)
    if event.outcome not in _GOOD_OUTCOMES:
        end = style.paint("31", f"{event.outcome} {format_seconds(event.seconds)}")
        return LineLayout(lead=lead, names=names, detail=detail, end=end)
    detail = detail or (one_line(piece.started.detail) if piece else "")
    if event.subject == "cache":
        end = format_seconds(event.seconds) if event.seconds >= MIN_SHOWN_SECONDS else ""
        return LineLayout(lead=lead, names=names, detail=detail, end=end)
    middle = f"fetched {format_seconds(fetched)}" if fetched is not None else ""
    outcome = {"cached": "cached", "done": ""}.get(event.outcome, event.outcome)
    end = f"{outcome} {format_seconds(event.seconds)}".strip()
    return LineLayout(lead=lead, names=names, detail=detail, middle=middle, end=end)


def _task_line(event: Finished, piece: RunningWork | None, detail: str, *, style: Style) -> LineLayout:
    names = (one_line(event.env), one_line(event.name))
    outputs = _format_outputs(event, style)
    if outputs and detail:  # a note of its own, as in "x: nothing matches"
        outputs = f";{outputs}"
    if event.outcome == "cached":
        unchanged_text = one_line(unchanged.describe_unchanged(event.since, event.host, now=event.time))
        notes = f"; {detail}" if detail else ""
        return LineLayout(
            lead=f" {style.paint('32', unchanged.SIGN)} ", names=names, detail=f"{unchanged_text}{notes}{outputs}"
        )
    is_good = event.outcome in _GOOD_OUTCOMES
    sign = style.paint("32" if is_good else "31", style.glyphs("✓" if is_good else "✗"))
    if event.outcome == "flaky":
        sign = style.paint(FLAKY_COLOR, FLAKY_SIGN)
    if event.outcome == "skipped":
        sign, detail = style.glyphs("·"), detail or "not run"
    counts = piece.counter.summarize() if piece and piece.counter else ""
    if is_good and piece and piece.counter and (unfinished := piece.counter.note_unfinished()):
        counts = ", ".join(filter(None, (counts, unfinished)))
    if not detail and not is_good:
        detail = f"exit {event.status}" if event.outcome == "failed" else event.outcome
    detail = counts if is_good and counts and not detail else f"{detail}: {counts}" if counts else detail
    if is_good or event.outcome == "flaky":
        detail = f"{detail}{outputs}".strip()
    return LineLayout(lead=f" {sign} ", names=names, detail=detail, end=format_seconds(event.seconds))


def _format_outputs(event: Finished, style: Style) -> str:
    if not event.outputs:
        return ""
    suffix = f" and {len(event.outputs) - 1} more" if len(event.outputs) > 1 else ""
    return style.glyphs(" → ") + f"{one_line(event.outputs[0])}{suffix}"


def format_usage(event: Finished) -> str:
    """Returns what a task or build used, of an unchanged task when it ran; empty where that is not known, or
    nothing."""
    text = unchanged.describe_usage(event.memory, event.cpu_seconds, event.written)
    return f"{unchanged.WHEN_IT_RAN}{text}" if text and event.outcome == "cached" else text


def format_note(event: Noted) -> str:
    """Returns the line of a note, which belongs to no piece of work."""
    return f"note: {one_line(event.text)}"


def format_attempted(event: Attempted) -> str:
    """Returns the line that says why a task runs again."""
    attempt = event.attempt
    why = one_line(attempt.message.split("\n", 1)[0]) or f"exit {attempt.status}"
    name = f"`{one_line(event.env)}` {one_line(event.name)}"
    return (
        f"note: {name}: attempt {attempt.number} of {event.of} failed ({why}) in {format_seconds(attempt.seconds)},"
        f" and it runs again; its output: {one_line(attempt.log)}"
    )


def format_learned(event: Learned) -> tuple[str, str]:
    """Returns the line that says what a run needed of the network, and the text for the spec; that is never broken, and
    empty where it needed nothing."""
    name = one_line(event.env)
    tail = "" if event.complete else "; it did not pass, and may need more"
    if not event.allow:
        return f"note: `{name}` has connected to nothing outside, and needs no `network:`{tail}", ""
    count = pluralize(len(event.allow), "destination")
    quoted = ", ".join(f'"{one_line(rule)}"' for rule in event.allow)
    head = f"note: `{name}` has connected to {count} outside{tail}; in the spec, for that env:"
    return head, f"    network: {{allow: [{quoted}]}}"


def format_started(piece: RunningWork, columns: int = 0, layout: Layout | None = None) -> str:
    """Returns the line of a running piece for the plain display."""
    start = piece.started
    if start.subject == "task":
        names: tuple[str, ...] = (one_line(start.env), one_line(start.name))
        return LineLayout(lead="   ", names=names, detail="…", layout=layout or DEFAULT_LAYOUT).format(columns)
    detail = one_line(piece.note or piece.phase or start.detail) or "under way"
    lead, names = f" {pad(start.subject, 7)}", (_format_name(start),)
    return LineLayout(lead=lead, names=names, detail=detail, end="…", layout=layout or DEFAULT_LAYOUT).format(columns)


def _bar(done: int, total: int, cells: int = 16) -> str:
    filled = min(cells, cells * done // total)
    return "━" * filled + "╌" * (cells - filled)


def _phase_texts(piece: RunningWork, style: Style) -> tuple[str, list[str]]:
    """Returns the progress of a piece with a bar ("" for none), and as texts, the longest first.

    A bar is shown only while the total is known and not reached: a full bar would say that the work is over, but the
    last part of a phase may still run.
    """
    is_complete = bool(piece.phase) and (
        0 < piece.of <= piece.count or (not piece.of and 0 < piece.total <= piece.done)
    )
    phase_text = one_line(f"{piece.phase}{f' {piece.count} of {piece.of}' if piece.of else ''}".strip())
    amount = size(piece.done) if piece.done else ""
    short = f"{phase_text}, {amount}" if phase_text and amount else ""  # without the total
    if piece.total and not is_complete:
        amount = f"{size(piece.done)} of {size(piece.total)}"
    full_text = ", ".join(filter(None, (phase_text, amount)))
    done, total = (piece.done, piece.total) if piece.total else (piece.count, piece.of)
    bar = f"{style.glyphs(_bar(done, total))} {full_text}" if 0 <= done < total and not is_complete else ""
    return bar, [text for text in (full_text, short, phase_text or amount) if text]


def format_running(
    piece: RunningWork, now: float, *, style: Style, columns: int = 0, layout: Layout | None = None
) -> str:
    """Returns the moving line of a running piece. `now` is in seconds since the epoch."""
    start, layout = piece.started, layout or DEFAULT_LAYOUT
    elapsed = max(0.0, now - start.time)
    frames = _SPINNER if style.unicode else _SPINNER_ASCII
    sign = style.paint("36", frames[int(now * 10) % len(frames)])
    end, note = style.paint("2", format_seconds(elapsed)), one_line(piece.note)
    if start.subject == "task":
        names = (one_line(start.env), one_line(start.name))
        last_line = piece.last_line() if elapsed >= LAST_LINE_SECONDS and not note else ""
        return LineLayout(lead=f" {sign} ", names=names, detail=note or last_line, end=end, layout=layout).format(
            columns, dim=style if last_line else None, moving=True
        )
    bar, details = _phase_texts(piece, style) if not note else ("", [note])
    line_layout = LineLayout(
        lead=f" {sign} {pad(start.subject, 7)}", names=(_format_name(start),), end=end, layout=layout
    )
    if bar and not 0 < columns < MIN_BAR_SCREEN and (row := replace(line_layout, detail=bar)).fits(columns):
        return row.format(columns, moving=True)
    candidates = [replace(line_layout, detail=detail) for detail in details or [one_line(start.detail)]]
    return next((row for row in candidates if row.fits(columns, MIN_NAME_WIDTH)), candidates[-1]).format(
        columns, moving=True
    )


def draw_rule(title: str, columns: int, *, style: Style) -> str:
    """Returns a header across `columns`: "── unit test ─────"."""
    text = f"── {elide_middle(title, max(1, columns - 6))} "
    return style.glyphs(text + "─" * max(2, columns - visible_width(text)))


def format_total(
    results: Sequence[ReportedResult], seconds: float, *, interrupted: bool, style: Style, columns: int = 0
) -> str:
    """Returns the last line: "── 1 failed, 2 passed in 9.8s ──", failures first."""
    failed = sum(result.outcome in ("failed", "timeout") for result in results)
    not_built = sum(result.outcome == "error" for result in results)
    stopped = sum(result.outcome == "interrupted" for result in results)
    unchanged_count = sum(result.outcome == "cached" for result in results)
    passed = sum(result.outcome in _GOOD_OUTCOMES for result in results) - unchanged_count
    flaky = sum(result.outcome == "flaky" for result in results)
    skipped = sum(result.outcome == "skipped" for result in results)
    parts = [
        style.paint(code, f"{number} {word}")
        for number, word, code in (
            (failed, "failed", "1;31"),
            (not_built, "not built", "1;31"),
            (stopped, "interrupted", "1;33"),
            (flaky, "flaky", FLAKY_COLOR),
            (passed, "passed", "32"),
            (unchanged_count, unchanged.WORD, unchanged.COLOR),
            (skipped, "not run", "2"),
        )
        if number
    ]
    if interrupted and not stopped:
        parts.insert(0, style.paint("1;33", "interrupted"))
    sentence = f"{', '.join(parts) or 'nothing to do'} in {format_seconds(seconds)}"
    dashes = style.glyphs("──")
    return wrap(f"{dashes} {sentence} {dashes}", columns, indent="   ")


def is_worth_showing(event: Finished, verbosity: int) -> bool:
    """Whether the end of this piece gets a line.

    Cached work and parts of larger pieces get none. Neither does work that was interrupted: envtool does not wait for
    all of it, and the last lines say what is kept.
    """
    if event.outcome == "interrupted" and event.subject != "task":
        return verbosity > 0
    if event.outcome not in _GOOD_OUTCOMES:
        return True
    if verbosity < 0:
        return False
    if event.subject == "store":
        return verbosity > 0 or bool(event.detail)
    return verbosity > 0 or event.subject in ("task", "verify", "cache") or event.outcome in ("built", "pulled")


def format_prefix(piece: RunningWork, *, style: Style) -> str:
    """Returns the prefix of output lines when several pieces print: the env for tasks, else the subject and name."""
    start = piece.started
    name = start.env if start.subject == "task" else f"{start.subject} {_format_name(start)}"
    return style.paint("2", style.glyphs(f"{one_line(name)} │ "))


def describe_settings(task: Task, env: str) -> str:
    """Returns what the spec says about the runs of a task of `env`, to be shown beside its name, as in " (needs build;
    observed inputs; 2 retries)"; nothing if it says nothing of the sort."""
    needs = ", ".join(name if of_env == env else f"{name}@{of_env}" for of_env, name in task.needs)
    limits = ", ".join(f"{name} {_format_limit(name, limit.value)}" for name, limit in task.limits.items())
    parts = [
        f"needs {needs}" if needs else "",
        "observed inputs" if task.inputs == "observed" else "",
        f"{task.retries} {'retry' if task.retries == 1 else 'retries'}" if task.retries else "",
        f"caches {', '.join(use.target for use in task.caches)}" if task.caches else "",
        f"limits {limits}" if limits else "",
    ]
    text = "; ".join(filter(None, parts))
    return f" ({text})" if text else ""


def _format_limit(name: str, value: float) -> str:
    if name in ("memory", "disk"):
        return format_limit(int(value))
    return f"{value:g}s" if name in ("time", "idle") else f"{value:g}"

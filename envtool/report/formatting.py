"""How things read on one line. Pure: values to text. DESIGN section 12 is the target.

Column of the name 8, of the detail 26, of the times 44 and 60, further right where names are longer and there is room
(Layout); meaning never hangs on colour alone. No line is wider
than the `columns` there are (0: there is no end to them): names lose their middle, what is said of them its end, and
the time is always there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from envtool.fs.sizes import format_size as size
from envtool.report import unchanged
from envtool.report.columns import DEFAULT_LAYOUT, Layout
from envtool.report.text import clip, elide_middle, format_seconds, one_line, pad, some, visible_width, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.events import Finished, Noted, Started
    from envtool.report.progress import RunningWork
    from envtool.report.stream import ReportedResult

_ASCII = str.maketrans("✓✗─━╌│├└…→·", "+x-=.||`.>.")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "-\\|/"
MIN_SHOWN_SECONDS = 0.05  # seconds that are not worth telling
MAX_RULE_WIDTH = 62  # columns of a rule, where there are so many
LAST_LINE_SECONDS = 10.0  # seconds after which a task's last line of output is shown beside it
TOLD_APART = 12  # columns of a name that gives way
BARRED = 68  # columns of a screen that has room for bars beside most names
MIN_DETAIL_WIDTH = 6  # columns of a detail: of fewer nobody would make anything
_GOOD_OUTCOMES = ("built", "cached", "pulled", "done", "passed", "same")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the place we write to can show."""

    color: bool = False
    unicode: bool = True

    def paint(self, code: str, text: str) -> str:
        """`text` in the SGR colour `code` ("31", "1;32") where colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def glyphs(self, text: str) -> str:
        """Our own signs in ASCII where the terminal's encoding has no others."""
        return text if self.unicode else text.translate(_ASCII)


def pluralize(number: int, word: str) -> str:
    """A number of things: "1 layer", "2 layers"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLayout:
    """One line: `lead` with the sign or subject, what is named, what is said of it, and its times."""

    lead: str
    names: tuple[str, ...]
    detail: str = ""
    middle: str = ""
    end: str = ""
    layout: Layout = DEFAULT_LAYOUT

    def text(self, columns: int, *, dim: Style | None = None, moving: bool = False) -> str:
        """The line, in no more than `columns`. `dim`: the detail is another's, and shown so. `moving`: names give way
        to the detail, which is news, down to what tells them apart; to another's by a third of the line."""
        room = self._room(columns)
        least = room // 3 if dim else max(room // 3, room - visible_width(self.lead) - TOLD_APART - 1)
        text = self._head(room - (min(visible_width(self.detail), least) + 1 if moving and self.detail else 0))
        if self.detail:
            column = self.layout.detail
            if max(visible_width(text) + 1, column) + visible_width(self.detail) > room:  # there is more room before
                column = 0
            left = room - max(visible_width(text) + 1, column)
            shown = clip(self.detail, left) if dim else some(self.detail, left)
            if shown == self.detail or left >= MIN_DETAIL_WIDTH:
                text = pad(text, column) + (dim.paint("2", shown) if dim else shown)
        middle = self.layout.detail + 18
        if self.middle and max(visible_width(text) + 1, middle) + visible_width(self.middle) <= room:
            text = pad(text, middle) + self.middle
        if self.end:
            text = pad(text, min(self.layout.detail + 34, room + 1)) + self.end
        return text.rstrip()

    def fits(self, columns: int, name: int | None = None) -> bool:
        """Whether all of the detail has room beside the names, or so many columns of them."""
        room = self._room(columns)
        head = visible_width(self._head(room))
        head = head if name is None else min(head, visible_width(self.lead) + name)
        return head + 1 + visible_width(self.detail) <= room

    def _room(self, columns: int) -> int:
        """Columns that there are beside the times."""
        return (columns or 1 << 20) - (visible_width(self.end) + 1 if self.end else 0)

    def _head(self, room: int) -> str:
        """What is named, each in its column; the longer of two gives way first."""
        *first, last = self.names
        budget = room - visible_width(self.lead)
        if not first:
            return self.lead + elide_middle(last, max(1, budget))
        column = self.layout.task
        kept = min(visible_width(last), max(budget - max(column, visible_width(first[0]) + 1), budget // 2, 1))
        left = pad(elide_middle(first[0], max(1, budget - kept - 1)), min(column, max(1, budget - kept)))
        return self.lead + left + elide_middle(last, kept)


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
    """The line of a piece that ended; of more than one where all that is said of it has no room beside its name."""
    row = replace(_finished_row(event, piece, fetched=fetched, style=style), layout=layout or DEFAULT_LAYOUT)
    if not row.detail or row.fits(columns):
        return row.text(columns)
    return "\n".join((replace(row, detail="").text(columns), wrap(f"   {row.detail}", columns)))


def _finished_row(event: Finished, piece: RunningWork | None, *, fetched: float | None, style: Style) -> LineLayout:
    detail = one_line(event.detail)
    if event.subject == "task":
        return _task_row(event, piece, detail, style=style)
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


def _task_row(event: Finished, piece: RunningWork | None, detail: str, *, style: Style) -> LineLayout:
    names = (one_line(event.env), one_line(event.name))
    made = _format_outputs(event, style)
    if event.outcome == "cached":
        told = one_line(unchanged.describe_unchanged(event.since, event.host, now=event.time))
        notes = f"; {detail}" if detail else ""
        return LineLayout(lead=f" {style.paint('32', unchanged.SIGN)} ", names=names, detail=f"{told}{notes}{made}")
    good = event.outcome in _GOOD_OUTCOMES
    sign = style.paint("32" if good else "31", style.glyphs("✓" if good else "✗"))
    if event.outcome == "skipped":
        sign, detail = style.glyphs("·"), detail or "not run"
    counts = piece.counter.text() if piece and piece.counter else ""
    if not detail and not good:
        detail = f"exit {event.status}" if event.outcome == "failed" else event.outcome
    detail = counts if good and counts and not detail else f"{detail}: {counts}" if counts else detail
    if good:
        detail = f"{detail}{made}".strip()
    return LineLayout(lead=f" {sign} ", names=names, detail=detail, end=format_seconds(event.seconds))


def _format_outputs(event: Finished, style: Style) -> str:
    if not event.outputs:
        return ""
    more = f" and {len(event.outputs) - 1} more" if len(event.outputs) > 1 else ""
    return style.glyphs(" → ") + f"{one_line(event.outputs[0])}{more}"


def format_note(event: Noted) -> str:
    """What belongs to no piece of work."""
    return f"note: {one_line(event.text)}"


def format_started(piece: RunningWork, columns: int = 0, layout: Layout | None = None) -> str:
    """The line of a piece that has been running for a while, where nothing can move."""
    start = piece.started
    if start.subject == "task":
        names: tuple[str, ...] = (one_line(start.env), one_line(start.name))
        return LineLayout(lead="   ", names=names, detail="…", layout=layout or DEFAULT_LAYOUT).text(columns)
    detail = one_line(piece.note or piece.phase or start.detail) or "under way"
    lead, names = f" {pad(start.subject, 7)}", (_format_name(start),)
    return LineLayout(lead=lead, names=names, detail=detail, end="…", layout=layout or DEFAULT_LAYOUT).text(columns)


def _bar(done: int, total: int, cells: int = 16) -> str:
    full = min(cells, cells * done // total)
    return "━" * full + "╌" * (cells - full)


def _phase_texts(piece: RunningWork, style: Style) -> tuple[str, list[str]]:
    """How far a piece is, with a bar, and in fewer and fewer words: a bar only while there is an end in sight that is
    not reached, for one that is full says that all is over. Where all of a phase is there, some of it still goes on."""
    whole = bool(piece.phase) and (0 < piece.of <= piece.count or (not piece.of and 0 < piece.total <= piece.done))
    words = one_line(f"{piece.phase}{f' {piece.count} of {piece.of}' if piece.of else ''}".strip())
    amount = size(piece.done) if piece.done else ""
    short = f"{words}, {amount}" if words and amount else ""  # of what the finished line says, too
    if piece.total and not whole:
        amount = f"{size(piece.done)} of {size(piece.total)}"
    said = ", ".join(filter(None, (words, amount)))
    done, total = (piece.done, piece.total) if piece.total else (piece.count, piece.of)
    bar = f"{style.glyphs(_bar(done, total))} {said}" if 0 <= done < total and not whole else ""
    return bar, [each for each in (said, short, words or amount) if each]


def format_running(
    piece: RunningWork, now: float, *, style: Style, columns: int = 0, layout: Layout | None = None
) -> str:
    """The moving line of a piece under way."""
    start, layout = piece.started, layout or DEFAULT_LAYOUT
    elapsed = max(0.0, now - start.time)
    frames = _SPINNER if style.unicode else _SPINNER_ASCII
    sign = style.paint("36", frames[int(now * 10) % len(frames)])
    end, note = style.paint("2", format_seconds(elapsed)), one_line(piece.note)
    if start.subject == "task":
        names = (one_line(start.env), one_line(start.name))
        last = piece.last_line() if elapsed >= LAST_LINE_SECONDS and not note else ""
        return LineLayout(lead=f" {sign} ", names=names, detail=note or last, end=end, layout=layout).text(
            columns, dim=style if last else None, moving=True
        )
    bar, details = _phase_texts(piece, style) if not note else ("", [note])
    plain = LineLayout(lead=f" {sign} {pad(start.subject, 7)}", names=(_format_name(start),), end=end, layout=layout)
    if bar and not 0 < columns < BARRED and (row := replace(plain, detail=bar)).fits(columns):
        return row.text(columns, moving=True)
    rows = [replace(plain, detail=detail) for detail in details or [one_line(start.detail)]]
    return next((row for row in rows if row.fits(columns, TOLD_APART)), rows[-1]).text(columns, moving=True)


def draw_rule(title: str, columns: int, *, style: Style) -> str:
    """A header across: "── unit test ─────"."""
    text = f"── {elide_middle(title, max(1, columns - 6))} "
    return style.glyphs(text + "─" * max(2, columns - visible_width(text)))


def format_total(
    results: Sequence[ReportedResult], spent: float, *, interrupted: bool, style: Style, columns: int = 0
) -> str:
    """The last line: "── 1 failed, 2 passed in 9.8s ──", what went wrong first."""
    failed = sum(result.outcome in ("failed", "timeout") for result in results)
    broken = sum(result.outcome == "error" for result in results)
    stopped = sum(result.outcome == "interrupted" for result in results)
    same = sum(result.outcome == "cached" for result in results)
    passed = sum(result.outcome in _GOOD_OUTCOMES for result in results) - same
    skipped = sum(result.outcome == "skipped" for result in results)
    parts = [
        style.paint(code, f"{number} {word}")
        for number, word, code in (
            (failed, "failed", "1;31"),
            (broken, "not made", "1;31"),
            (stopped, "interrupted", "1;33"),
            (passed, "passed", "32"),
            (same, unchanged.WORD, unchanged.COLOR),
            (skipped, "not run", "2"),
        )
        if number
    ]
    if interrupted and not stopped:
        parts.insert(0, style.paint("1;33", "interrupted"))
    said = f"{', '.join(parts) or 'nothing to do'} in {format_seconds(spent)}"
    dashes = style.glyphs("──")
    return wrap(f"{dashes} {said} {dashes}", columns, indent="   ")


def is_worth_showing(event: Finished, verbosity: int) -> bool:
    """Is the end of this piece worth a line? What came from the cache, and parts of bigger pieces, are not, nor what
    was half made when all was interrupted: some of it is not waited for, and the last lines say what is kept."""
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
    """Whose line it is, where several print: the env for tasks, else what is made."""
    start = piece.started
    name = start.env if start.subject == "task" else f"{start.subject} {_format_name(start)}"
    return style.paint("2", style.glyphs(f"{one_line(name)} │ "))

"""How things read on one line. Pure: values to text. DESIGN section 12 is the target.

Column of the name 8, of the detail 26, of the times 44 and 60; meaning never hangs on colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envtool.report import unchanged
from envtool.report.text import one_line, pad, seconds, size, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.events import Finished, Noted
    from envtool.report.board import Piece
    from envtool.report.stream import Result

_ASCII = str.maketrans("✓✗─━╌│├└…→·", "+x-=.||`.>.")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "-\\|/"
QUICK = 0.05  # seconds that are not worth telling
_GOOD = ("built", "cached", "pulled", "done", "passed", "same")


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


def counted(number: int, word: str) -> str:
    """A number of things: "1 layer", "2 layers"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _columns(head: str, detail: str, middle: str, end: str) -> str:
    text = pad(pad(head, 26) + detail, 44)
    return (pad(text + middle, 60) + end).rstrip()


def finished(event: Finished, piece: Piece | None, *, fetched: float | None, style: Style) -> str:
    """The line of a piece that ended."""
    name, detail = one_line(event.name), one_line(event.detail)
    if event.subject == "task":
        if event.outcome == "cached":
            return _unchanged(event, style=style)
        good = event.outcome in _GOOD
        sign = style.paint("32" if good else "31", style.glyphs("✓" if good else "✗"))
        if event.outcome == "skipped":
            sign, detail = style.glyphs("·"), detail or "not run"
        counts = piece.counter.text() if piece and piece.counter else ""
        if not detail and not good:
            detail = f"exit {event.status}" if event.outcome == "failed" else event.outcome
        detail = counts if good and counts and not detail else f"{detail}: {counts}" if counts else detail
        if good:
            detail = f"{detail}{_made(event, style)}".strip()
        head = f" {sign} {pad(one_line(event.env), 15)}{name}"
        return _columns(head, detail, "", seconds(event.seconds))
    head = f" {pad(event.subject, 7)}{name}"
    if event.outcome not in _GOOD:
        return _columns(head, detail, "", style.paint("31", f"{event.outcome} {seconds(event.seconds)}"))
    detail = detail or (one_line(piece.started.detail) if piece else "")
    if event.subject == "cache":
        return _columns(head, detail, "", seconds(event.seconds) if event.seconds >= QUICK else "")
    middle = f"fetched {seconds(fetched)}" if fetched is not None else ""
    outcome = {"cached": "cached", "done": ""}.get(event.outcome, event.outcome)
    return _columns(head, detail, middle, f"{outcome} {seconds(event.seconds)}".strip())


def _unchanged(event: Finished, *, style: Style) -> str:
    detail = unchanged.detail(event.since, event.host, now=event.time)
    notes = f"; {one_line(event.detail)}" if event.detail else ""
    head = f" {style.paint('32', unchanged.SIGN)} {pad(one_line(event.env), 15)}{one_line(event.name)}"
    return _columns(head, f"{one_line(detail)}{notes}{_made(event, style)}", "", "")


def _made(event: Finished, style: Style) -> str:
    if not event.outputs:
        return ""
    more = f" and {len(event.outputs) - 1} more" if len(event.outputs) > 1 else ""
    return style.glyphs(" → ") + f"{one_line(event.outputs[0])}{more}"


def noted(event: Noted) -> str:
    """What belongs to no piece of work."""
    return f"note: {one_line(event.text)}"


def begun(piece: Piece) -> str:
    """The line of a piece that has been running for a while, where nothing can move."""
    start = piece.started
    if start.subject == "task":
        return f"   {pad(one_line(start.env), 15)}{one_line(start.name)} …"
    detail, note = one_line(start.detail), one_line(piece.note)
    said = (detail, note) if detail else (note or "under way", "")
    return _columns(f" {pad(start.subject, 7)}{one_line(start.name)}", *said, "…")


def _bar(done: int, total: int, cells: int = 16) -> str:
    full = min(cells, cells * done // total)
    return "━" * full + "╌" * (cells - full)


def running(piece: Piece, now: float, *, style: Style) -> str:
    """The moving line of a piece under way; not cut to any width."""
    start = piece.started
    elapsed = max(0.0, now - start.time)
    frames = _SPINNER if style.unicode else _SPINNER_ASCII
    sign = style.paint("36", frames[int(now * 10) % len(frames)])
    if start.subject == "task":
        head = f" {sign} {pad(one_line(start.env), 15)}{one_line(start.name)}"
        detail = one_line(piece.note)
    else:
        head = f" {sign} {pad(start.subject, 7)}{one_line(start.name)}"
        detail = one_line(piece.note or start.detail)
    if piece.total:
        done = f"{size(piece.done)} of {size(piece.total)}"
        detail = f"{style.glyphs(_bar(piece.done, piece.total))} {done}"
    elif piece.done:
        detail = f"{detail} {size(piece.done)}".strip()
    text = pad(pad(head, 26) + detail, 60)
    return f"{text}{style.paint('2', seconds(elapsed))}"


def rule(title: str, columns: int, *, style: Style) -> str:
    """A header across: "── unit test ─────"."""
    text = f"── {title} "
    return style.glyphs(text + "─" * max(2, columns - width(text)))


def total(results: Sequence[Result], spent: float, *, interrupted: bool, style: Style) -> str:
    """The last line: "── 1 failed, 2 passed in 9.8s ──", what went wrong first."""
    failed = sum(result.outcome in ("failed", "timeout") for result in results)
    broken = sum(result.outcome == "error" for result in results)
    stopped = sum(result.outcome == "interrupted" for result in results)
    same = sum(result.outcome == "cached" for result in results)
    passed = sum(result.outcome in _GOOD for result in results) - same
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
    return f"{style.glyphs('──')} {', '.join(parts) or 'nothing to do'} in {seconds(spent)} {style.glyphs('──')}"


def worth(event: Finished, verbosity: int) -> bool:
    """Is the end of this piece worth a line? What came from the cache, and parts of bigger pieces, are not."""
    if event.outcome not in _GOOD:
        return True
    if verbosity < 0:
        return False
    if event.subject == "store":
        return verbosity > 0 or bool(event.detail)
    return verbosity > 0 or event.subject in ("task", "verify", "cache") or event.outcome in ("built", "pulled")


def prefix(piece: Piece, *, style: Style) -> str:
    """Whose line it is, where several print: the env for tasks, else what is made."""
    start = piece.started
    name = start.env if start.subject == "task" else f"{start.subject} {start.name}"
    return style.paint("2", style.glyphs(f"{one_line(name)} │ "))

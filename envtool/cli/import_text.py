"""What `import` prints of a file that it took over, and its JSON."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from envtool.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.compose.notes import Note
    from envtool.app.import_compose import ComposeImport
    from envtool.app.init_from.taken_spec import TakenSpec
    from envtool.model import Json
    from envtool.report.formatting import Style

MAX_PLACES = 6  # positions of one key that has no effect
_HEADINGS = {"left-out": "left out:", "changed": "with another meaning:"}


def format_import(
    result: ComposeImport, files: Sequence[str], path: str, style: Style, *, short: bool, beside: bool = False
) -> str:
    """Returns what a person has to know of an import, for standard error; with `short` only its last line. `beside`:
    the spec, which has the notes as comments, was printed to the same place."""
    lines = [] if short else _note_lines(result.notes, style, beside=beside)
    if short:
        pass
    elif result.override:
        command = one_line(f"envtool import compose {' '.join(files)} {result.override}")
        lines.append(f"{one_line(result.override)} is not read: compose merges it over the first; type: `{command}`")
    commented = sum(note.effect in _HEADINGS for note in result.notes)
    if beside and commented and not short:
        many = f"{commented} comments of the spec say" if commented > 1 else "a comment of the spec says"
        lines.append(f"{many} what is left out or has another meaning; with `-o FILE` this says what to do")
    count = len(result.services)
    taken = f"{count} service{'s' if count != 1 else ''}: {', '.join(result.services)}"
    lines.append(one_line(f"wrote {path}, {taken}; next: {_next_command(path)}" if path else f"took over {taken}"))
    return style.glyphs("\n".join(lines))


def _note_lines(notes: Sequence[Note], style: Style, *, beside: bool = False) -> list[str]:
    """Returns the notes by their effect; with `beside` only those that the comments of the spec do not have."""
    lines: list[str] = []
    for effect, heading in _HEADINGS.items() if not beside else ():
        grouped = _grouped([note for note in notes if note.effect == effect])
        if grouped:
            lines.append(style.paint("1", heading))
        for note, services in grouped:
            subject = f"{', '.join(services)}: " if any(services) else ""
            key = "" if services == [note.key] else f"`{note.key}`: "  # a note about a whole env has its name as key
            lines.append(f"  {note.where}: {one_line(f'{subject}{key}{note.message}')}")
            if note.hint:
                lines.append(f"    {style.paint('36', 'hint:')} {one_line(note.hint)}")
    if meaningless := _meaningless(notes):
        lines += [style.paint("1", "without an effect here:"), *meaningless]
    return lines


def format_taken(result: TakenSpec, path: str, again: str, style: Style, *, short: bool) -> str:
    """Returns what a person has to know of a file that `init --from` took over; with `short` only the last line.
    `again` is the command `envtool` with its options."""
    lines = [] if short else _note_lines(result.notes, style)
    if result.override and not short:
        lines.append(f"{one_line(result.override)} is not read: `envtool import compose` merges several files")
    nouns = [("env", result.envs), ("service", result.services)]
    counted = [
        f"{len(names)} {noun}{'s' if len(names) != 1 else ''}: {', '.join(names)}" for noun, names in nouns if names
    ]
    lines.append(one_line(f"wrote {path}, {'; '.join(counted)}; next: {again} {result.next_verb}"))
    return style.glyphs("\n".join(lines))


def taken_json(result: TakenSpec, path: str) -> dict[str, Json]:
    """Returns the JSON of `init --from` (docs/json.md)."""
    notes = [
        {("env" if key == "service" and not result.services else key): value for key, value in note.items()}
        for note in _notes_json(result.notes)
    ]
    return {
        "file": path, "written": [path], "spec": result.text, "envs": [*result.envs], "services": [*result.services],
        "notes": [*notes],
    }  # fmt: skip


def _next_command(path: str) -> str:
    """Returns the command that starts the services of the spec at a path."""
    directory, name = os.path.split(path)
    place = f" -C {shlex.quote(directory)}" if directory else ""
    spec = f" -f {shlex.quote(name)}" if name != "envtool.yaml" else ""
    return f"envtool{place}{spec} up"


def _grouped(notes: Sequence[Note]) -> list[tuple[Note, list[str]]]:
    """Returns notes that differ only in their service as one, with the names of the services."""
    grouped: dict[tuple[object, ...], tuple[Note, list[str]]] = {}
    for note in notes:
        first = grouped.setdefault((note.where, note.key, note.message), (note, []))
        first[1].append(note.service)
    return [*grouped.values()]


def _meaningless(notes: Sequence[Note]) -> list[str]:
    """Returns one line for each key that has no effect, with its reason and its positions."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for note in notes:
        if note.effect == "meaningless":
            places.setdefault((note.key, note.message), {})[str(note.where)] = None
    lines: list[str] = []
    for (key, message), positions in places.items():
        names = [*positions]
        more = f" and {len(names) - MAX_PLACES} more" if len(names) > MAX_PLACES else ""
        listed = ", ".join(names[:MAX_PLACES])
        lines.append("  " + one_line(f"`{key}`: {message} ({listed}{more})"))
    return lines


def import_json(result: ComposeImport, path: str) -> dict[str, Json]:
    """Returns the JSON of `import compose` (docs/json.md)."""
    return {"file": path, "spec": result.text, "services": [*result.services], "notes": [*_notes_json(result.notes)]}


def _notes_json(notes: Sequence[Note]) -> list[dict[str, Json]]:
    return [
        {
            "file": note.where.file,
            "line": note.where.line,
            "column": note.where.column,
            "service": note.service,
            "key": note.key,
            "effect": note.effect,
            "message": note.message,
            "hint": note.hint,
        }
        for note in notes
    ]

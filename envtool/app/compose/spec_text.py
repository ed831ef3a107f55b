"""Writes the spec of an import: YAML that all parsers read in the same way, with the notes as comments."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING

from envtool.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envtool.app.compose.convert_service import ConvertedService
    from envtool.app.compose.notes import Note
    from envtool.model import Json

WIDTH = 120
LIST_WIDTH = 80  # where formatters break a list
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+-]*(?: [A-Za-z0-9_/.+-]+)*|[0-9]+(?:\.[0-9]+)?[smh]")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_SINGLE_QUOTED = re.compile(r"[ -\[\]-~]+")  # without a backslash
_UNPRINTED = re.compile("[\x7f-\x9f\xad\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
# what a block of text would not keep, or show
_NO_BLOCK = re.compile(
    r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[ \u2028\u2029\ufeff]\n|^\s|[ \n]\Z"
)


def write_spec(
    source: str, services: Sequence[ConvertedService], notes: Iterable[Note], names: Mapping[str, str]
) -> str:
    """Returns the text of the spec. `source` is the compose file, for the comment at the top; `names` are the names of
    services in it -> in the spec."""
    by_service: dict[str, list[Note]] = {}
    for note in notes:
        if note.effect != "meaningless":
            by_service.setdefault(names.get(note.service, ""), []).append(note)
    lines = comment_lines(f"Written by `envtool import compose {source}`.")
    lines += [line for note in by_service.get("", ()) for line in comment_lines(note_sentence(note))]
    lines += ["version: 1", "", "services:"]
    for service in services:
        if lines[-1] != "services:":
            lines.append("")
        if service.with_kind is not None:
            line = f"{scalar(service.name)}: {flow(escape_templates(service.with_kind))}"
            lines += comment_lines(f"`{line}` is Debian's own server: `--kinds` writes it.", "  ")
        lines.append(f"  {scalar(service.name)}:{'' if service.keys else ' {}'}")
        lines += [
            line for note in by_service.get(service.name, ()) for line in comment_lines(note_sentence(note), "    ")
        ]
        for key, value in service.keys.items():
            lines += entry_lines(key, escape_templates(value), "    ")
    used = [service.name for service in services if service.started]
    lines += ["", "envs:", "  unit:", *comment_lines("write the command of the tests: `tasks: {test: …}`", "    ")]
    lines += entry_lines("services", [*used], "    ")
    return "\n".join(lines) + "\n"


def note_sentence(note: Note) -> str:
    """Returns a note as a sentence with its place, for a comment."""
    return f"{note.where.file}:{note.where.line}: `{note.key}`: {note.message}"


def comment_lines(text: str, indent: str = "") -> list[str]:
    """Returns a text as lines of a comment."""
    lead = f"{indent}# "
    return textwrap.wrap(
        one_line(text), WIDTH, initial_indent=lead, subsequent_indent=f"{lead}  ", break_on_hyphens=False
    )


def escape_templates(value: Json) -> Json:
    """Returns a value in which no text is a template of the spec."""
    if isinstance(value, str):
        return re.sub(r"\{[{%#]", lambda mark: "{{ '" + mark[0] + "' }}", value) if _is_template(value) else value
    if isinstance(value, list):
        return [escape_templates(member) for member in value]
    if isinstance(value, dict):
        return {key: escape_templates(member) for key, member in value.items()}
    return value


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def entry_lines(key: str, value: Json, indent: str) -> list[str]:
    """Returns the lines of one entry. Mappings are blocks: Prettier wants spaces inside of braces, and yamllint none. A
    list is one line if it fits and has no mappings, else a line for each member."""
    return _lines(f"{indent}{scalar(key)}:", value, f"{indent}  ")


def _lines(start: str, value: Json, indent: str) -> list[str]:
    """Returns the lines of a value after what its first line begins with; `indent` is that of the further ones."""
    if isinstance(value, dict) and value:
        members = [line for key, member in value.items() for line in entry_lines(key, member, indent)]
        return [f"{start} {members[0].lstrip()}", *members[1:]] if start.endswith("-") else [start, *members]
    if isinstance(value, list) and value and not _fits(start, value):
        return [start, *(line for member in value for line in _lines(f"{indent}-", member, f"{indent}  "))]
    if isinstance(value, str) and _is_block(value):
        return [f"{start} |-", *(f"{indent}{line}" if line else "" for line in value.split("\n"))]
    return [f"{start} {flow(value)}"]


def _fits(start: str, value: list[Json]) -> bool:
    """Returns whether a list can stand in one line."""
    return len(f"{start} {flow(value)}") <= LIST_WIDTH and not any(map(_needs_lines, value))


def _needs_lines(value: Json) -> bool:
    if isinstance(value, list):
        return any(map(_needs_lines, value))
    return bool(value) if isinstance(value, dict) else isinstance(value, str) and _is_block(value)


def _is_block(text: str) -> bool:
    """Returns whether a text is several lines, which a block shows as they are."""
    return "\n" in text and not _NO_BLOCK.search(text)


def flow(value: Json) -> str:
    """Returns a value as YAML in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{scalar(key)}: {flow(member)}' for key, member in value.items())}}}"
    return scalar(value)


def scalar(value: bool | float | str | None) -> str:
    """Returns a scalar as YAML. Text has quotes, unless all parsers read it as text without them."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        if value.count('"') >= max(1, value.count("'")) and _SINGLE_QUOTED.fullmatch(value):
            return "'" + value.replace("'", "''") + "'"  # which formatters prefer to escapes
        text = json.dumps(value, ensure_ascii=False)
        return _UNPRINTED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
    return json.dumps(value)

"""Reads an ini file as configparser does, with the line of each value: an error can then name its place."""

from __future__ import annotations

import configparser
import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.errors import Problem, SpecError
from envtool.model import Where

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1 << 20
# configparser has no positions: each line that is not empty ends with a mark, which stays in the values.
_MARK = re.compile("\x01([0-9]+)\x01")
_COMMENT = re.compile(r"\s*(?<!\\)#.*")


class IniLine(NamedTuple):
    """One line of a value, without its comment."""

    text: str
    line: int


class IniValue(NamedTuple):
    """The value of a key: its lines that are not empty, joined where one ends with a backslash."""

    lines: tuple[IniLine, ...]
    line: int  # that of the key

    @property
    def text(self) -> str:
        """The whole value."""
        return "\n".join(line.text for line in self.lines)


Section = dict[str, IniValue]


def read_ini(text: str, file: str) -> Mapping[str, Section]:
    """Returns the sections of an ini file. Raises SpecError, with the place, for a text that is no ini file."""
    if len(text) > MAX_BYTES or re.search("[\0\x01]", text):
        reason = "it is larger than 1 MiB" if len(text) > MAX_BYTES else "it has control characters"
        raise _error(file, 1, f"`{file}` cannot be read: {reason}")
    parser = configparser.RawConfigParser(interpolation=None, allow_no_value=True, default_section="\x01none")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    marked = [
        f"{line}\x01{number}\x01" if line.strip() else line
        for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1)
    ]
    try:
        parser.read_string("\n".join(marked), file)
    except configparser.DuplicateSectionError as error:
        raise _error(file, error.lineno or 1, f"the section `{_plain(error.section)}` is there twice") from None
    except configparser.DuplicateOptionError as error:
        message = f"`{_plain(error.option)}` is twice in `{_plain(error.section)}`"
        raise _error(file, error.lineno or 1, message) from None
    except configparser.MissingSectionHeaderError as error:
        raise _error(file, error.lineno, "this line is before the first section") from None
    except configparser.ParsingError as error:
        line = error.errors[0][0] if error.errors else 1
        raise _error(file, line, "this line is neither a section nor `key = value`") from None
    return {_plain(name): _section(parser, name) for name in parser.sections()}


def _plain(text: str) -> str:
    return _MARK.sub("", text).strip()


def _error(file: str, line: int, message: str) -> SpecError:
    return SpecError((Problem(where=Where(file=file, line=line, column=1), message=message, code="ini"),))


def _section(parser: configparser.RawConfigParser, name: str) -> Section:
    section: Section = {}
    for key, value in parser.items(name):
        marks = _MARK.findall(f"{key}{value or ''}")
        first = int(marks[0]) if marks else 1
        section[_plain(key)] = _value(value or "", first)
    return section


def _value(value: str, first: int) -> IniValue:
    lines: list[IniLine] = []
    pending: IniLine | None = None
    for marked in value.split("\n"):
        mark = _MARK.search(marked)
        text = _MARK.sub("", marked).strip()
        number = int(mark[1]) if mark else first
        if text.startswith("#") or not text:
            continue
        text = _COMMENT.sub("", text).replace("\\#", "#")
        if pending is not None:
            text, number, pending = f"{pending.text} {text}", pending.line, None
        if text.endswith("\\"):
            pending = IniLine(text[:-1].rstrip(), number)
        elif text:
            lines.append(IniLine(text, number))
    if pending is not None:
        lines.append(pending)
    return IniValue(tuple(lines), first)

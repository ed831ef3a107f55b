"""A Dockerfile's text -> its instructions: moby/buildkit's own parser, by its binding `dockerfile`.

What the binding does not say is read here: which here-documents are taken as they are, and flags by name. The parser is
a library of several megabytes with threads of its own: it is imported where a Dockerfile is parsed, never before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from envtool.distributions import install_command
from envtool.kinds.dockerfile.shell_words import Lexer, WordError

_HEREDOC = re.compile(r"^\d*<<(-?)([^<]+)$")
_RAW = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True)
_REFUSED_TRIGGERS = ("ONBUILD", "FROM", "MAINTAINER")


class DockerfileError(Exception):
    """Something is wrong with a Dockerfile. `line` counts from 1."""

    def __init__(self, message: str, line: int, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.hint = message, line, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A here-document: `content` ends with a newline, unless it is empty; `chomp` takes tabs off its lines' begin."""

    name: str
    content: str
    expand: bool
    chomp: bool

    def text(self) -> str:
        """The content as it is used."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. `flags` in their order as (name, value), without the dashes; a flag without a value has ""."""

    name: str  # in capitals
    arguments: tuple[str, ...]
    line: int
    text: str  # as it was written, lines joined
    json: bool = False
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    trigger: str = ""  # of ONBUILD: the instruction that is kept
    fault: DockerfileError | None = None  # what is wrong with it, for whoever needs its stage

    def flag(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return next((value for key, value in reversed(self.flags) if key == name), default)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that may be repeated."""
        return tuple(value for key, value in self.flags if key == name)

    def has(self, name: str) -> bool:
        """Whether a flag of yes or no is on. Raises DockerfileError."""
        value = next((value for key, value in reversed(self.flags) if key == name), None)
        if value not in (None, "", "true", "false"):
            raise DockerfileError(f"--{name} is `true` or `false`, not `{value}`", self.line)
        return value is not None and value != "false"


@lru_cache(maxsize=32)
def parse(text: str) -> tuple[Instruction, ...]:
    """All instructions, in order. Raises DockerfileError."""
    library = _library()
    if "\0" in text:  # C would take the text to end there
        raise DockerfileError("there is a NUL byte", text.count("\n", 0, text.index("\0")) + 1)
    try:
        found = library.parse_string(text)
    except library.GoParseError as error:
        raise DockerfileError(str(error), _error_line(text, library)) from None
    except ValueError as error:  # text that is no UTF-8
        raise DockerfileError(str(error), 1) from None
    return tuple(_instruction(command) for command in found)


def escape_character(text: str) -> str:
    r"""The escape character that a directive at the top of the file sets: a backslash, or a backtick."""
    for line in text.removeprefix("\ufeff").splitlines():
        found = re.match(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=(.*)$", line)
        if not found or not found[2].strip():
            break
        if found[1].lower() == "escape":
            return found[2].strip()
    return "\\"


def _library() -> Any:
    try:
        import dockerfile  # type: ignore[import-not-found]
    except ImportError as error:
        raise DockerfileError(
            f"Dockerfiles are parsed by the Python package `dockerfile`, which is not there: {error}",
            1,
            hint=f"`{install_command('dockerfile')}`: it has wheels for x86_64, and is built with Go elsewhere",
        ) from error
    return dockerfile


def _error_line(text: str, library: Any) -> int:
    """The line of what the parser refuses, which it does not tell: the one after the longest part it takes."""
    lines = text.splitlines(keepends=True)
    for count in range(len(lines) - 1, 0, -1):
        try:
            library.parse_string("".join(lines[:count]))
        except library.GoParseError:
            continue
        return count + 1
    return 1


def _instruction(command: Any) -> Instruction:
    name, line = (command.cmd or "").upper(), command.start_line
    if not name:
        raise DockerfileError("a line without an instruction", line)
    plain = Instruction(name=name, arguments=tuple(command.value), line=line, text=command.original, json=command.json)
    try:
        if name == "ONBUILD":
            return replace(plain, arguments=(), trigger=_trigger(command))
        flags = tuple(_flag(flag, line) for flag in command.flags)
        return replace(plain, flags=flags, heredocs=_heredocs(name, plain.arguments, command))
    except DockerfileError as error:
        return replace(plain, fault=error)


def _flag(text: str, line: int) -> tuple[str, str]:
    name, _, value = text.removeprefix("--").partition("=")
    if not name:
        raise DockerfileError(f"`{text}` is not a flag", line)
    return name, value


def _trigger(command: Any) -> str:
    trigger = re.sub(r"(?i)^\s*ONBUILD\s*", "", command.original)
    inner = (command.sub_cmd or "").upper()
    if not inner:
        raise DockerfileError("ONBUILD has no instruction", command.start_line)
    if inner in _REFUSED_TRIGGERS:
        raise DockerfileError(f"{inner} cannot be a trigger of ONBUILD", command.start_line)
    if any(_heredoc_word(word) for word in _words(trigger)):
        raise DockerfileError("here-documents in ONBUILD are not supported", command.start_line)
    return trigger


def _heredocs(name: str, arguments: tuple[str, ...], command: Any) -> tuple[Heredoc, ...]:
    """The binding keeps names and contents; the words that began them say how they are meant."""
    if not command.heredocs:
        return ()
    words = [word for argument in arguments for word in (_words(argument) if name == "RUN" else [argument])]
    marks = [mark for word in words if (mark := _heredoc_word(word)) is not None]
    if [mark[0] for mark in marks] != [each.name for each in command.heredocs]:
        raise DockerfileError("a here-document's name with a blank in it is not supported", command.start_line)
    return tuple(
        Heredoc(name=each.name, content=each.content, expand=expand, chomp=chomp)
        for each, (_, expand, chomp) in zip(command.heredocs, marks, strict=True)
    )


def _words(text: str) -> list[str]:
    try:
        return _RAW.split(text, {})
    except WordError:
        return []


def _heredoc_word(word: str) -> tuple[str, bool, bool] | None:
    """(name, whether its content is expanded, whether its tabs go), of a word that begins a here-document."""
    found = _HEREDOC.match(word)
    if found is None:
        return None
    empty: Mapping[str, str] = {}
    plain = Lexer(keep_unset=True)
    try:
        names = plain.split(found[2], empty)
        if len(names) != 1:
            return None
        return names[0], names[0] == _RAW.split(found[2], empty)[0], found[1] == "-"
    except WordError:
        return None


def is_heredoc_only(command: str) -> bool:
    """Whether a command is a here-document and nothing else: then its content is what is run."""
    return _heredoc_word(command) is not None

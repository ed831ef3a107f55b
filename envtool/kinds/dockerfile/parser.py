"""Parses the text of a Dockerfile into instructions with moby/buildkit's own parser, through its binding `dockerfile`.

Two things that the binding does not report are read here: whether a here-document is expanded, and the names of flags.
The parser is a library of several megabytes that starts threads: it is imported when a Dockerfile is parsed, never
before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from envtool.api import install_command
from envtool.kinds.dockerfile.shell_words import Lexer, WordError
from envtool.lazy_dataclass import dataclass

_HEREDOC = re.compile(r"^\d*<<(-?)([^<]+)$")
_RAW = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True)
_REFUSED_TRIGGERS = ("ONBUILD", "FROM", "MAINTAINER")


class DockerfileError(Exception):
    """A Dockerfile is wrong. `line` counts from 1."""

    def __init__(self, message: str, line: int, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.hint = message, line, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A here-document. `content` ends with a newline, unless it is empty; `chomp` removes tabs from the beginning of
    its lines."""

    name: str
    content: str
    expand: bool
    chomp: bool

    def text(self) -> str:
        """Returns the content as it is used."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction. `flags` are (name, value) in their order, without the dashes; a flag without a value has ""."""

    name: str  # in capitals
    arguments: tuple[str, ...]
    line: int
    text: str  # as it was written, in one line
    json: bool = False
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    trigger: str = ""  # of ONBUILD: the instruction that runs in images that are built on this one
    fault: DockerfileError | None = None  # raised only if the instruction's stage is built

    def flag(self, name: str, default: str = "") -> str:
        """Returns the last value of a flag."""
        return next((value for key, value in reversed(self.flags) if key == name), default)

    def all(self, name: str) -> tuple[str, ...]:
        """Returns every value of a flag that may be repeated."""
        return tuple(value for key, value in self.flags if key == name)

    def has(self, name: str) -> bool:
        """Whether a flag with the values `true` and `false` is on. Raises DockerfileError."""
        value = next((value for key, value in reversed(self.flags) if key == name), None)
        if value not in (None, "", "true", "false"):
            raise DockerfileError(f"--{name} is `true` or `false`, not `{value}`", self.line)
        return value is not None and value != "false"


@lru_cache(maxsize=32)
def parse(text: str) -> tuple[Instruction, ...]:
    """Returns all instructions, in order. Raises DockerfileError."""
    library = _library()
    if "\0" in text:  # C code would read it as the end of the text
        raise DockerfileError("there is a NUL byte", text.count("\n", 0, text.index("\0")) + 1)
    try:
        commands = library.parse_string(text)
    except library.GoParseError as error:
        raise DockerfileError(str(error), _error_line(text, library)) from None
    except ValueError as error:  # text that is no UTF-8
        raise DockerfileError(str(error), 1) from None
    return tuple(_instruction(command) for command in commands)


def escape_character(text: str) -> str:
    r"""Returns the escape character: the one that a directive at the top of the file sets (a backtick), else a
    backslash."""
    for line in text.removeprefix("\ufeff").splitlines():
        match = re.match(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=(.*)$", line)
        if not match or not match[2].strip():
            break
        if match[1].lower() == "escape":
            return match[2].strip()
    return "\\"


def _library() -> Any:
    try:
        import dockerfile  # type: ignore[import-not-found]
    except ImportError as error:
        raise DockerfileError(
            f"Dockerfiles are parsed by the Python package `dockerfile`, which is not installed: {error}",
            1,
            hint=f"`{install_command('dockerfile')}`: it has wheels for x86_64, and is built with Go elsewhere",
        ) from error
    return dockerfile


def _error_line(text: str, library: Any) -> int:
    """Returns the line of a syntax error. The parser does not report it; it is the line after the longest part of the
    text that the parser accepts."""
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
    instruction = Instruction(
        name=name, arguments=tuple(command.value), line=line, text=command.original, json=command.json
    )
    try:
        if name == "ONBUILD":
            return replace(instruction, arguments=(), trigger=_trigger(command))
        flags = tuple(_flag(flag, line) for flag in command.flags)
        return replace(instruction, flags=flags, heredocs=_heredocs(name, instruction.arguments, command))
    except DockerfileError as error:
        return replace(instruction, fault=error)


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
    """Returns the here-documents of an instruction. The binding gives their names and contents; the words that begin
    them say whether they are expanded and whether tabs are removed."""
    if not command.heredocs:
        return ()
    words = [word for argument in arguments for word in (_words(argument) if name == "RUN" else [argument])]
    openings = [opening for word in words if (opening := _heredoc_word(word)) is not None]
    if [opening[0] for opening in openings] != [heredoc.name for heredoc in command.heredocs]:
        raise DockerfileError("a here-document's name with a blank in it is not supported", command.start_line)
    return tuple(
        Heredoc(name=heredoc.name, content=heredoc.content, expand=expand, chomp=chomp)
        for heredoc, (_, expand, chomp) in zip(command.heredocs, openings, strict=True)
    )


def _words(text: str) -> list[str]:
    try:
        return _RAW.split(text, {})
    except WordError:
        return []


def _heredoc_word(word: str) -> tuple[str, bool, bool] | None:
    """Returns (name, whether its content is expanded, whether tabs are removed) of a word that begins a here-document;
    None for another word."""
    match = _HEREDOC.match(word)
    if match is None:
        return None
    no_variables: Mapping[str, str] = {}
    lexer = Lexer(keep_unset=True)
    try:
        names = lexer.split(match[2], no_variables)
        if len(names) != 1:
            return None
        return names[0], names[0] == _RAW.split(match[2], no_variables)[0], match[1] == "-"
    except WordError:
        return None


def is_heredoc_only(command: str) -> bool:
    """Whether a command is one here-document and nothing else: its content is the script that runs."""
    return _heredoc_word(command) is not None

"""Variables and quotes as Dockerfiles have them (moby/buildkit, frontend/dockerfile/shell/lex.go). Pure.

Close to a shell, and not one: `$NAME`, `${NAME}`, `${NAME:-word}`, `:+`, `:?` (and those without the colon),
`${NAME#pattern}`, `##`, `%`, `%%`, `${NAME/pattern/text}`, `//`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from envtool.fs.globs import starred

MAX_EXPANDED = 64 * 1024  # characters that variables may add to what is written, as for a value of a template
_SPECIAL = "@*#?-$!0"


class WordError(Exception):
    """A word that cannot be expanded; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexer:
    """How words are read. `escape` is the Dockerfile's escape character."""

    escape: str = "\\"
    raw_quotes: bool = False  # quotes stay in the result
    raw_escapes: bool = False  # so do escape characters
    quotes: bool = True  # False: quotes mean nothing (here-documents)
    keep_unset: bool = False  # variables that are not set stay as they were written

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """The text with its variables put in and its quotes taken off. Raises WordError."""
        return self._read(text, variables)[0]

    def split(self, text: str, variables: Mapping[str, str]) -> list[str]:
        """The same, as the words that it falls into at blanks outside of quotes. Raises WordError."""
        return self._read(text, variables)[1]

    def _read(self, text: str, variables: Mapping[str, str]) -> tuple[str, list[str]]:
        try:
            return _WordReader(self, text, variables).read("", self.raw_escapes)
        except RecursionError:
            raise WordError("substitutions are nested too deep") from None


class _WordList:
    """Words, while they are put together: a blank ends one only where it stands by itself."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.open: list[str] = []

    def plain(self, text: str) -> None:
        for character in text:
            if not character.isspace():
                self.open.append(character)
            elif any(self.open):
                self.done.append("".join(self.open))
                self.open.clear()

    def raw(self, text: str) -> None:
        self.open.append(text)

    def finish(self) -> list[str]:
        if any(self.open):
            self.done.append("".join(self.open))
            self.open.clear()
        return self.done


class _WordReader:
    def __init__(self, lexer: Lexer, text: str, variables: Mapping[str, str]) -> None:
        self.lexer = lexer
        self.text = text
        self.at = 0
        self.variables = variables
        self.room = len(text) + MAX_EXPANDED

    def value(self, name: str, written: str) -> str:
        """Of a variable, which is not set where it is not known."""
        if name not in self.variables:
            return written if self.lexer.keep_unset else ""
        return self.grown(self.variables[name])

    def grown(self, value: str) -> str:
        """The value of a variable, as far as there is room: `A=$A$A` in every line doubles it. Raises WordError."""
        self.room -= len(value)
        if self.room < 0:
            raise _too_long()
        return value

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        character = self.peek()
        self.at += 1
        return character

    def read(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Up to `stop` (empty: to the end): the expanded text, and its words."""
        out: list[str] = []
        words = _WordList()
        while character := self.peek():
            if character == stop:
                self.at += 1
                return "".join(out), words.finish()
            if character == "$":
                value = self.dollar(raw_escapes)
                out.append(value)
                words.plain(value)
            elif self.lexer.quotes and character in "'\"":
                value = self.single() if character == "'" else self.double(raw_escapes)
                out.append(value)
                words.raw(value)
            elif character == "<":
                value = self.heredoc()
                out.append(value)
                words.raw(value)
            elif character == self.lexer.escape:
                self.at += 1
                value = (character if raw_escapes else "") + self.next()
                out.append(value)
                words.raw(value)
            else:
                self.at += 1
                out.append(character)
                words.plain(character)
        if stop:
            raise WordError(f"there is no `{stop}` to end what was begun")
        return "".join(out), words.finish()

    def heredoc(self) -> str:
        """`<<` and the blanks after it belong to one word."""
        found = re.compile(r"<<[\t\r ]*|<").match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return found.group()

    def single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise WordError("a single quote is not closed")
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        return f"'{inner}'" if self.lexer.raw_quotes else inner

    def double(self, raw_escapes: bool) -> str:
        self.at += 1
        out: list[str] = []
        while (character := self.next()) != '"':
            if not character:
                raise WordError("a double quote is not closed")
            if character == "$":
                self.at -= 1
                out.append(self.dollar(raw_escapes))
            elif character == self.lexer.escape:
                if raw_escapes:
                    out.append(character)
                following = self.peek()
                if following and following in ('"', "$", self.lexer.escape):
                    out.append(self.next())
                elif following and not raw_escapes:
                    out.append(character)
            else:
                out.append(character)
        inner = "".join(out)
        return f'"{inner}"' if self.lexer.raw_quotes else inner

    def name(self) -> str:
        first = self.peek()
        if first and first.isdecimal():
            found = re.compile(r"\d+").match(self.text, self.at)
        elif first and first in _SPECIAL:
            found = re.compile(r".", re.DOTALL).match(self.text, self.at)
        else:
            found = re.compile(r"\w*").match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return found.group()

    def dollar(self, raw_escapes: bool) -> str:
        self.at += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            return self.value(name, f"${name}")
        self.at += 1
        if not self.peek():
            raise WordError("`${` has no `}`")
        if self.peek() in "{}:":
            raise WordError("bad substitution")
        name = self.name()
        sign = self.next()
        if sign == "}":
            return self.value(name, f"${{{name}}}")
        return self.modified(name, sign, raw_escapes)

    def modified(self, name: str, sign: str, raw_escapes: bool) -> str:
        value = self.variables.get(name)
        if sign == "/":
            every = self.peek() == "/"
            self.at += every
            pattern, text = self.until("/", True), self.until("}", True)
            if value is None:
                return f"${{{name}/{pattern}/{text}}}" if self.lexer.keep_unset else ""
            return self.grown(_replace_pattern(value, pattern, text, every=every))
        colon = sign == ":"
        if colon:
            sign = self.next()
        if not sign:
            raise WordError("`${` has no `}`")
        if sign not in "-+?#%" or (colon and sign in "#%"):
            raise WordError(f"`{':' if colon else ''}{sign}` is not supported in `${{{name}…}}`")
        word = self.until("}", sign in "#%" or raw_escapes)
        if value is None and self.lexer.keep_unset:
            return f"${{{name}{':' if colon else ''}{sign}{word}}}"
        given = value is not None and (value != "" or not colon)
        match sign:
            case "-":
                return self.grown(value or "") if given else word
            case "+":
                return word if given else ""
            case "?":
                if not given:
                    raise WordError(f"{name}: {word or 'is not set' + (', or empty' if colon else '')}")
                return self.grown(value or "")
            case _:
                return self.grown(_trim_pattern(value or "", word, sign))

    def until(self, stop: str, raw_escapes: bool) -> str:
        try:
            return self.read(stop, raw_escapes)[0]
        except WordError:
            if not self.peek():
                raise WordError(f"`${{` has no `{stop}`") from None
            raise


def _too_long() -> WordError:
    return WordError(f"with its variables put in it is longer than {MAX_EXPANDED:,} characters")


def _trim_pattern(value: str, word: str, sign: str) -> str:
    """`#` and `%`: the shortest beginning or end that a pattern matches taken away; doubled, the longest."""
    greedy = word.startswith(sign)
    chunks = _chunks(word[1:] if greedy else word)
    if sign == "#":
        found = _expression(chunks, greedy=greedy).match(value)
        return value[found.end() :] if found else value
    # An end is a beginning of the value read backwards.
    found = _expression([chunk[::-1] for chunk in reversed(chunks)], greedy=greedy).match(value[::-1])
    return value[: len(value) - found.end()] if found else value


def _replace_pattern(value: str, pattern: str, text: str, *, every: bool) -> str:
    """The longest match of a pattern, from left to right, replaced by a text."""
    chunks = _chunks(pattern)
    head, whole = _expression(chunks[:1], greedy=True), _expression(chunks, greedy=True)
    out: list[str] = []
    at = after = 0
    room = MAX_EXPANDED
    while begins := head.search(value, at):
        found = whole.match(value, begins.start())
        if found is None:  # what follows the first star is nowhere behind it, nor behind a later beginning
            break
        if found.end() > found.start() or found.start() != after or not out:
            out += [value[after : found.start()], text]
            after = found.end()
            room -= len(text)
            if room < 0:
                raise _too_long()
        if not every:
            break
        at = max(found.end(), found.start() + 1)
        if at > len(value):
            break
    return "".join((*out, value[after:]))


def _chunks(pattern: str) -> list[list[str]]:
    """What stands between the `*`, as expressions of one character each. A `?` is any, and a backslash before one of
    `*`, `?`, a backslash, a `}` or a `/` takes its meaning away. Raises WordError."""
    chunks: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            chunks.append([])
        elif character == "?":
            chunks[-1].append(".")
        elif character == "\\":
            following = next(characters, "")
            if following not in ("*", "?", "\\", "}", "/"):
                raise WordError(f"`\\{following}` means nothing in a pattern")
            chunks[-1].append(re.escape(following))
        else:
            chunks[-1].append(re.escape(character))
    return chunks


def _expression(chunks: list[list[str]], *, greedy: bool) -> re.Pattern[str]:
    """For `match`: the longest beginning that chunks with a star between any two mean, or the shortest."""
    first, *rest = ("".join(chunk) for chunk in chunks)
    out = starred((first, *rest), ".") if greedy else first + "".join(f"(?>.*?{chunk})" for chunk in rest)
    return re.compile(out, re.DOTALL)

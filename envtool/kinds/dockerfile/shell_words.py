"""Expands variables and takes off quotes as BuildKit does (moby/buildkit, frontend/dockerfile/shell/lex.go). Pure.

The syntax is close to a shell's: `$NAME`, `${NAME}`, `${NAME:-word}`, `:+`, `:?` (and those without the colon),
`${NAME#pattern}`, `##`, `%`, `%%`, `${NAME/pattern/text}`, `//`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envtool.api.untrusted_text import starred
from envtool.lazy_dataclass import dataclass

MAX_EXPANDED = 64 * 1024  # characters that variables may add to a text, the same as in a template of the spec
_SPECIAL = "@*#?-$!0"


class WordError(Exception):
    """A word cannot be expanded; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexer:
    """Reads words. `escape` is the Dockerfile's escape character."""

    escape: str = "\\"
    raw_quotes: bool = False  # quotes stay in the result
    raw_escapes: bool = False  # escape characters stay in the result
    quotes: bool = True  # False: quotes mean nothing (here-documents)
    keep_unset: bool = False  # variables that are not set stay as they were written; else they are empty

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """Returns the text with its variables expanded and without quotes. Raises WordError."""
        return self._read(text, variables)[0]

    def split(self, text: str, variables: Mapping[str, str]) -> list[str]:
        """Returns the expanded text, split into words at blanks outside of quotes. Raises WordError."""
        return self._read(text, variables)[1]

    def _read(self, text: str, variables: Mapping[str, str]) -> tuple[str, list[str]]:
        try:
            return _WordReader(self, text, variables).read("", self.raw_escapes)
        except RecursionError:
            raise WordError("substitutions are nested too deep") from None


class _WordList:
    """Collects words. A blank ends a word only where it is a text of its own, outside of quotes."""

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
        self.index = 0
        self.variables = variables
        self.remaining = len(text) + MAX_EXPANDED

    def value(self, name: str, written: str) -> str:
        """Returns the value of a variable; for one that is not set, `written` with `keep_unset`, else ""."""
        if name not in self.variables:
            return written if self.lexer.keep_unset else ""
        return self.limited(self.variables[name])

    def limited(self, value: str) -> str:
        """Returns the value that a variable adds to the text. Raises WordError when the text is too long: `A=$A$A` in
        every line doubles its length each time."""
        self.remaining -= len(value)
        if self.remaining < 0:
            raise _too_long()
        return value

    def peek(self) -> str:
        return self.text[self.index : self.index + 1]

    def next(self) -> str:
        character = self.peek()
        self.index += 1
        return character

    def read(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Reads up to `stop` (to the end, if it is empty). Returns the expanded text and its words."""
        pieces: list[str] = []
        words = _WordList()
        while character := self.peek():
            if character == stop:
                self.index += 1
                return "".join(pieces), words.finish()
            if character == "$":
                value = self.dollar(raw_escapes)
                pieces.append(value)
                words.plain(value)
            elif self.lexer.quotes and character in "'\"":
                value = self.single() if character == "'" else self.double(raw_escapes)
                pieces.append(value)
                words.raw(value)
            elif character == "<":
                value = self.heredoc()
                pieces.append(value)
                words.raw(value)
            elif character == self.lexer.escape:
                self.index += 1
                value = (character if raw_escapes else "") + self.next()
                pieces.append(value)
                words.raw(value)
            else:
                self.index += 1
                pieces.append(character)
                words.plain(character)
        if stop:
            raise WordError(f"there is no closing `{stop}`")
        return "".join(pieces), words.finish()

    def heredoc(self) -> str:
        """`<<` and the blanks after it belong to the word that follows."""
        match = re.compile(r"<<[\t\r ]*|<").match(self.text, self.index)
        assert match is not None
        self.index = match.end()
        return match.group()

    def single(self) -> str:
        end = self.text.find("'", self.index + 1)
        if end < 0:
            raise WordError("a single quote is not closed")
        inner = self.text[self.index + 1 : end]
        self.index = end + 1
        return f"'{inner}'" if self.lexer.raw_quotes else inner

    def double(self, raw_escapes: bool) -> str:
        self.index += 1
        pieces: list[str] = []
        while (character := self.next()) != '"':
            if not character:
                raise WordError("a double quote is not closed")
            if character == "$":
                self.index -= 1
                pieces.append(self.dollar(raw_escapes))
            elif character == self.lexer.escape:
                if raw_escapes:
                    pieces.append(character)
                following = self.peek()
                if following and following in ('"', "$", self.lexer.escape):
                    pieces.append(self.next())
                elif following and not raw_escapes:
                    pieces.append(character)
            else:
                pieces.append(character)
        inner = "".join(pieces)
        return f'"{inner}"' if self.lexer.raw_quotes else inner

    def name(self) -> str:
        first = self.peek()
        if first and first.isdecimal():
            match = re.compile(r"\d+").match(self.text, self.index)
        elif first and first in _SPECIAL:
            match = re.compile(r".", re.DOTALL).match(self.text, self.index)
        else:
            match = re.compile(r"\w*").match(self.text, self.index)
        assert match is not None
        self.index = match.end()
        return match.group()

    def dollar(self, raw_escapes: bool) -> str:
        self.index += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            return self.value(name, f"${name}")
        self.index += 1
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
            self.index += every
            pattern, text = self.until("/", True), self.until("}", True)
            if value is None:
                return f"${{{name}/{pattern}/{text}}}" if self.lexer.keep_unset else ""
            return self.limited(_replace_pattern(value, pattern, text, every=every))
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
        is_set = value is not None and (value != "" or not colon)
        match sign:
            case "-":
                return self.limited(value or "") if is_set else word
            case "+":
                return word if is_set else ""
            case "?":
                if not is_set:
                    raise WordError(f"{name}: {word or 'is not set' + (', or empty' if colon else '')}")
                return self.limited(value or "")
            case _:
                return self.limited(_trim_pattern(value or "", word, sign))

    def until(self, stop: str, raw_escapes: bool) -> str:
        try:
            return self.read(stop, raw_escapes)[0]
        except WordError:
            if not self.peek():
                raise WordError(f"`${{` has no `{stop}`") from None
            raise


def _too_long() -> WordError:
    return WordError(f"with its variables expanded it is longer than {MAX_EXPANDED:,} characters")


def _trim_pattern(value: str, word: str, sign: str) -> str:
    """`#` and `%`: returns the value without the shortest beginning or end that the pattern matches; doubled, without
    the longest."""
    greedy = word.startswith(sign)
    chunks = _chunks(word[1:] if greedy else word)
    if sign == "#":
        match = _expression(chunks, greedy=greedy).match(value)
        return value[match.end() :] if match else value
    # The end of a value is the beginning of the reversed value.
    match = _expression([chunk[::-1] for chunk in reversed(chunks)], greedy=greedy).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def _replace_pattern(value: str, pattern: str, text: str, *, every: bool) -> str:
    """Returns the value with the first longest match of a pattern replaced by a text; with `every`, each match from
    left to right."""
    chunks = _chunks(pattern)
    beginning, expression = _expression(chunks[:1], greedy=True), _expression(chunks, greedy=True)
    pieces: list[str] = []
    position = end = 0
    remaining = MAX_EXPANDED
    while first := beginning.search(value, position):
        match = expression.match(value, first.start())
        if match is None:  # the part after the first star does not follow, so it does not follow a later beginning
            break
        if match.end() > match.start() or match.start() != end or not pieces:
            pieces += [value[end : match.start()], text]
            end = match.end()
            remaining -= len(text)
            if remaining < 0:
                raise _too_long()
        if not every:
            break
        position = max(match.end(), match.start() + 1)
        if position > len(value):
            break
    return "".join((*pieces, value[end:]))


def _chunks(pattern: str) -> list[list[str]]:
    """Splits a pattern at each `*`. Returns the chunks as expressions of one character each: `?` matches any character,
    and a backslash before `*`, `?`, a backslash, `}` or `/` makes it literal. Raises WordError."""
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
    """Returns an expression for `match` that finds the longest (`greedy`) or the shortest beginning that the chunks,
    with a star between any two, match."""
    first, *others = ("".join(chunk) for chunk in chunks)
    expression = starred((first, *others), ".") if greedy else first + "".join(f"(?>.*?{chunk})" for chunk in others)
    return re.compile(expression, re.DOTALL)

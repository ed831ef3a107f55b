"""Bytes of a project's files -> text, by the rules of the programs that read them. Pure.

Rules: Python source has a coding cookie or is UTF-8 (PEP 263); TOML is UTF-8; requirement and ini files may begin with
a byte order mark or a coding cookie, as pip reads them (pip documentation, "Requirements File Format", Encoding).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from envtool import api

_Answer = TypeVar("_Answer")

_MARKS = (  # the mark of UTF-32 begins with that of UTF-16, so it comes first
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class FileReader(Protocol):
    """The part of `api.Project` that the pure steps use."""

    def read(self, path: str) -> str | None:
        """Returns the text of a file, by its path from the spec's directory; None if it does not exist."""


class TreeReader(FileReader, Protocol):
    """A project whose files can also be listed."""

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""


class WrongFileError(ValueError):
    """A file of the project cannot be used. `line` and `column` count from 1; `hint` says what to do."""

    def __init__(self, message: str, *, file: str, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.column, self.hint = file, line, column, hint


class DecodedFiles:
    """A project's files as text, decoded by the rules of this module."""

    def __init__(self, project: api.Project) -> None:
        self._project = project
        self._answers: dict[tuple[str, str], Any] = {}

    def once(self, question: tuple[str, str], answer: Callable[[], _Answer]) -> _Answer:
        """Returns what `answer` says of these files; it is asked once for each question, which names a function and a
        path. The envs of a spec share the answers: half of them have the same questions."""
        if question not in self._answers:
            self._answers[question] = answer()
        value: _Answer = self._answers[question]
        return value

    def read(self, path: str) -> str | None:
        """See api.Project. Each file is read once. Raises WrongFileError."""
        return self.once(("text", path), lambda: self._read(path))

    def _read(self, path: str) -> str | None:
        content = self._project.read_bytes(path)
        return content if content is None else decode_text(content, path)

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        return self._project.glob(pattern)

    def around(self, name: str) -> dict[str, str]:
        """See api.Project. Leaves out files that are no text."""
        texts = {}
        for path, content in self._project.around(name).items():
            try:
                texts[path] = decode_text(content, path)
            except WrongFileError:
                continue
        return texts


class SubdirectoryReader:
    """One directory of a project, as a project of its own."""

    def __init__(self, project: TreeReader, directory: str) -> None:
        self._project = project
        self._prefix = f"{directory}/"

    def read(self, path: str) -> str | None:
        """See api.Project."""
        return self._project.read(self._prefix + path)

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        return [path.removeprefix(self._prefix) for path in self._project.glob(self._prefix + pattern)]


def parse_python(text: str) -> ast.Module | None:
    """Returns the syntax tree of Python code, of which nothing is executed; None for what is no Python, or is nested
    too deep. Warnings of the compiler, as of an invalid escape, are not printed: they are for the code's own author."""
    import ast
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def decode_text(content: bytes, path: str) -> str:
    """Returns the text, with line feeds as line ends. Raises WrongFileError if the content is no text."""
    encoding, content = _encoding(content, path)
    lenient = path.endswith(
        (".cfg", ".ini", ".in")
    )  # only searched for words here; the tool that reads the file reports the error
    try:
        text = content.decode(encoding, "replace" if lenient else "strict")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        hint = "save it as UTF-8" + (", or say its encoding: `# -*- coding: … -*-`" if path.endswith(".py") else "")
        raise WrongFileError(f"{path} is not {encoding.upper()}", file=path, line=line, hint=hint) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(content: bytes, path: str) -> tuple[str, bytes]:
    """Returns the encoding, and the content without its byte order mark. Raises WrongFileError."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding, content[len(mark) :]
    if path.endswith(".toml"):
        return "utf-8", content
    for number, line in enumerate(content.split(b"\n", 2)[:2], 1):
        cookie = _COOKIE.match(line)
        if cookie:
            name = cookie.group(1).decode("ascii", "replace")
            try:
                "x".encode(name)  # raises for `rot13` and `hex`: they are codecs, but no text encodings
            except LookupError:
                message = f"{path} is said to be in `{name}`, which is no encoding"
                raise WrongFileError(message, file=path, line=number) from None
            return name, content
    return "utf-8", content


def line_of(text: str | None, name: str, key: str = "") -> int:
    """Returns the number, from 1, of the line that names something: under `key`, else in a table of sources, else in
    Poetry's tables, else anywhere; 1 if no line does."""
    name_pattern = re.escape(name) if "/" in name else re.sub(r"\\?-", "[-_.]+", re.escape(name))
    pattern = re.compile(rf"(?<![\w.-]){name_pattern}(?![\w-])", re.IGNORECASE)
    best_line, best_rank, header, current = 1, 0, "", ""
    for number, line in enumerate((text or "").splitlines(), 1):
        table_match, key_match = re.match(r"^\s*\[+([^\]]+)\]", line), re.match(r"^\s*([\w.-]+)\s*=", line)
        header = table_match.group(1) if table_match else header
        current = key_match.group(1) if key_match else "" if table_match else current
        if not pattern.search(line.partition(" #")[0]):
            continue
        rank = (
            4 if key and key in f"{header}.{current}" else 3 if "sources" in header else 2 if "poetry" in header else 1
        )
        if rank > best_rank and current != "name":
            best_line, best_rank = number, rank
    return best_line

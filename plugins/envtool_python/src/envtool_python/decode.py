"""Bytes of a project's files -> text, by the rules of those who read them. Pure.

Rules: Python source has a coding cookie or is UTF-8 (PEP 263); TOML is UTF-8; requirement and ini files may begin with
a byte order mark or a coding cookie, as pip reads them (pip documentation, "Requirements File Format", Encoding).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from envtool import api

_MARKS = (  # UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class FileReader(Protocol):
    """What the pure steps need of `api.Project`."""

    def read(self, path: str) -> str | None:
        """Text of a project-relative file, None when there is none."""


class TreeReader(FileReader, Protocol):
    """A project that can also be looked through."""

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""


class WrongFileError(ValueError):
    """A file of the project cannot be used: the message, where in it (line and column from 1), what to do."""

    def __init__(self, message: str, *, file: str, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.file, self.line, self.column, self.hint = file, line, column, hint


class DecodedFiles:
    """A project whose files are read by these rules."""

    def __init__(self, project: api.Project) -> None:
        self._project = project

    def read(self, path: str) -> str | None:
        """See api.Project. Raises WrongFileError."""
        content = self._project.read_bytes(path)
        return content if content is None else decode_text(content, path)

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        return self._project.glob(pattern)

    def around(self, name: str) -> dict[str, str]:
        """See api.Project; those that are no text are left out."""
        found = {}
        for path, content in self._project.around(name).items():
            try:
                found[path] = decode_text(content, path)
            except WrongFileError:
                continue
        return found


class SubdirectoryReader:
    """The part of a project that is in one directory, as if it were all."""

    def __init__(self, project: TreeReader, directory: str) -> None:
        self._project = project
        self._prefix = f"{directory}/"

    def read(self, path: str) -> str | None:
        """See api.Project."""
        return self._project.read(self._prefix + path)

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        return [path.removeprefix(self._prefix) for path in self._project.glob(self._prefix + pattern)]


def decode_text(content: bytes, path: str) -> str:
    """The text, each line ended as Python wants it. Raises WrongFileError where it is none."""
    encoding, content = _encoding(content, path)
    loose = path.endswith((".cfg", ".ini", ".in"))  # looked through for words: their owner will hear of it
    try:
        text = content.decode(encoding, "replace" if loose else "strict")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        hint = "save it as UTF-8" + (", or say its encoding: `# -*- coding: … -*-`" if path.endswith(".py") else "")
        raise WrongFileError(f"{path} is not {encoding.upper()}", file=path, line=line, hint=hint) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(content: bytes, path: str) -> tuple[str, bytes]:
    """The encoding, and the content without a byte order mark."""
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
                "x".encode(name)  # `rot13` and `hex` are codecs, but give no text
            except LookupError:
                said = f"{path} is said to be in `{name}`, which is no encoding"
                raise WrongFileError(said, file=path, line=number) from None
            return name, content
    return "utf-8", content


def line_of(text: str | None, name: str, key: str = "") -> int:
    """The line, from 1, that names something: under this key, else in a table of sources, else anywhere; 1 where none
    does."""
    words = re.escape(name) if "/" in name else re.sub(r"\\?-", "[-_.]+", re.escape(name))
    pattern = re.compile(rf"(?<![\w.-]){words}(?![\w-])", re.IGNORECASE)
    found, best, header, current = 1, 0, "", ""
    for number, line in enumerate((text or "").splitlines(), 1):
        table_, key_ = re.match(r"^\s*\[+([^\]]+)\]", line), re.match(r"^\s*([\w.-]+)\s*=", line)
        header = table_.group(1) if table_ else header
        current = key_.group(1) if key_ else "" if table_ else current
        if not pattern.search(line.partition(" #")[0]):
            continue
        rank = (
            4 if key and key in f"{header}.{current}" else 3 if "sources" in header else 2 if "poetry" in header else 1
        )
        if rank > best and current != "name":
            found, best = number, rank
    return found

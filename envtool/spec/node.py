"""YamlNode, a parsed value with its position, and Problems, which collects the errors of a spec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from envtool.errors import Problem, SpecError, closest_name
from envtool.model import Json, Where

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

Scalar: TypeAlias = "bool | int | float | str | None"

MAX_SHOWN = 100  # problems that are printed; more would not help
MAX_PROBLEMS = 1000  # reading ends after so many: the file is no spec
MAX_GUESSES = 20  # searches for a similar name: with thousands of names each takes some milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """One file of the spec. `order` counts files in the order of reading; `directory` is that of the file, relative to
    the project; `prefix` is put before the names that the file declares ("api/") if it is included by a name.
    """

    file: str
    lines: tuple[str, ...]
    order: int = 0
    directory: str = "."
    prefix: str = ""

    def resolve_name(self, name: str, known: Container[str]) -> str:
        """Returns the full name for a name in this file: the file's own declaration, else that of the nearest file that
        includes it."""
        prefix = self.prefix
        while prefix and prefix + name not in known:
            prefix = prefix[: prefix.rstrip("/").rfind("/") + 1]
        return prefix + name


class YamlNode:
    """A scalar, list or mapping with its position. `line` and `column` count from 1; `width` is the number of
    characters on its first line; `size` is the number of nodes in it, with aliases expanded.

    Treat it as frozen. It is no dataclass because a spec has a hundred thousand nodes: this takes half the time.
    """

    __slots__ = ("column", "keys", "line", "size", "source", "text", "value", "width")

    def __init__(
        self,
        value: Scalar | list[YamlNode] | dict[str, YamlNode],
        source: SpecFile,
        line: int,
        column: int,
        width: int = 1,
        text: str = "",
        keys: dict[str, YamlNode] | None = None,
        size: int = 1,
    ) -> None:
        self.value = value
        self.source = source
        self.line = line
        self.column = column
        self.width = width
        self.text = text  # of a plain scalar, as written: "3.10", where the value is the number 3.1
        self.keys = keys  # of a mapping: the nodes of its keys
        self.size = size

    @property
    def where(self) -> Where:
        return Where(file=self.source.file, line=self.line, column=self.column)

    def mapping(self) -> dict[str, YamlNode]:
        """Returns the entries; none if the node is no mapping (the schema has reported that)."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> list[YamlNode]:
        """Returns the members; none if the node is no list."""
        return self.value if isinstance(self.value, list) else []

    def get(self, key: str) -> YamlNode | None:
        return self.value.get(key) if isinstance(self.value, dict) else None

    def key(self, name: str) -> YamlNode:
        """Returns the node of the key `name`, for an error that points at the key; the mapping itself if there is
        none."""
        return self.keys[name] if self.keys and name in self.keys else self


def to_plain(node: YamlNode) -> Json:
    """Returns the value without positions, for the schema and for kinds."""
    value = node.value
    if isinstance(value, dict):
        return {key: to_plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [to_plain(child) for child in value]
    return value


@dataclass(slots=True, kw_only=True)
class Problems:
    """The errors in a spec that have been noted so far. `noted` is keyed by file order, line, column and message."""

    noted: dict[tuple[int, int, int, str], Problem] = field(default_factory=dict)
    typed: set[tuple[int, int, int]] = field(default_factory=set)
    surprises: dict[tuple[int, int, int], str] = field(default_factory=dict)
    guesses: int = MAX_GUESSES

    def add(self, node: YamlNode, message: str, *, code: str, hint: str = "") -> None:
        """Notes an error at `node`. The same message at the same position (through an alias, or in each point of a
        matrix) is noted once. Raises SpecError if there are MAX_PROBLEMS.
        """
        where = node.where
        position = (node.source.order, where.line, where.column)
        if code == "type":
            if position in self.typed:  # a wrong type is reported once, by the schema or by the kind
                return
            self.typed.add(position)
        if code == "yaml-surprise":
            self.surprises[position] = message
        elif position in self.surprises:  # an error of the schema or a kind knows better what to write there
            self.noted.pop((*position, self.surprises.pop(position)), None)
        lines = node.source.lines
        text = lines[where.line - 1] if where.line <= len(lines) else ""
        problem = Problem(where=where, message=message, code=code, hint=hint, text=text, width=node.width)
        self.noted.setdefault((*position, message), problem)
        if len(self.noted) >= MAX_PROBLEMS:
            self.raise_any()

    def include(self, order: int, problems: Iterable[Problem]) -> None:
        """Adds problems that a plugin reported about other files; they are sorted at the file `order`."""
        for problem in problems:
            self.noted.setdefault((order, problem.where.line, problem.where.column, problem.message), problem)

    def nearest_hint(
        self,
        name: str,
        known: Mapping[str, YamlNode | None] | Iterable[str],
        prefix: str = "did you mean",
        listed: int = 12,
    ) -> str:
        """Returns a hint with the known name that is most like `name`, and its position if it has one; else a list of
        the known names if there are at most `listed`; else ""."""
        names = list(known)
        if self.guesses and names:
            self.guesses -= 1
            if len(names) > 500:  # of thousands, compare only those that a typing error could explain
                names = [
                    n for n in names if abs(len(n) - len(name)) <= 2 and (n[:1] == name[:1] or n[-1:] == name[-1:])
                ]
            close = closest_name(name, names[:500])
            if close:
                node = known[close] if hasattr(known, "keys") else None  # type: ignore[index]
                position = f" ({node.source.file}:{node.line})" if isinstance(node, YamlNode) else ""
                return f"{prefix} `{close}`?{position}"
        if 0 < len(names) <= listed:
            return "known: " + ", ".join(f"`{n}`" for n in sorted(names))
        return ""

    def raise_any(self) -> None:
        """Raises SpecError with all problems, in the order of the files, if there are any."""
        if not self.noted:
            return
        ordered = [self.noted[key] for key in sorted(self.noted)]
        hidden = len(ordered) - MAX_SHOWN
        if hidden > 0:
            last = ordered[MAX_SHOWN]
            ordered = ordered[:MAX_SHOWN]
            more = f"and {hidden} more errors from here on, not shown"
            ordered.append(Problem(where=last.where, message=more, code="more", text=last.text, width=0))
        raise SpecError(tuple(ordered))

"""A parsed value that knows where it stands, and the collector of what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from envtool.errors import Problem, SpecError, closest_name
from envtool.model import Json, Where

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

Scalar: TypeAlias = "bool | int | float | str | None"

MAX_SHOWN = 100  # problems; what follows after so many is noise
MAX_PROBLEMS = 1000  # then reading ends: this is no spec
MAX_GUESSES = 20  # near names looked for: each costs up to some milliseconds when there are thousands of names


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """One file of the spec. `order` counts files in the order of reading; `directory` is the file's, relative to
    the project; `prefix` comes before the names that it declares ("api/"), where it is included by a name.
    """

    file: str
    lines: tuple[str, ...]
    order: int = 0
    directory: str = "."
    prefix: str = ""

    def meant(self, name: str, known: Container[str]) -> str:
        """What a name that is written here stands for: one of this file's own, else of those that include it."""
        prefix = self.prefix
        while prefix and prefix + name not in known:
            prefix = prefix[: prefix.rstrip("/").rfind("/") + 1]
        return prefix + name


class YamlNode:
    """A scalar, list or mapping with its place. `line` and `column` count from 1; `width` is in characters, on its
    first line; `size` is the number of nodes in it, aliases expanded.

    Not a dataclass: a spec has a hundred thousand of them, and this is half the time. Treated as frozen all the same.
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
        self.text = text  # of a plain scalar, as written: what `3.10` was before it was a number
        self.keys = keys  # of a mapping: the nodes of its keys
        self.size = size

    @property
    def where(self) -> Where:
        return Where(file=self.source.file, line=self.line, column=self.column)

    def mapping(self) -> dict[str, YamlNode]:
        """The entries, none when it is not a mapping (then the schema has already said so)."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> list[YamlNode]:
        """The members, none when it is not a list."""
        return self.value if isinstance(self.value, list) else []

    def get(self, key: str) -> YamlNode | None:
        return self.value.get(key) if isinstance(self.value, dict) else None

    def key(self, name: str) -> YamlNode:
        """The node of the key `name`, for pointing at the key rather than at its value."""
        return self.keys[name] if self.keys and name in self.keys else self


def to_plain(node: YamlNode) -> Json:
    """The bare value, for the schema and for kinds."""
    value = node.value
    if isinstance(value, dict):
        return {key: to_plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [to_plain(child) for child in value]
    return value


@dataclass(slots=True, kw_only=True)
class Problems:
    """All that is wrong so far."""

    found: dict[tuple[int, int, int, str], Problem] = field(default_factory=dict)
    typed: set[tuple[int, int, int]] = field(default_factory=set)
    surprises: dict[tuple[int, int, int], str] = field(default_factory=dict)
    guesses: int = MAX_GUESSES

    def add(self, node: YamlNode, message: str, *, code: str, hint: str = "") -> None:
        """Say that something is wrong at `node`. What stands there twice (through an alias, or in each point of a
        matrix) is said once. Raises SpecError when there are FOUND.
        """
        where = node.where
        place = (node.source.order, where.line, where.column)
        if code == "type":
            if place in self.typed:  # a wrong type is told once, by the schema or by the kind
                return
            self.typed.add(place)
        if code == "yaml-surprise":
            self.surprises[place] = message
        elif place in self.surprises:  # whoever knows what is wanted there says what to write
            self.found.pop((*place, self.surprises.pop(place)), None)
        lines = node.source.lines
        text = lines[where.line - 1] if where.line <= len(lines) else ""
        problem = Problem(where=where, message=message, code=code, hint=hint, text=text, width=node.width)
        self.found.setdefault((*place, message), problem)
        if len(self.found) >= MAX_PROBLEMS:
            self.raise_any()

    def include(self, order: int, problems: Iterable[Problem]) -> None:
        """Take over what a plugin reported about a file of its own, sorted after `order`."""
        for problem in problems:
            self.found.setdefault((order, problem.where.line, problem.where.column, problem.message), problem)

    def nearest_hint(
        self,
        name: str,
        known: Mapping[str, YamlNode | None] | Iterable[str],
        prefix: str = "did you mean",
        listed: int = 12,
    ) -> str:
        """A hint naming what is most like `name`, with its place when it has one; else the known ones if they are no
        more than `listed`."""
        names = list(known)
        if self.guesses and names:
            self.guesses -= 1
            if len(names) > 500:  # thousands: look only at what could be a slip of the finger
                names = [
                    n for n in names if abs(len(n) - len(name)) <= 2 and (n[:1] == name[:1] or n[-1:] == name[-1:])
                ]
            close = closest_name(name, names[:500])
            if close:
                place = known[close] if hasattr(known, "keys") else None  # type: ignore[index]
                at = f" ({place.source.file}:{place.line})" if isinstance(place, YamlNode) else ""
                return f"{prefix} `{close}`?{at}"
        if 0 < len(names) <= listed:
            return "known: " + ", ".join(f"`{n}`" for n in sorted(names))
        return ""

    def raise_any(self) -> None:
        """Raise SpecError, in the order of the files, if there is anything."""
        if not self.found:
            return
        ordered = [self.found[key] for key in sorted(self.found)]
        rest = len(ordered) - MAX_SHOWN
        if rest > 0:
            last = ordered[MAX_SHOWN]
            ordered = ordered[:MAX_SHOWN]
            more = f"and {rest} more errors from here on, not shown"
            ordered.append(Problem(where=last.where, message=more, code="more", text=last.text, width=0))
        raise SpecError(tuple(ordered))

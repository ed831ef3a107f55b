"""Parses YAML text into YamlNodes, values with their positions, and collects the errors of a spec (Problems). It works
on PyYAML's events, so that limits hold *before* memory grows.

Scalars are read by YAML 1.2's core schema, as editors do. Scalars that YAML 1.1 readers take for another value (`on`,
`0644`, `1:30`) are errors with an explanation: users need not know the version of YAML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml

from envtool.errors import Problem, SpecError, closest_name
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json, Where

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml: eight times slower, otherwise the same
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Scalar: TypeAlias = "bool | int | float | str | None"

MAX_SHOWN = 100  # problems that are printed; more would not help
MAX_PROBLEMS = 1000  # reading ends after so many: the file is no spec
MAX_GUESSES = 20  # searches for a similar name: with thousands of names each takes some milliseconds

MAX_BYTES = 4 * 1024 * 1024  # of one file
MAX_NODES = 150_000  # of one file, aliases expanded
MAX_DEPTH = 40
_DEEP = f"nested more than {MAX_DEPTH} deep"
MAX_SCALAR = 256 * 1024  # characters of one scalar
MAX_KEY = 512  # characters: a key can be an image's name with tag and digest, which has at most 455

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MEANINGS = {"on": "true", "yes": "true", "off": "false", "no": "false"}
_WORDS = {spelt: _MEANINGS[word] for word in _MEANINGS for spelt in (word, word.capitalize(), word.upper())}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_OTHER_NUMBER = re.compile(
    r"[-+]?(?:0[0-9_]+|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9]+_[0-9_.]*|[1-9][0-9]*(?::[0-5]?[0-9])+(?:\.[0-9]*)?|[0-9]{19,})\Z"
)
_MODE = re.compile(r"0o?[0-7]{3,4}")  # probably meant as permissions of a file
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_LINES = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_NONPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBERISH = frozenset("+-.0123456789")
_TAGS = {
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:map": dict,
    "tag:yaml.org,2002:seq": list,
}
_UNTAG = "remove it; text that begins with `!` is put in quotes"


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
        listed: int = 24,
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


# ---- reading ---------------------------------------------------------------------------------------------------------


class ParsingStopped(Exception):  # noqa: N818 - never leaves this module
    """Parsing cannot go on; the problem has been noted."""


def make_source(text: str, file: str, *, order: int = 0, directory: str = ".", prefix: str = "") -> SpecFile:
    """Returns the SpecFile for `text`, split into lines as YAML counts them."""
    return SpecFile(
        file=file, lines=tuple(_LINES.split(text[:MAX_BYTES])), order=order, directory=directory, prefix=prefix
    )


def parse(text: str, source: SpecFile, problems: Problems, reader: YamlReader | None = None) -> YamlNode | None:
    """Returns the root of the document, or None if it cannot be parsed. Notes errors; after some, such as a duplicate
    key, parsing goes on. `reader` is for documents that are read by other rules than a spec."""
    start = YamlNode(None, source, 1, 1, width=0)
    if len(text) > MAX_BYTES:
        problems.add(start, f"the file is larger than {MAX_BYTES // 2**20} MiB", code="limit")
        return None
    try:
        # as yaml.parse does, which asks for each event twice; there is no file that the loader would have to close
        return (reader or YamlReader(source, problems)).document(iter(_Loader(text).get_event, None))
    except ParsingStopped:
        return None
    except yaml.MarkedYAMLError as error:
        if "maximum nesting depth" in str(error.problem):  # libyaml's own limit, since 0.2.6
            problems.add(start, _DEEP, code="limit")
        else:
            from envtool.spec import yaml_errors

            mistake = yaml_errors.explain(error, source.lines, _Loader)
            at = YamlNode(None, source, mistake.line, mistake.column, mistake.width)
            problems.add(at, mistake.message, code="yaml", hint=mistake.hint)
        return None
    except (yaml.YAMLError, UnicodeEncodeError):  # a character that YAML does not allow
        prefix = _NONPRINTABLE.split(text, maxsplit=1)[0]
        lines = _LINES.split(prefix)
        at = YamlNode(None, source, len(lines), len(lines[-1]) + 1)
        character = f"U+{ord(text[len(prefix)]):04X}" if len(prefix) < len(text) else "one"
        problems.add(
            at, f"a character that YAML does not allow: {character}", code="yaml", hint="write it as an escape"
        )
        return None
    except RecursionError:  # raised only by the scanner in pure Python
        problems.add(start, _DEEP, code="limit")
        return None


class _Frame:
    """A list or mapping that is being parsed: its value is either `members` or `mapping`, whose keys are in `keys`.
    `key` is the key whose value comes next."""

    __slots__ = ("anchor", "key", "keys", "mapping", "members", "node")

    def __init__(self, node: YamlNode, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: YamlNode | None = None
        self.members = node.value if isinstance(node.value, list) else None
        self.mapping = node.value if isinstance(node.value, dict) else {}
        self.keys = node.keys if node.keys is not None else {}


class YamlReader:
    """Composes one document, in a loop over events with a stack of its own, so that nesting causes no recursion.

    What a subclass may decide otherwise: `anchor` (an anchor that occurs twice), `merge` (`<<`), `is_replaceable` (a
    key that occurs twice), `surprise` and `refuse_tag`."""

    def __init__(self, source: SpecFile, problems: Problems) -> None:
        self.source = source
        self.problems = problems
        self.anchors: dict[str, YamlNode | None] = {}  # None: its value is still being parsed
        self.begun: dict[str, YamlNode] = {}  # the position of each anchor
        self.stack: list[_Frame] = []
        self.total = 0
        self.root: YamlNode | None = None

    def document(self, events: Iterator[Any]) -> YamlNode | None:
        documents = 0
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                if event.anchor is not None:
                    self.anchor(event)
                self.put(self.scalar(event), event.anchor)
            elif kind is yaml.MappingStartEvent:
                self.open(event, {}, dict)
            elif kind is yaml.SequenceStartEvent:
                self.open(event, [], list)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.close()
            elif kind is yaml.AliasEvent:
                self.alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self.refuse(
                        self.at(event, 3), "a second document: there is one in a file", "yaml", "remove the `---`"
                    )
        return self.root

    # -- events --

    def at(self, event: Any, width: int = 1) -> YamlNode:
        mark = event.start_mark
        return YamlNode(None, self.source, mark.line + 1, mark.column + 1, width)

    def refuse(self, node: YamlNode, message: str, code: str, hint: str = "") -> NoReturn:
        self.problems.add(node, message, code=code, hint=hint)
        raise ParsingStopped

    def open(self, event: Any, value: dict[str, YamlNode] | list[YamlNode], expected: type) -> None:
        mark, tag, anchor = event.start_mark, event.tag, event.anchor
        node = YamlNode(value, self.source, mark.line + 1, mark.column + 1, 1)
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(node, _DEEP, "limit")
        if tag is not None and _TAGS.get(tag) is not expected:
            self.refuse_tag(node, tag)
        if self.stack and self.stack[-1].key is None and self.stack[-1].members is None:
            self.refuse_key(node)
        if expected is dict:
            node.keys = {}
        if anchor:
            self.anchor(event)
            self.anchors[anchor] = None
        self.stack.append(_Frame(node, anchor))

    def refuse_key(self, node: YamlNode) -> NoReturn:
        """Notes a list or mapping in place of a key, which is usually a template without quotes. Raises
        ParsingStopped."""
        text = self.source.lines[node.line - 1]
        if text[node.column - 2 : node.column] == "{{":
            here = YamlNode(None, self.source, node.line, node.column - 1, 2)
            end = text.find("}}", node.column)
            written = f': "{text[node.column - 2 : end + 2]}"' if end > 0 and '"' not in text else ""
            hint = f"is a quote missing around `{{{{`? Put the whole value in quotes{written}"
            self.refuse(here, "`{{` begins a mapping in YAML", "yaml", hint)
        self.refuse(node, "a key that is not plain text", "yaml", "keys are words: write the key out")

    def anchor(self, event: Any) -> None:
        """Records the anchor of a value. Notes an anchor that occurs twice: YAML readers disagree on its meaning."""
        if event.anchor is None:
            return
        here = self.at(event, len(event.anchor) + 1)
        if event.anchor in self.begun:
            hint = f"the first is in line {self.begun[event.anchor].line}: give this one another name"
            self.problems.add(here, f"the anchor `{event.anchor}` is there twice", code="duplicate", hint=hint)
        self.begun.setdefault(event.anchor, here)

    def close(self) -> None:
        frame = self.stack.pop()
        self.put(frame.node, frame.anchor, counted=frame.node.size - 1)

    def alias(self, event: Any) -> None:
        here = self.at(event, len(event.anchor) + 1)
        if event.anchor not in self.anchors:
            known = [name for name, node in self.anchors.items() if node is not None]
            hint = self.problems.nearest_hint(event.anchor, known)
            hint = f"{hint}; text that begins with `*` is put in quotes" if hint else "put the value in quotes"
            self.refuse(here, f"`*` begins an alias in YAML, and no anchor is called `{event.anchor}`", "yaml", hint)
        target = self.anchors[event.anchor]
        if target is None:
            self.refuse(here, f"`*{event.anchor}` contains itself", "yaml", "write the value out")
        if self.stack and self.stack[-1].key is None and self.stack[-1].members is None:
            self.refuse(here, "an alias as a key", "yaml", "write the key out")
        self.put(target, None, at=here)

    def put(self, node: YamlNode, anchor: str | None, counted: int = 0, at: YamlNode | None = None) -> None:
        """Adds a complete value to the list or mapping that contains it."""
        self.total += node.size - counted
        if self.total > MAX_NODES:
            self.refuse(at or node, f"more than {MAX_NODES:,} values (each use of an alias counts)", "limit")
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.node.size += node.size
        key = frame.key
        if frame.members is not None:
            frame.members.append(node)
        elif key is None:
            frame.key = node
        else:
            frame.key = None
            self.entry(frame, key, node)

    def entry(self, frame: _Frame, key: YamlNode, value: YamlNode) -> None:
        mapping, keys, name = frame.mapping, frame.keys, key.value
        if not isinstance(name, str):
            key_text = key.text or "null"
            hint = f'write it in quotes: "{key_text}"' if key.text else "write a name before the `:`"
            self.problems.add(
                key, f"the key `{key_text}` is {describe_type(name)}, not text", code="yaml-surprise", hint=hint
            )
            name = key_text
        elif name == "<<" and key.text:
            self.merge(frame.node, key, value)
            return
        elif len(name) > MAX_KEY:
            self.problems.add(key, f"a key of more than {MAX_KEY} characters", code="limit")
            return
        if name in mapping and not self.is_replaceable(frame.node, name):
            hint = f"the first is in line {keys[name].line}"
            self.problems.add(key, f"the key `{name}` is there twice", code="duplicate", hint=hint)
            return
        mapping[name] = value
        keys[name] = key

    def merge(self, mapping: YamlNode, key: YamlNode, value: YamlNode) -> None:
        """Notes that a mapping is merged into another."""
        hint = "use `extends:` for envs; a plain alias (`key: *name`) works too"
        self.problems.add(key, "YAML merge keys are not supported", code="yaml", hint=hint)

    def is_replaceable(self, mapping: YamlNode, name: str) -> bool:
        """Returns whether a key that a mapping has already is no mistake: this value takes the place of the other."""
        return False

    def refuse_tag(self, node: YamlNode, tag: str) -> None:
        """Notes a tag that is not that of plain YAML."""
        self.problems.add(node, f"a YAML tag: `{_tag(tag)}`", code="yaml", hint=_UNTAG)

    def scalar(self, event: Any) -> YamlNode:
        start, end, text = event.start_mark, event.end_mark, event.value
        line, column = start.line, start.column
        width = end.column - column if end.line == line else 1
        node = YamlNode(text, self.source, line + 1, column + 1, width)
        if len(text) > MAX_SCALAR:
            self.refuse(node, f"a value of more than {MAX_SCALAR // 1024} KiB", "limit", "put it into a file")
        tag = event.tag
        if tag is not None and tag != "!" and _TAGS.get(tag) is not str:
            self.refuse_tag(node, tag)
        elif event.implicit[0]:  # plain, without a tag
            node.text = text
            node.value = self.resolve(text, node)
        return node

    def surprise(self, node: YamlNode, message: str, hint: str) -> None:
        """Notes a plain scalar that YAML readers disagree on."""
        self.problems.add(node, message, code="yaml-surprise", hint=hint)

    def resolve(self, text: str, node: YamlNode) -> Scalar:
        """Returns the value of a plain scalar. Notes a scalar that YAML readers disagree on."""
        if text in _NULLS:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        if text in _WORDS:
            meaning = _WORDS[text]
            hint = f'write {meaning}, or "{text}" in quotes'
            self.surprise(node, f"`{text}` is {meaning} to some YAML readers and text to others", hint)
            return text
        if text[0] not in _NUMBERISH:
            return text
        if _INT.match(text):
            return int(text)
        if _OTHER_NUMBER.match(text) or _SPECIAL.match(text):
            hint = f'write it in quotes: "{text}"'
            hint += "" if _MODE.fullmatch(text) else ", or as a plain decimal number"
            message = f"`{text}` is a number to some YAML readers and another, or text, to others"
            self.surprise(node, message, hint)
            return text
        return float(text) if _FLOAT.match(text) else text


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def describe_type(value: object) -> str:
    """Returns the type of a value in words: "a number", "a list" …"""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"

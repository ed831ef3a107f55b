"""Explains why a text is not YAML. The library's own messages speak of tokens, and often point far below the mistake.
The position that is returned is the one to correct: the bracket or quote that is not closed, the key without a colon.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SCANNED = 256 * 1024  # characters: a longer text is not scanned for the token before the error
MAX_SHOWN = 60  # characters of a value that a hint repeats in quotes

_CLOSERS = {"{": "}", "[": "]"}
_KINDS = {"{": "mapping", "[": "list"}
_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_KEYED = re.compile(r"\s*(?:- +)*(?:[^\s:#][^:#]*:\s+)?")  # the text of a line before its value
_ITEM = re.compile(r"\s*- ")
_COMMENT = re.compile(r"\s#.*")
_TWO_KEYS = re.compile(r"\s*(?:- +)*(?P<outer>[^\s:#\"',{}]+):\s+(?P<rest>(?P<inner>[^\s:#\"',{}\[\]]+):(?:\s.*|$))")
# keys whose value is a mapping, or a list of mappings; and keys that only such a value has
_HOLD_MAPPINGS = frozenset(("envs", "bases", "layers", "defaults", "base", "tasks", "set", "matrix"))
_IN_MAPPINGS = frozenset(("base", "layers", "tasks", "set", "matrix", "extends", "run", "outputs", "language"))
_HOLD_TEXT = frozenset(("run", "test", "build", "lint", "check"))
_UNSPACED = re.compile(r"\s*([A-Za-z0-9_.-]+):(?=[^\s/:])(.*)")


class SyntaxMistake(NamedTuple):
    """A syntax error: its position (line and column from 1, width in characters), the message and the hint."""

    line: int
    column: int
    width: int
    message: str
    hint: str


def explain(error: yaml.MarkedYAMLError, lines: Sequence[str], loader: Any) -> SyntaxMistake:
    """Returns the mistake behind a parser's error. `lines` are those of the whole text; `loader` is the parser that
    raised the error."""
    mark = error.problem_mark or error.context_mark
    at = (mark.line, mark.column) if mark else (0, 0)
    begun = (error.context_mark.line, error.context_mark.column) if error.context_mark else at
    case = _ErrorContext(lines, at, begun, str(error.problem or ""), str(error.context or ""), loader)
    line = case.line
    if "tab" in case.problem.split() or "\t" in line[: len(line) - len(line.lstrip())] or case.here == "\t":
        column = max(line.find("\t"), 0)
        return SyntaxMistake(
            at[0] + 1, column + 1, 1, "a tab: YAML is indented with spaces", "replace the tab by spaces"
        )
    for needle, handler in _ERROR_HANDLERS:
        if needle in case.problem or needle in case.context:
            return handler(case)
    return case.mistake("this is no YAML", "is the indentation right, and each quote and bracket closed?")


@dataclass(frozen=True, slots=True)
class _ErrorContext:
    """One error of the parser. Positions count from 0: `at` is where parsing ended, `begun` is where the value that was
    being parsed begins."""

    lines: Sequence[str]
    at: tuple[int, int]
    begun: tuple[int, int]
    problem: str
    context: str
    loader: Any

    @property
    def line(self) -> str:
        return self.text(self.at[0])

    @property
    def here(self) -> str:
        """The character at which parsing ended; "" at the end of a line."""
        return self.line[self.at[1] : self.at[1] + 1]

    @property
    def opened(self) -> str:
        """The first character of the value that was being parsed."""
        line, column = self.begun
        return self.text(line)[column : column + 1]

    def text(self, number: int) -> str:
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    def mistake(self, message: str, hint: str, at: tuple[int, int] | None = None, width: int = 1) -> SyntaxMistake:
        line, column = at or self.at
        return SyntaxMistake(line + 1, column + 1, width, message, hint)

    def above(self) -> int:
        """Returns the number of the nearest line above that is neither blank nor a comment; -1 if there is none."""
        number = self.at[0] - 1
        while number >= 0 and (not self.text(number).strip() or self.text(number).lstrip().startswith("#")):
            number -= 1
        return number

    def token(self) -> Any:
        """Returns the last token before the error; None if there is none, or if the text is too long to scan."""
        last = None
        if sum(map(len, self.lines)) > MAX_SCANNED:
            return None
        try:
            for token in yaml.scan("\n".join(self.lines), Loader=self.loader):
                if (token.end_mark.line, token.end_mark.column) > self.at:
                    break
                if (
                    token.end_mark.index > token.start_mark.index
                ):  # the token for an indentation's end has no characters
                    last = token
        except yaml.YAMLError:
            pass
        return last

    def in_quotes(self, column: int) -> str:
        """Returns the hint to put the value around a column of the line in quotes."""
        line = self.line
        masked = _TEMPLATE.sub(lambda match: "x" * len(match[0]), line)  # its braces are no brackets of YAML
        head = masked[:column]
        flow = max((head.rfind(c) for c in "[{" if head.count(c) > head.count(_CLOSERS[c])), default=-1)
        if flow >= 0:  # inside brackets the value ends at the next comma or bracket
            start = max(flow, head.rfind(","), head.rfind(": ") + 1) + 1
            end = re.search(r"[],}]", masked[column:])
            value = line[start : column + end.start() if end else len(line)]
        else:
            before = _KEYED.match(line)
            value = line[before.end() if before and before.end() <= column else column :]
            value = value if value[:1] in ("'", '"') else _COMMENT.sub("", value)
        value = value.strip()
        if not value or len(value) > MAX_SHOWN:
            return "put the value in quotes"
        inner = value[1:-1]
        if len(value) > 2 and value[0] == value[-1] and value[0] in "\"'" and value[0] in inner:
            value = inner  # 'it's': the first and last quote are meant as quotes
        quote = next((mark for mark in "\"'" if mark not in value and (mark == "'" or "\\" not in value)), "")
        if quote:
            return f"put the whole value in quotes: {quote}{value}{quote}"
        return "write `|` after the `:`, and the text on the line below, indented"

    def as_mapping(self, column: int, *, flow: bool) -> str:
        """Returns the hint for a line, or (`flow`) an entry in brackets, with two keys, the second of which ends at a
        column: braces where the value is a mapping, quotes where it is text; both where only the author knows."""
        head = _TEMPLATE.sub(lambda match: "x" * len(match[0]), self.line)[:column]
        begins = max(head.rfind(mark) for mark in "[{,") + 1 if flow else 0
        quotes, text = self.in_quotes(column), self.line[begins:]
        keys = _TWO_KEYS.match(text[: _flow_end(text)] if flow else _COMMENT.sub("", text))
        if not keys or (keys["outer"] in _HOLD_TEXT and keys["inner"] not in _IN_MAPPINGS):
            return quotes
        sure = keys["outer"] in _HOLD_MAPPINGS or keys["inner"] in _IN_MAPPINGS
        mapping = _in_braces(keys["rest"].strip())
        if keys["outer"] == "layers" and (flow or _indent(self.line)):  # of an env: a list
            mapping = mapping and f"[{mapping}]"
        if not mapping:
            return f"write `{keys['inner']}:` on a line of its own below `{keys['outer']}:`" if sure else quotes
        written = f"write `{keys['outer']}: {mapping}`"
        return written if sure else f"{quotes}; if it is a mapping, {written}"


def _flow_end(text: str) -> int:
    """Returns where a value in brackets ends: at the comma or the bracket that none in the text opens."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if depth < 0 or (character == "," and not depth):
            return position
    return len(text)


def _in_braces(text: str) -> str:
    """Returns `key: value` with braces around it, and around a value that is a key and a value itself; "" if this is no
    YAML, or too long for a hint."""
    key, _, value = text.partition(":")
    value = value.strip()
    nested = _TWO_KEYS.match(f"{key}: {value}")
    value = _in_braces(value) if nested else value
    written = f"{{{key}: {value}}}"
    if not value or len(written) > MAX_SHOWN:
        return ""
    try:
        yaml.compose(written, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return ""
    return written


# ---- the kinds of mistake --------------------------------------------------------------------------------------------


def _open_quote(case: _ErrorContext) -> SyntaxMistake:
    return case.mistake(
        f"the quote {case.opened} is not closed", f"write {case.opened} where the text ends", case.begun
    )


def _escape(case: _ErrorContext) -> SyntaxMistake:
    column = case.at[1] if case.here == "\\" else case.line.rfind("\\", 0, case.at[1] + 1)
    escape = case.line[column : column + 2]
    hint = f"write `\\{escape}` for a backslash, or put the text in single quotes"
    return case.mistake(f"`{escape}` means nothing in double quotes", hint, (case.at[0], max(column, 0)), 2)


def _brackets(case: _ErrorContext) -> SyntaxMistake:
    """In a list or mapping in brackets, a value is followed by neither a comma nor the closing bracket."""
    opener, closer = case.opened, _CLOSERS.get(case.opened, "]")
    head = case.line[: case.at[1]]
    if case.here and case.here in "]}":
        message = f"`{case.here}` where the `{opener}` of line {case.begun[0] + 1} ends"
        return case.mistake(message, f"write `{closer}` before it, or in its place")
    if case.here == ":" and _second_colon(head):
        return case.mistake("a second `: ` in one value", case.as_mapping(case.at[1], flow=True))
    below = case.at[0] > case.begun[0]
    first = below and not case.line[: case.at[1]].strip()
    outside = first and _indent(case.line) <= _indent(case.text(case.begun[0]))  # the next key, or an item
    if outside or (below and (not case.line.strip() or case.here == ":")):
        end = f"write `{closer}` where the {_KINDS.get(opener, 'list')} ends"
        return case.mistake(f"the `{opener}` is not closed", end, case.begun)
    if first:
        return case.mistake(f"a `,` or `{closer}` is missing here", f"write `,` at the end of line {case.above() + 1}")
    return case.mistake(f"a `,` or `{closer}` is missing here", case.in_quotes(case.at[1]))


def _second_colon(head: str) -> bool:
    """Returns whether the text before an error has a key with its colon: in the line, or in the last entry in
    brackets."""
    entry = re.split(r"[\[{,]", head)[-1] if re.search(r"[\[{]", head) else head
    return re.search(r":\s", entry) is not None


def _colon(case: _ErrorContext) -> SyntaxMistake:
    """A `: ` at a position where no key can be."""
    line, above = case.line, case.above()
    if re.search(r":\s", line[: case.at[1]]):
        return case.mistake("a second `: ` in one line", case.as_mapping(case.at[1], flow=False))
    before = case.text(above)
    indent, other = _indent(line), _indent(before)
    if above < 0 or re.search(r":(\s|$)", before):
        if indent > other:
            return _overindented(case, above)
        return case.mistake("a `: ` where no key can be", case.in_quotes(case.at[1]))
    return _no_colon(case, (above, other))


def _overindented(case: _ErrorContext, above: int) -> SyntaxMistake:
    """A line that is indented deeper than a line above whose key has a value already."""
    indent = _indent(case.line)
    message = f"the line is indented deeper than line {above + 1}, which has a value already"
    hint = f"{_indent_widths([_indent(case.text(above))])}, as that line is"
    return case.mistake(message, hint, (case.at[0], indent), max(1, len(case.line.rstrip()) - indent))


def _no_colon(case: _ErrorContext, at: tuple[int, int]) -> SyntaxMistake:
    line = case.text(at[0])
    text = line[at[1] :].rstrip()
    hint = "write `key: value`; is a quote or a bracket left open above?"
    message = "a key without `:`"
    if match := _UNSPACED.match(line):
        message, hint = "a `:` without a blank after it", f"write `{match[1]}: {match[2][:MAX_SHOWN].strip()}`"
    elif word := re.match(r"[A-Za-z0-9_.-]+", text):
        hint = f"write `{word[0]}: …`; is a quote or a bracket left open above?"
    return case.mistake(message, hint, at, max(1, len(text)))


def _missing_colon(case: _ErrorContext) -> SyntaxMistake:
    return _no_colon(case, case.begun)


def _reserved(case: _ErrorContext) -> SyntaxMistake:
    what = "a backtick" if case.here == "`" else f"`{case.here}`"
    return case.mistake(f"{what} cannot begin a value", case.in_quotes(case.at[1]))


def _alias(case: _ErrorContext) -> SyntaxMistake:
    case = _ErrorContext(case.lines, case.begun, case.begun, case.problem, case.context, case.loader)
    what = {"*": "an alias", "&": "an anchor"}.get(case.here, "a name")
    return case.mistake(f"`{case.here}` begins {what} in YAML", case.in_quotes(case.at[1]))


def _block_text(case: _ErrorContext) -> SyntaxMistake:
    hint = "put the text on the lines below, indented, or leave the sign out and put it in quotes"
    return case.mistake(f"text after `{case.opened}`", hint)


def _item(case: _ErrorContext) -> SyntaxMistake:
    hint = "put each `- ` on a line of its own below the key, or write the list as [a, b]"
    return case.mistake("a list cannot begin in the line of its key", hint)


def _question(case: _ErrorContext) -> SyntaxMistake:
    return case.mistake("`?` cannot begin a value", case.in_quotes(case.at[1]))


def _content(case: _ErrorContext) -> SyntaxMistake:
    here = f"`{case.here}`" if case.here else "the end of the line"
    hint = "is a quote or a bracket missing before it, or one too many?"
    return case.mistake(f"{here} where a value has to be", hint)


def _content_after_value(case: _ErrorContext) -> SyntaxMistake:
    return case.mistake(
        "text after the end of all values", "is a bracket closed too early above, or a line `...` there?"
    )


def _directive(case: _ErrorContext) -> SyntaxMistake:
    return case.mistake("a line that begins with `%` is for programs that write YAML", "remove it", case.begun)


def _tag(case: _ErrorContext) -> SyntaxMistake:
    case = _ErrorContext(case.lines, case.begun, case.begun, case.problem, case.context, case.loader)
    return case.mistake("`!` begins a YAML tag", case.in_quotes(case.at[1]))


def _key(case: _ErrorContext) -> SyntaxMistake:
    """In a mapping, a value is followed by something that is no key."""
    token = case.token()
    first = case.line[: case.at[1]].strip(" -") == ""
    if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"') and not first:
        start, end = token.start_mark, token.end_mark
        if start.line != end.line:
            message = f"the quote {token.style} is closed in line {end.line + 1} only"
            return case.mistake(message, f"write {token.style} where the text ends", (start.line, start.column))
        return case.mistake("text after the closing quote", case.in_quotes(case.at[1]))
    if isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and not first:
        if case.here and case.here in "]}":
            return case.mistake(f"one `{case.here}` too many", "remove it, or write the bracket that it closes")
        closing = case.text(token.start_mark.line)[token.start_mark.column]
        return case.mistake(f"text after the closing `{closing}`", case.in_quotes(case.at[1]))
    if case.here == ":":
        return case.mistake("there is no key before the `:`", "write `key: value`")
    if first and case.begun[1] == _indent(case.line) and _ITEM.match(f"{case.line} "):
        return case.mistake("a list item among keys", "write `key: value`, or indent the list below its key")
    return _indented(case)


def _among_items(case: _ErrorContext) -> SyntaxMistake:
    """In a list, an item is followed by something that is no item."""
    if case.begun[1] == _indent(case.line):
        return case.mistake("a key among list items", "write `- ` before it, or indent the list deeper than its key")
    return _indented(case)


def _indented(case: _ErrorContext) -> SyntaxMistake:
    """The line begins in a column in which no line above begins."""
    above, here = case.above(), _indent(case.line)
    before = case.text(above)
    if above >= 0 and here > _indent(before) and re.search(r":\s+[^\s#]", before):
        return _overindented(case, above)
    levels = sorted({_indent(line) for line in case.lines[: case.at[0]] if line.strip()})
    near = [*[level for level in levels if level < here][-1:], *[level for level in levels if level > here][:1]]
    hint = "is the indentation right, and each quote and bracket closed?"
    if near and here not in levels:
        hint = f"{_indent_widths(near)}, as lines above are"
    return case.mistake("the line's indentation fits no line above", hint, (case.at[0], here))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _indent_widths(columns: Sequence[int]) -> str:
    """Returns a hint, as in "indent it by 2 or 4 spaces"."""
    spaces = " or ".join(str(column) for column in columns if column)
    first = "do not indent it" if 0 in columns else ""
    more = f"indent it by {spaces} space{'s' if spaces != '1' else ''}" if spaces else ""
    return ", or ".join(filter(None, (first, more)))


# (text in a message of libyaml's or PyYAML's parser, or in its context; the function that explains it): the first match
_ERROR_HANDLERS = (
    ("unexpected end of stream", _open_quote),
    ("unexpected document indicator", _open_quote),
    ("unexpected document separator", _open_quote),
    ("quoted scalar", _escape),
    ("directive", _directive),
    ("tag", _tag),
    ("block scalar", _block_text),
    ("expected ',' or", _brackets),
    ("mapping values are not allowed", _colon),
    ("could not find expected ':'", _missing_colon),
    ("sequence entries are not allowed", _item),
    ("mapping keys are not allowed", _question),
    ("cannot start any token", _reserved),
    ("alphabetic or numeric character", _alias),
    ("node content", _content),
    ("document start", _content_after_value),
    ("expected '-' indicator", _among_items),
    ("block collection", _among_items),
    ("block mapping", _key),
)

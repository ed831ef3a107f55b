"""GitHub's expressions (`${{ matrix.python }}`), as far as their value is in the file itself. Nothing is executed.
Source: GitHub's documentation, "Evaluate expressions in workflows and actions"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from envtool.app.init_from.taken_spec import CannotTakeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value: TypeAlias = Any  # str, bool, None, list or dict of these; a number is the text that GitHub makes of it
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_PLACE = re.compile(r"\{([0-9]{1,3})\}")  # of an argument of `format`
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|'(?P<text>(?:[^']|'')*)'"
    r"|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_*][\w-]*)*)|(?P<operator>\|\||&&|==|!=|<=|>=|[!()<>,\[\]]))"
)
_MAX_TOKENS = 200  # of one expression
_MAX_DEPTH = 20  # of parentheses, and of `!`
MAX_LENGTH = 100_000  # characters of a text with its expressions replaced


class Contexts(NamedTuple):
    """The values that are known: those of one point of the matrix, and variables of the file."""

    matrix: Mapping[str, Value]
    env: Mapping[str, str]


class UnknownValueError(CannotTakeError):
    """An expression whose value only GitHub knows."""


def substitute(text: str, contexts: Contexts, line: int) -> str:
    """Returns a text with its expressions replaced. Raises CannotTakeError for one whose value is not in the file."""
    return _replace(_EXPRESSION, text, lambda match: value_text(evaluate(match[1], contexts, line)), line)


def _replace(pattern: re.Pattern[str], text: str, value: Callable[[re.Match[str]], str], line: int) -> str:
    """Returns a text with each match replaced by its value. Raises CannotTakeError as soon as it is too long: its
    length is no bound for what many matches stand for."""
    pieces: list[str] = []
    length = position = 0
    last = text.rfind("}")  # behind it nothing can match: without this, each `${{` is compared to the end of the text
    while (match := pattern.search(text, position, last + 1)) is not None:
        pieces += [text[position : match.start()], value(match)]
        length += len(pieces[-2]) + len(pieces[-1])
        position = match.end()
        if length > MAX_LENGTH:
            break
    pieces.append(text[position:])
    if length + len(pieces[-1]) > MAX_LENGTH:
        raise CannotTakeError("it is too long with what its expressions stand for", "", line)
    return "".join(pieces)


def condition(text: str, contexts: Contexts, line: int) -> bool | None:
    """Returns whether the condition of an `if:` holds; None if only GitHub knows. Raises CannotTakeError for text that
    is no expression."""
    match = _EXPRESSION.fullmatch(text.strip())
    try:
        return is_true(evaluate(match[1] if match else text, contexts, line))
    except UnknownValueError:
        return None


def evaluate(text: str, contexts: Contexts, line: int) -> Value:
    """Returns the value of one expression. Raises UnknownValueError, CannotTakeError."""
    parser = _Parser(_tokens(text, line), text.strip()[:60], line)
    tree = parser.alternative(0)
    if parser.position < len(parser.tokens):
        raise parser.error()
    return _value(tree, contexts, line)


def value_text(value: Value) -> str:
    """Returns a value as GitHub puts it into a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value if isinstance(value, str) else "Object"


def is_true(value: Value) -> bool:
    """Returns whether a value counts as true: false, null, 0 and an empty text do not."""
    return value not in (False, None, "", "0")


def _tokens(text: str, line: int) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, text = 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(tokens) >= _MAX_TOKENS:
            raise CannotTakeError(f"`{text[:60]}` is no expression that is understood", "", line)
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind].replace("''", "'") if kind == "text" else match[kind]))
        position = match.end()
    return tokens


class _Parser:
    """Parses tokens to a tree: (operator, operands …), ("literal", value), ("name", text), ("call", name, operands)."""

    def __init__(self, tokens: list[tuple[str, str]], shown: str, line: int) -> None:
        self.tokens, self.shown, self.line = tokens, shown, line
        self.position = 0

    def error(self) -> CannotTakeError:
        return CannotTakeError(f"`{self.shown}` is no expression that is understood", "", self.line)

    def accept(self, *operators: str) -> str:
        """Returns the next token and goes past it, if it is one of these operators; else ""."""
        if self.position < len(self.tokens) and self.tokens[self.position] in [
            ("operator", word) for word in operators
        ]:
            self.position += 1
            return self.tokens[self.position - 1][1]
        return ""

    def alternative(self, depth: int) -> tuple[Any, ...]:
        if depth > _MAX_DEPTH:
            raise self.error()
        return self._chain("||", depth)

    def _chain(self, operator: str, depth: int) -> tuple[Any, ...]:
        operands = [self._chain("&&", depth) if operator == "||" else self._comparison(depth)]
        while self.accept(operator):
            operands.append(self._chain("&&", depth) if operator == "||" else self._comparison(depth))
        return (operator, *operands) if len(operands) > 1 else operands[0]

    def _comparison(self, depth: int) -> tuple[Any, ...]:
        left = self._unary(depth)
        if operator := self.accept("==", "!="):
            return (operator, left, self._unary(depth))
        return left

    def _unary(self, depth: int) -> tuple[Any, ...]:
        if depth > _MAX_DEPTH or self.position >= len(self.tokens):
            raise self.error()
        if self.accept("!"):
            return ("!", self._unary(depth + 1))
        if self.accept("("):
            inner = self.alternative(depth + 1)
            if not self.accept(")"):
                raise self.error()
            return inner
        kind, word = self.tokens[self.position]
        self.position += 1
        if kind in ("text", "number"):
            return ("literal", word)
        if kind != "name":
            raise self.error()
        if self.accept("("):
            return ("call", word, *self._arguments(depth))
        return ("literal", {"true": True, "false": False, "null": None}[word]) if word in _WORDS else ("name", word)

    def _arguments(self, depth: int) -> list[tuple[Any, ...]]:
        arguments: list[tuple[Any, ...]] = []
        while not self.accept(")"):
            if arguments and not self.accept(","):
                raise self.error()
            arguments.append(self.alternative(depth + 1))
        return arguments


_WORDS = frozenset({"true", "false", "null"})


def _value(tree: tuple[Any, ...], contexts: Contexts, line: int) -> Value:
    operator, *operands = tree
    if operator == "literal":
        return operands[0]
    if operator == "name":
        return _look_up(operands[0], contexts, line)
    if operator == "call":
        return _call(operands[0], [_value(operand, contexts, line) for operand in operands[1:]], line)
    if operator in ("||", "&&"):
        return _chosen(operator, operands, contexts, line)
    values = [_value(operand, contexts, line) for operand in operands]
    if operator == "!":
        return not is_true(values[0])
    return (_comparable(values[0]) == _comparable(values[1])) == (operator == "==")


def _chosen(operator: str, operands: list[tuple[Any, ...]], contexts: Contexts, line: int) -> Value:
    """Returns the first operand that decides. One that only GitHub knows does not matter if another decides."""
    unknown: UnknownValueError | None = None
    value: Value = None
    for operand in operands:
        try:
            value = _value(operand, contexts, line)
        except UnknownValueError as error:
            unknown = unknown or error
            continue
        if is_true(value) == (operator == "||") and (unknown is None or operator == "&&"):
            return value
    if unknown is not None:
        raise unknown
    return value


def _comparable(value: Value) -> Value:
    """Returns a value for a comparison: texts regardless of case, numbers by their value."""
    text = value_text(value).casefold() if not isinstance(value, bool) else str(int(value))
    try:
        return float(text) if len(text) < 30 else text
    except ValueError:
        return text


def _look_up(name: str, contexts: Contexts, line: int) -> Value:
    context, _, rest = name.partition(".")
    if context == "matrix" and rest:
        value: Value = contexts.matrix
        for part in rest.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value
    if context == "env" and rest in contexts.env:
        return contexts.env[rest]
    if name == "runner.os":
        return "Linux"
    if context == "secrets":
        raise UnknownValueError(f"`{name[:60]}` is a secret", "declare it: `secrets:` of the task", line)
    raise UnknownValueError(f"`{name[:60]}` is known only on GitHub", "", line)


def _call(name: str, arguments: list[Value], line: int) -> Value:
    texts = [value_text(argument) for argument in arguments]
    if name == "format" and texts:
        values = dict(enumerate(texts[1:]))
        return _replace(_PLACE, texts[0], lambda match: values.get(int(match[1]), ""), line)
    if name in ("startsWith", "endsWith", "contains") and len(texts) == 2:
        first, second = texts[0].casefold(), texts[1].casefold()
        if name == "contains" and isinstance(arguments[0], list):
            return second in [value_text(member).casefold() for member in arguments[0]]
        return {"startsWith": first.startswith, "endsWith": first.endswith, "contains": first.__contains__}[name](
            second
        )
    if name in ("always", "success"):
        return True
    if name in ("failure", "cancelled"):
        return False
    raise UnknownValueError(f"what `{name[:60]}()` returns is known only on GitHub", "", line)

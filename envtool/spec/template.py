"""Renders Jinja2 templates in one scalar. An allow-list of the nodes of an expression bounds time and memory.

Nothing repeats (no loops, macros, calls, assignments, `*`, `**`, `%`), and no attribute of a Python object can be
reached: `a.b` looks only into `matrix` and `env`. Templates can only choose and join text: a result is at most as long
as the template with its values, and has a limit of its own too.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

Scope: TypeAlias = "Mapping[str, str | Mapping[str, str]]"

MAX_RESULT = 64 * 1024  # characters of one rendered value
MAX_SOURCE = 16 * 1024  # characters of one template
MAX_COMPILED = 500  # different templates that need Jinja2 itself (each takes half a millisecond)
MAX_RENDERED = 50_000  # uses of templates in one spec
MAX_TOTAL = 16 * 1024 * 1024  # characters of all results in one spec
MAX_DEPTH = 20  # nesting of one expression

# Nearly all templates are `{{ matrix.x }}`, `{{ env.name }}` and `{{ args }}`. They are rendered here: importing Jinja2
# takes 30 ms, and compiling takes more. A property test compares the results with those of Jinja2.
_SIMPLE = re.compile(r"\{\{[ \t]*(matrix|env|args)(?:\.([A-Za-z][A-Za-z0-9_]*))?[ \t]*\}\}")
_MARK = re.compile(r"\{[{%#]")
_OPENS = re.compile(r"\{[{%]")
_ARGS = re.compile(r"\{\{-?\s*args\s*-?\}\}\Z")
_WORD_ARGS = re.compile(r"\bargs\b")


class TemplateError(Exception):
    """A template is wrong: `message`, `code`, `hint`; for an unknown name also `name`, and the `known` names."""

    def __init__(
        self, message: str, *, code: str = "template", hint: str = "", name: str = "", known: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message = message
        self.code = code
        self.hint = hint
        self.name = name
        self.known = known


def is_template(value: object) -> bool:
    """Returns whether a scalar has something to render."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def is_arguments(text: str) -> bool:
    """Returns whether a text is exactly `{{ args }}`. In an argv, it stands for one word for each argument."""
    return _ARGS.match(text) is not None


def uses_args(text: str) -> bool:
    """Returns whether a template in the text has the name `args`."""
    if "args" not in text:
        return False
    pieces = ((piece, _OPENS.search(piece)) for piece in text.split("}"))
    return any(opened and _WORD_ARGS.search(piece, opened.end()) for piece, opened in pieces)


@dataclass(slots=True)
class Renderer:
    """Renders the templates of one spec, within limits for all of them together. Not thread-safe."""

    compiled: dict[str, tuple[Template, frozenset[str]]] = field(default_factory=dict)
    rendered: int = 0
    characters: int = 0

    @property
    def is_budget_spent(self) -> bool:
        """Whether a limit is reached, so that all further rendering would fail."""
        return self.rendered > MAX_RENDERED or self.characters > MAX_TOTAL or len(self.compiled) >= MAX_COMPILED

    def render(self, text: str, scope: Scope) -> str:
        """Returns `text` with the values of `scope` put in. Raises TemplateError."""
        if len(text) > MAX_SOURCE:
            raise TemplateError(f"a template of more than {MAX_SOURCE // 1024} KiB", code="limit")
        self.rendered += 1
        if self.rendered > MAX_RENDERED:
            raise TemplateError(f"more than {MAX_RENDERED:,} uses of templates in one spec", code="limit")
        result = _render_simple(text, scope)
        if result is None:
            result = self._jinja(text, scope)
        if len(result) > MAX_RESULT:
            raise TemplateError(f"the result has more than {MAX_RESULT // 1024} KiB", code="limit")
        self.characters += len(result)
        if self.characters > MAX_TOTAL:
            raise TemplateError(f"all templates together give more than {MAX_TOTAL // 2**20} MiB", code="limit")
        return result

    def _jinja(self, text: str, scope: Scope) -> str:
        import jinja2

        try:
            if text not in self.compiled:
                if len(self.compiled) >= MAX_COMPILED:
                    raise TemplateError(f"more than {MAX_COMPILED} different templates in one spec", code="limit")
                self.compiled[text] = _compile(text)
            template, names = self.compiled[text]
            for name in sorted(names - set(scope)):
                raise _not_in_scope_error(name, scope)
            return template.render({name: _wrap(name, value) for name, value in scope.items()})
        except jinja2.TemplateSyntaxError as error:
            message, hint = _explain_syntax_error(error.message or "", text)
            raise TemplateError(f"template: {message}", hint=hint) from None
        except jinja2.UndefinedError as error:
            raise TemplateError(f"template: {error.message}", code="undefined") from None
        except (RecursionError, MemoryError):
            raise TemplateError(
                "template: nested too deep",
                code="limit",
                hint=_SHORTER,
            ) from None
        except (TypeError, ValueError, LookupError, jinja2.TemplateError, OverflowError, AttributeError) as error:
            message, hint = _explain_runtime_error(error)  # an error of the expression: "1" + 1, [1][3] …
            raise TemplateError(f"template: {message}", hint=hint) from None


_MARKS = (("{{", "}}"), ("{%", "%}"), ("{#", "#}"))
_CHOOSE = "a template may only insert values (`{{ … }}`) and choose (`{% if … %}`)"
_CONDITION = "write a condition after `if`, as in `{% if matrix.AXIS == 'a' %}`"
_SHORTER = "make it shorter: `matrix.include` can give each point the value"
_ONE = "write one value between `{{` and `}}`, as in `{{ matrix.AXIS }}`"
_BLOCKS = "known: `if`, `elif`, `else`, `endif`; text between {% raw %} and {% endraw %} stays unchanged"


def _explain_syntax_error(jinja_message: str, text: str) -> tuple[str, str]:
    """Returns message and hint for a syntax error, for people who do not know Jinja2. `jinja_message` is Jinja2's own
    message, `text` the template."""
    for start, end in _MARKS:
        if text.count(start) > text.count(end):
            return f"`{start}` is not closed", f"write `{end}` after it, or `{{{{ '{start}' }}}}` for the text itself"
    if match := re.search(r"innermost block that needs to be closed is '(\w+)'", jinja_message):
        if match[1] != "if":
            return f"`{{% {match[1]} %}}` is not for a spec", _CHOOSE
        return "`{% if … %}` is not closed", "write `{% endif %}` after the text that depends on it"
    if "end of raw directive" in jinja_message:
        return "`{% raw %}` is not closed", "write `{% endraw %}` after the text that stays unchanged"
    if match := re.search(r"unknown tag '(\w+)'", jinja_message):
        if match[1] in ("endif", "else", "elif"):
            return f"`{{% {match[1]} %}}` without an `if` before it", "write `{% if … %}` before it, or remove it"
        return f"`{{% {match[1]} %}}` is not known", _BLOCKS
    if match := re.search(r"No (filter|test) named '(\w+)'", jinja_message):
        return f"unknown {match[1]} `{match[2]}`", _list_known_names(_FILTERS if match[1] == "filter" else _TESTS)
    if re.search(r"\{\{-?\s*-?\}\}", text):
        return "there is nothing between `{{` and `}}`", _ONE
    if match := re.search(r"(?:got|unexpected(?: char)?) (['\"])(.+?)\1(?:, expected '(.+?)')?", jinja_message):
        return _explain_stray_token(
            match[2], match[3] or "", _CONDITION if "statement block" in jinja_message else _ONE
        )
    return "the expression cannot be read", _ONE


def _explain_stray_token(character: str, bracket: str, hint: str) -> tuple[str, str]:
    """Returns message and hint for a character or token that is not allowed at its position. `bracket` is the missing
    bracket before it, or ""."""
    if character.startswith("end of"):
        return "the expression ends too early", hint
    if character in "\"'":
        return f"the quote {character} is not closed", f"write {character} where the text ends"
    if character == "=":
        return "`=` was not expected there", "`==` compares"
    return f"`{character}` was not expected there", f"write `{bracket}` before it" if bracket else hint


def _list_known_names(names: Iterable[str]) -> str:
    return "known: " + ", ".join(f"`{name}`" for name in names)


def _explain_runtime_error(error: Exception) -> tuple[str, str]:
    """Returns message and hint for an expression that has no value."""
    if isinstance(error, TypeError):
        hint = "`~` joins texts, and `| int` makes a number of a text"
        return "these values do not go together", hint
    if isinstance(error, LookupError):
        return "there is no element with that index", "indices count from 0"
    return "the expression gives no value", _ONE


def _render_simple(text: str, scope: Scope) -> str | None:
    """Returns the rendered text, or None if the template needs Jinja2."""
    parts: list[str] = []
    at = 0
    for match in _SIMPLE.finditer(text):
        value = scope.get(match[1])
        if match[2] is None:
            if not isinstance(value, str):
                return None
        elif isinstance(value, Mapping) and match[2] in value:
            value = value[match[2]]
        else:
            return None
        parts += (text[at : match.start()], value)
        at = match.end()
    remaining = text[at:]
    literals = parts[::2]
    if (
        any(_MARK.search(part) for part in (*literals, remaining))
        or any(p.endswith("{") for p in literals)
        or "\r" in text
    ):
        return None
    return "".join(parts) + remaining


class _TemplateMapping(Mapping[str, str]):
    """`matrix` or `env` inside a template. Templates can read its entries and none of its attributes."""

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        self.name = name
        self.values_ = values

    def __getitem__(self, key: str) -> str:
        return self.values_[key]

    def __iter__(self) -> Any:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __repr__(self) -> str:  # used for a list that contains it: the default has an address, which changes each time
        return str(self)

    def __str__(self) -> str:
        first = next(iter(self.values_), "name")
        raise TemplateError(f"`{self.name}` is not a text", hint=f"write `{self.name}.{first}`")


def _wrap(name: str, value: str | Mapping[str, str]) -> str | _TemplateMapping:
    return value if isinstance(value, str) else _TemplateMapping(name, value)


def _unknown_name_error(name: str, within: str, known: tuple[str, ...]) -> TemplateError:
    prefix = f"{within}." if within else ""
    names = tuple(f"{prefix}{other}" for other in known)
    full = f"{prefix}{name}"
    return TemplateError(f"unknown name `{full}` in a template", code="undefined", name=full, known=names)


def _not_in_scope_error(name: str, scope: Scope) -> TemplateError:
    """Returns the error for a name that the scope does not have."""
    axes = scope.get("matrix")
    if name == "args":
        hint = "put it into the command of a task"
        return TemplateError("`args` is known in tasks only", code="undefined", hint=hint)
    if isinstance(axes, Mapping) and name in axes:
        return TemplateError(f"unknown name `{name}` in a template", code="undefined", hint=f"write `matrix.{name}`")
    if name.isupper():
        hint = f"{_list_known_names(scope)}; a variable is written `${name}`, in a command"
        return TemplateError(f"unknown name `{name}` in a template", code="undefined", hint=hint)
    return _unknown_name_error(name, "", tuple(scope))


def _bounded_replace(value: Any, old: str, new: str) -> str:
    text = str(value)
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_RESULT:
        raise TemplateError(f"the result has more than {MAX_RESULT // 1024} KiB", code="limit")
    return text.replace(old, new)


def _bounded_join(value: Sequence[Any] | str, separator: str = "") -> str:
    words = [str(word) for word in value]
    if sum(map(len, words)) + len(words) * len(separator) > MAX_RESULT:
        raise TemplateError(f"the result has more than {MAX_RESULT // 1024} KiB", code="limit")
    return separator.join(words)


_FILTERS = {
    "default": None, "d": None, "first": None, "last": None, "length": None, "lower": None, "upper": None,
    "title": None, "capitalize": None, "trim": None, "int": None, "string": None,
    "replace": _bounded_replace, "join": _bounded_join, "quote": lambda value: shlex.quote(str(value)),
}  # fmt: skip
_TESTS = ("defined", "undefined", "eq", "equalto", "ne", "in", "string", "none", "==", "!=")


@cache
def _environment() -> SandboxedEnvironment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        """Looks up attributes and items in `matrix` and `env` only, never in Python objects."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, _TemplateMapping):
                if attribute in obj:
                    return obj[attribute]

                def unknown(_: str | None) -> TemplateError:
                    return _unknown_name_error(attribute, obj.name, tuple(obj))

                return Nothing(name=attribute, exc=unknown)  # type: ignore[arg-type]
            if isinstance(obj, jinja2.Undefined):
                return obj  # the error names the first unknown name
            hint = "as in `matrix.AXIS` or `env.name`"
            raise TemplateError(f"`.{attribute}` of a text: only `matrix` and `env` have names in them", hint=hint)

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(obj, _TemplateMapping):
                return self.getattr(obj, str(argument))
            if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
                return obj[argument]
            return self.getattr(obj, str(argument))

    class Nothing(jinja2.StrictUndefined):
        """An undefined value that raises inside a list as well."""

        def __repr__(self) -> str:
            return str(self)

    environment = Environment(
        undefined=Nothing, autoescape=False, keep_trailing_newline=True, cache_size=0, optimized=False
    )
    environment.globals.clear()
    environment.filters = {name: own or environment.filters[name] for name, own in _FILTERS.items()}
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


def _compile(text: str) -> tuple[Template, frozenset[str]]:
    """Parses a template, checks every node, and only then compiles it. Returns it with the names that it uses."""
    from jinja2 import Template, nodes

    allowed = (
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Const, nodes.Name,
        nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And,
        nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Neg, nodes.Concat, nodes.List, nodes.Tuple, nodes.Keyword,
    )  # fmt: skip
    environment = _environment()
    tree = environment.parse(text)
    names: set[str] = set()
    pending: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise TemplateError(
                "template: nested too deep",
                code="limit",
                hint=_SHORTER,
            )
        if not isinstance(node, allowed):
            construct = _WORDS.get(type(node).__name__, type(node).__name__.lower())
            raise TemplateError(f"template: {construct} is not for a spec", hint=_CHOOSE)
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            name, known = str(node.name), tuple(_FILTERS)
            raise TemplateError(f"unknown filter `{name}`", hint=_list_known_names(known), name=name, known=known)
        if isinstance(node, nodes.Name):
            names.add(node.name)
        pending += [(child, depth + 1) for child in node.iter_child_nodes()]
    with (
        warnings.catch_warnings()
    ):  # Python warns of expressions such as `none[0:1]`: rendering them is an error anyway
        warnings.simplefilter("ignore", SyntaxWarning)
        code = environment.compile(tree)
    return Template.from_code(environment, code, {}), frozenset(names)


_WORDS = {
    "For": "a loop", "Call": "a call", "Assign": "`set`", "AssignBlock": "`set`", "Macro": "a macro", "Mul": "`*`",
    "Pow": "`**`", "Mod": "`%`", "Div": "`/`", "FloorDiv": "`//`", "Include": "`include`", "Import": "`import`",
    "FilterBlock": "a filter block", "With": "`with`", "Dict": "a mapping",
}  # fmt: skip

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.spec.template import (
    MAX_COMPILED,
    Renderer,
    TemplateError,
    _render_simple,
    is_arguments,
    is_template,
    uses_args,
)
from tests.depth import examples

SCOPE = {
    "matrix": {"suite": "bookworm", "items": "3", "v": "3.12"},
    "env": {"name": "e[x]", "group": "e"},
    "args": "-k x",
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ matrix.suite }}", "bookworm"),
        ("a {{matrix.v}}-{{ args }} b\n", "a 3.12--k x b\n"),
        ("{{ matrix.items }}", "3"),
        ("{{ matrix['v'] }}", "3.12"),
        ("{{ matrix.v | replace('.', '') }}", "312"),
        ("{{ matrix.no | default('x') }}", "x"),
        ("{% if matrix.v == '3.12' %}new{% else %}old{% endif %}", "new"),
        ("{{ 'a' if matrix.no is defined else 'b' }}", "b"),
        ("{{ '{{' }} {% raw %}{{ x }}{% endraw %}", "{{ {{ x }}"),
        ("{{ env.name | upper }}{{ matrix.v[:1] }}", "E[X]3"),
        ("{{ matrix.v ~ '-' ~ args }}", "3.12--k x"),
    ],
)
def test_what_may_be_written(text, result):
    assert Renderer().render(text, SCOPE) == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for x in [1] %}{% endfor %}", "a loop"),
        ("{% for x in range(10**9) %}{% endfor %}", "a"),
        ("{{ 'x' * 1000000000 }}", "`*`"),
        ("{{ 9 ** 9 ** 9 }}", "`**`"),
        ("{{ '%1000000000d' % 1 }}", "`%`"),
        ("{{ 'x'.ljust(1000000000) }}", "a call"),
        ("{{ ''.__class__ }}", "only `matrix` and `env`"),
        ("{{ matrix.__class__ }}", "unknown name `matrix.__class__`"),
        ("{{ matrix['__class__'] }}", "unknown name"),
        ("{{ args.__class__.__mro__ }}", "only `matrix` and `env`"),
        ("{{ ''['__class__'] }}", "only `matrix` and `env`"),
        ("{{ self._TemplateReference__context }}", "unknown name `self`"),
        ("{{ cycler }}", "unknown name `cycler`"),
        ("{{ lipsum() }}", "a call"),
        ("{% set x = 'a' %}", "`set`"),
        ("{% include 'x' %}", "`include`"),
        ("{{ args | attr('x') }}", "filter"),
        ("{{ args | pprint }}", "filter"),
        ("{{ matrix }}", "write `matrix.suite`"),
        ("{{ matrix.siute }}", "unknown name `matrix.siute`"),
        ("{{ (((((((((((((((((((((((((1))))))))))))))))))))))))) ", "template:"),
        ("{{ " + "(" * 5000, "template:"),
        ("{{ " + "not " * 500 + "1 }}", "nested too deep"),
        ("{{ args | int + args }}", "template:"),
        ("{{ matrix.v", "template:"),
    ],
)
def test_what_may_not(text, said):
    start = time.process_time()
    with pytest.raises(TemplateError) as error:
        Renderer().render(text, SCOPE)
    assert said in str(error.value)
    assert time.process_time() - start < 1


def test_growth_is_bounded():
    text = "{{ 'aaaaaaaaaa'" + " | replace('a', 'aaaaaaaaaa')" * 12 + " }}"
    with pytest.raises(TemplateError, match="more than 64 KiB"):
        Renderer().render(text, SCOPE)
    with pytest.raises(TemplateError, match="more than 64 KiB"):
        Renderer().render("{{ 'aaaaaaaaaa'" + " | join('aaaaaaaaaa')" * 12 + " }}", SCOPE)
    with pytest.raises(TemplateError, match="16 KiB"):
        Renderer().render("{{ args }}" * 2000, SCOPE)


def test_the_number_of_templates_is_bounded():
    renderer = Renderer()
    for number in range(MAX_COMPILED):
        renderer.render(f"{{{{ args ~ {number} }}}}", SCOPE)
    with pytest.raises(TemplateError, match="different templates"):
        renderer.render("{{ args ~ 'one more' }}", SCOPE)
    assert renderer.is_budget_spent


PIECES = st.sampled_from(
    [
        "{{ matrix.suite }}",
        "{{env.name}}",
        "{{ args }}",
        "{",
        "}",
        "}}",
        "{#",
        "#}",
        " ",
        "a",
        "\n",
        "\r\n",
        "é",
        "{% raw %}",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_the_short_way_is_jinja2(text):
    short = _render_simple(text, SCOPE)
    if short is not None and is_template(text):
        assert Renderer()._jinja(text, SCOPE) == short


def test_args_are_seen():
    assert is_arguments("{{ args }}")
    assert is_arguments("{{args}}")
    assert not is_arguments("-k {{ args }}")
    assert uses_args("pytest {{ args | quote }}")
    assert not uses_args("cargs {{ matrix.x }} args")


# ---- nothing that differs from one time to the next -----------------------------------------------------------------

THINGS = (
    "matrix", "env", "args", "self", "caller", "loop", "range", "matrix.v", "matrix.no", "matrix.v.upper", "(1 if false)", "none", "[]",
)  # fmt: skip
ROUND = (
    "[{}]", "[[{}]]", "({}, 1)", "{}|string", "{}|lower", "{}|title", "{}|trim", "{}|join", "{}|quote", "{}|first", "{}|last",
    "{}|replace('a', 'b')", "{}|default('x')", "{}|capitalize", "{} ~ ''", "{}[0:1]", "{}[0]", "({} or 1)", "[{}]|string",
)  # fmt: skip


@settings(max_examples=examples(200, 20_000), deadline=None)
@given(st.sampled_from(THINGS), st.lists(st.sampled_from(ROUND), max_size=4))
def test_no_text_has_an_address_in_it(thing, around):
    text = thing
    for each in around:
        text = each.format(text if "|" not in text else f"({text})")
    try:
        result = Renderer().render(f"{{{{ {text} }}}}", SCOPE)
    except TemplateError as error:
        result = str(error)
    assert " at 0x" not in result
    assert "<function" not in result


@pytest.mark.parametrize("text", ["[matrix]", "[env]|string", "(matrix, 1)|quote", "[[env]]|join"])
def test_a_namespace_in_a_list_is_no_text(text):
    with pytest.raises(TemplateError, match=r"is not a text: write `(matrix|env)"):
        Renderer().render(f"{{{{ {text} }}}}", SCOPE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ foo", "`{{` is not closed: write `}}` after it"),
        ("a {{ args } b", "`{{` is not closed"),
        ("{% if args", "`{%` is not closed: write `%}` after it"),
        ("{% if args %}x", "`{% if … %}` is not closed: write `{% endif %}`"),
        ("{# note", "`{#` is not closed"),
        ("{{ args args }}", "`args` was not expected there: write one value between `{{` and `}}`"),
        ("{{ }}", "there is nothing between `{{` and `}}`"),
        ("{% fi %}", "`{% fi %}` is not known: known: `if`, `elif`, `else`, `endif`"),
        ("{% else %}", "without an `if` before it: write `{% if … %}` before it"),
        ("{% for x in args %}", "`{% for %}` is not for a spec: a template may only insert values"),
        ("{% raw %}x", "`{% raw %}` is not closed: write `{% endraw %}`"),
        ("{% if %}x{% endif %}", "the expression ends too early: write a condition after `if`"),
        ("{% if args = 'a' %}x{% endif %}", "`=` was not expected there: `==` compares"),
        ("{{ args == }}", "the expression ends too early: write one value between"),
        ("{{ 'x }}", "the quote ' is not closed: write ' where the text ends"),
        ("{{ (args }}", "`}` was not expected there: write `)` before it"),
        ("{{ args is frob }}", "unknown test `frob`: known: `defined`"),
        ("{{ args | frob }}", "unknown filter `frob`: known: `default`"),
        ("{{ args + 1 }}", "these values do not go together: `~` joins texts"),
        ("{{ [1][3] }}", "there is no element with that index: indices count from 0"),
        ("{{ HOME }}", "a variable is written `$HOME`, in a command"),
    ],
)
def test_what_is_wrong_with_its_syntax_is_said_plainly(text, said):
    with pytest.raises(TemplateError) as caught:
        Renderer().render(text, {"args": "x"})
    assert said in str(caught.value)
    assert not re.search(r"statement|token|NoneType|operand|got '", str(caught.value))

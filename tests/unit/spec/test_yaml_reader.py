from __future__ import annotations

import re
import time
import tracemalloc

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.spec import node as module
from envtool.spec.node import Problems, make_source, parse, to_plain
from tests.depth import examples


def nodes(text):
    problems = Problems()
    root = parse(text, make_source(text, "f.yaml"), problems)
    return root, [(p.where.line, p.where.column, p.code, f"{p.message} -- {p.hint}") for p in problems.noted.values()]


def test_scalars_are_yaml_1_2():
    root, wrong = nodes(
        "a: text\nb: 12\nc: -3\nd: 3.10\ne: true\nf: ~\n"
        "g:\nh: '3.10'\ni: 2024-01-01\nj: 1.2.3\nk: y\nl: 1e3\nm: 8080:80\n"
        "n: !!str 3\no: |\n  two\n  lines\n"
    )
    assert not wrong
    assert to_plain(root) == {
        "a": "text", "b": 12, "c": -3, "d": 3.1, "e": True, "f": None, "g": None, "h": "3.10", "i": "2024-01-01",
        "j": "1.2.3", "k": "y", "l": 1000.0, "m": "8080:80", "n": "3", "o": "two\nlines\n",
    }  # fmt: skip
    assert root.get("d").text == "3.10"


@pytest.mark.parametrize(
    "surprise",
    ["on", "Off", "YES", "no", "0644", "0x1F", "0o17", "0b101", "1_000", "1:30", ".inf", ".NaN"],
)
def test_what_readers_differ_on_is_refused(surprise):
    _, wrong = nodes(f"a: {surprise}")
    assert [(line, column, code) for line, column, code, _ in wrong] == [(1, 4, "yaml-surprise")]
    assert f'"{surprise}" in quotes' in wrong[0][3] or f'in quotes: "{surprise}"' in wrong[0][3]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1\na: 2", (2, 1), "there twice -- the first is in line 1"),
        ("on: 1", (1, 1), "`on` is true"),
        ("3.10: 1", (1, 1), 'write it in quotes: "3.10"'),
        ("? [a]\n: 1", (1, 3), "not plain text"),
        ("a: {{ b }}", (1, 4), "quote missing around `{{`"),
        ("a: 1\n---\nb: 2", (2, 1), "second document"),
        ("a: &x 1\nb: {<<: *x}", (2, 5), "merge keys"),
        ("a: *b", (1, 4), "no anchor is called `b`"),
        ("a: &x 1\nb: &x 2", (2, 4), "there twice -- the first is in line 1"),
        ("a: &a [*a]", (1, 8), "contains itself"),
        ("a: !foo 1", (1, 4), "YAML tag: `!foo`"),
        ("a: !!python/object:os.system x", (1, 4), "YAML tag"),
        ("a:\n\tb: 1", (2, 1), "a tab"),
        ("a: b: c", (1, 5), "second `: `"),
        ("a: [1, 2", (1, 4), "the `[` is not closed"),
        ("a: x\x01y", (1, 5), "U+0001"),
        ("a: @x", (1, 4), "cannot begin a value"),
    ],
)
def test_each_yaml_error_is_explained(text, place, said):
    _, wrong = nodes(text)
    assert wrong, text
    assert wrong[0][:2] == place, wrong
    assert said in wrong[0][3]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tasks: test: x", "write `tasks: {test: x}`"),
        ("  tasks: test: x y  # the tests", "write `tasks: {test: x y}`"),
        ('  tasks: test: "x: y"', 'write `tasks: {test: "x: y"}`'),
        ("  tasks: test: run: x", "write `tasks: {test: {run: x}}`"),
        ("  tasks: test: [[x, y]]", "write `tasks: {test: [[x, y]]}`"),
        ("  tasks: test: x, lint: y", "write `tasks: {test: x, lint: y}`"),
        ("  tasks: test:\n    run: x", "write `test:` on a line of its own below `tasks:`"),
        ("  tasks: test: x [y", "write `test:` on a line of its own below `tasks:`"),
        ("  base: debian: bookworm", "write `base: {debian: bookworm}`"),
        ("  base: image: debian:12", "write `base: {image: debian:12}`"),
        ("  layers: pip: x", "write `layers: [{pip: x}]`"),
        ("  layers: pip: [x, y]", "write `layers: [{pip: [x, y]}]`"),
        ("layers: tools: apt: [gcc]", "write `layers: {tools: {apt: [gcc]}}`"),  # those of the file have names
        ("  unit[a]: base: host", "write `unit[a]: {base: host}`"),
        ("envs: unit: base: host", "write `envs: {unit: {base: host}}`"),
        ("envs: unit: {base: host}", "write `envs: {unit: {base: host}}`"),
        ("  set: A: b", "write `set: {A: b}`"),
        ("  test: run: x", "write `test: {run: x}`"),
        ("  - base: debian: bookworm", "write `base: {debian: bookworm}`"),
        ("unit: {base: host, tasks: test: x}", "write `tasks: {test: x}`"),
        ("unit: {base: debian: bookworm, tasks: {test: x}}", "write `base: {debian: bookworm}`"),
        ("unit: {layers: [pip: [x]], tasks: test: x y}", "write `tasks: {test: x y}`"),
        ("unit: {layers: pip: [x, y], base: host}", "write `layers: [{pip: [x, y]}]`"),
        ("unit: {\n  tasks: test: x,\n  base: host}", "write `tasks: {test: x}`"),
        ("  test: echo: x", 'put the whole value in quotes: "echo: x"'),
        ("  test: echo: x  # said", 'put the whole value in quotes: "echo: x"'),
        ("  run: curl -H a: b", 'put the whole value in quotes: "curl -H a: b"'),
        ("{tasks: {test: echo: x}}", 'put the whole value in quotes: "echo: x"'),
        (
            "  one: debian: sid",
            'put the whole value in quotes: "debian: sid"; if it is a mapping, write `one: {debian: sid}`',
        ),
        ("  tasks: test: " + "x" * 300, "write `test:` on a line of its own below `tasks:`"),
    ],
)
def test_a_second_colon_is_told_what_to_write(text, hint):
    _, wrong = nodes(text)
    assert wrong[0][2] == "yaml"
    assert wrong[0][3].partition(" -- ")[2] == hint


def bombs():
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    return {
        "laughs": laughs,
        "deep": "[" * 100_000,
        "deep block": "".join(" " * n + "a:\n" for n in range(2000)),
        "file": "a: " + "x" * (5 * 2**20),
        "scalar": "a: '" + "x" * 2**20 + "'",
        "many": "[" + "1," * 1_500_000 + "]",
        "key": "x" * 1000 + ": 1",
    }


def test_the_longest_name_of_an_image_can_be_a_key():
    name = f"{'a' * 255}:{'b' * 128}@sha256:{'c' * 64}"
    found, wrong = nodes(f"images: {{'{name}': 'oci:x'}}\n")
    assert not wrong
    assert list(found.value["images"].value) == [name]
    assert nodes(f"{'k' * 513}: 1\n")[1][0][2] == "limit"


@pytest.mark.parametrize("name", list(bombs()))
def test_hostile_files_are_refused_quickly(name):
    text = bombs()[name]
    tracemalloc.start()
    start = time.process_time()
    _, wrong = nodes(text)
    spent = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert wrong[0][2] == "limit", wrong
    assert spent < 5, "a second, and tracemalloc makes it several"
    assert peak < 300 * 2**20


def test_aliases_are_values():
    root, wrong = nodes("a: &x {b: [1]}\nc: *x\n")
    assert not wrong
    assert to_plain(root) == {"a": {"b": [1]}, "c": {"b": [1]}}


# PyYAML writes what is a number to YAML 1.2 alone, as 0E0, without quotes.
NEW_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)[eE][-+]?[0-9]+")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8).filter(
    lambda text: not NEW_NUMBER.fullmatch(text)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=80, deadline=None)
@given(VALUES, st.booleans())
def test_every_value_stands_where_it_says(value, flow):
    """Round trip: dump, parse, and read each scalar again from the place it claims to have."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow, width=10_000)
    root, wrong = nodes(text)
    assert not [w for w in wrong if w[2] != "yaml-surprise"], text
    if not wrong:
        assert to_plain(root) == value
    lines = root.source.lines
    pending = [root]
    while pending:
        node = pending.pop()
        pending += [*node.items(), *node.mapping().values(), *(node.keys or {}).values()]
        written = lines[node.line - 1][node.column - 1 :] if node.line <= len(lines) else ""
        if node.text:
            assert written.startswith(node.text.split("\n")[0][:1])
        elif isinstance(node.value, str):
            assert written[:1] in "'\"|>?!"
        elif isinstance(node.value, dict | list):
            assert written


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("{}[]:,-&*!|>'\"%@`#? \n\tab1<", max_size=40))
def test_no_text_breaks_the_reader(text):
    root, wrong = nodes(text)
    assert root is None or root.line >= 1
    assert all(line >= 1 and column >= 1 for line, column, _, _ in wrong)


def test_the_pure_python_loader_does_the_same(monkeypatch):
    monkeypatch.setattr(module, "_Loader", yaml.SafeLoader)
    root, wrong = nodes("a: [1, {b: 'x'}]\n")
    assert (to_plain(root), wrong) == ({"a": [1, {"b": "x"}]}, [])
    assert nodes("[" * 5000)[1][0][2] == "limit"


def test_a_hash_is_text_whatever_it_begins_with():
    digest = "0bd81b6dab8b9015bb4bb3b7b9b1de7e8c2fd1f5426052bdc4e36fe354a61385"
    root, wrong = nodes(f"a: {digest}")
    assert not wrong
    assert to_plain(root) == {"a": digest}


WHOLE = (
    "version: 1\nbases: {dev: {debian: bookworm}}\nlayers:\n  tools: {apt: [gcc, make]}\n  files:\n"
    "    run: [make, \"x: y\"]\n    inputs: ['*.c', src]\nenvs:\n  unit:\n    base: dev\n    layers: [tools]\n"
    "    tasks:\n      test: |\n        make check\n      lint: 'it''s'\n"
)
FOREIGN = re.compile(r"while |expected key|in this context|not allowed here|token|<|node content|did not find")


@pytest.mark.parametrize("loader", [yaml.SafeLoader, module._Loader], ids=["in Python", "libyaml"])
@settings(max_examples=examples(150, 20_000), deadline=None)
@given(
    st.integers(0, len(WHOLE)),
    st.integers(0, 3),
    st.sampled_from(
        ["", *"{}[],:-?&*!|>'\"%@`#\t\n \\", ": ", "- ", "{{ x }}", "  ", '"a\n', "...\n", "---\n", "&a *a"]
    ),
)
def test_whatever_is_wrong_is_said_in_our_words_at_a_place_of_the_file(loader, at, away, put):
    text = WHOLE[:at] + put + WHOLE[at + away :]
    problems = Problems()
    source = make_source(text, "f.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_Loader", loader)
        parse(text, source, problems)
    for problem in problems.noted.values():
        assert problem.hint, problem
        assert not FOREIGN.search(f"{problem.message} {problem.hint}"), problem
        assert 1 <= problem.where.line <= len(source.lines)
        assert 1 <= problem.where.column <= len(source.lines[problem.where.line - 1]) + 1

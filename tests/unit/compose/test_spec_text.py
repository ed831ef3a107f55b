"""The YAML that is written: every reader gets the values that were meant, whatever is in them."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from envtool.app.compose.convert_service import ConvertedService
from envtool.app.compose.notes import Note
from envtool.app.compose.spec_text import entry_lines, escape_templates, scalar, write_spec
from envtool.model import Where
from envtool.spec.node import Problems, make_source, parse, to_plain
from envtool.spec.template import Renderer, is_template

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=60)
SURPRISES = st.sampled_from(
    ["on", "No", "~", "null", "0644", "1:30", "3.10", "1e3", "0x1f", ".5", "1_000", "-", "- a", "a: b", "#x", "a #b", "%", "@", "`x`",
     "'", '"', "&a", "*a", "!t", "|", ">", "{{ x }}", "{% x %}", "{#", "a\nb", " a", "a ", "\ta", "a\n", "\n", "﻿x", "a\x85b", "\x7f", "a \nb"]
)  # fmt: skip
VALUES = st.recursive(
    TEXTS | SURPRISES | st.integers(-9, 70000) | st.booleans(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(TEXTS | SURPRISES, inner, min_size=1, max_size=4),
    max_leaves=12,
)  # fmt: skip


def read(text):
    problems = Problems()
    node = parse(text, make_source(text, "envtool.yaml"), problems)
    problems.raise_any()
    assert node is not None
    return to_plain(node)


@given(TEXTS | SURPRISES)
def test_a_scalar_is_read_as_it_was(text):
    assert read(f"key: {scalar(text)}\n") == {"key": text}
    assert yaml.safe_load(f"key: {scalar(text)}\n") == {"key": text}


def rendered(value):
    if isinstance(value, str):
        return Renderer().render(value, {}) if is_template(value) else value
    if isinstance(value, list):
        return [rendered(member) for member in value]
    return {key: rendered(member) for key, member in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(st.sampled_from(["set", "command", "base", "ready"]), VALUES, min_size=1))
def test_a_service_is_read_as_it_was(keys):
    note = Note(Where(file="a\nb.yml", line=3, column=4), "db", "x\n  y: 1", "changed", "one\ntwo: 3 # \x1b[31m")
    text = write_spec(
        "c.yml\nbad: 1", [ConvertedService("db", keys, True, {"postgres": 15, "x": "a\nb: c"})], [note], {"db": "db"}
    )
    spec = read(text)
    assert {*spec} == {"version", "services", "envs"}
    assert rendered(spec["services"]["db"]) == keys
    assert spec["envs"] == {"unit": {"services": ["db"]}}
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if "two: 3" in line and not line.lstrip().startswith("#")] == []


@given(VALUES)
def test_formatters_and_linters_agree_on_it(value):
    """Prettier wants spaces inside of braces, and yamllint wants none, and says how long a line of a list may be."""
    lines = entry_lines("key", value, "")
    assert yaml.safe_load("\n".join(lines)) == {"key": value}
    in_flow = [each for each in yaml.parse("\n".join(lines)) if getattr(each, "flow_style", False)]
    assert not [each for each in in_flow if isinstance(each, yaml.MappingStartEvent)]
    assert not [each for each in in_flow if len(lines[each.start_mark.line]) > 80]


def test_a_text_with_quotes_is_read_by_people():
    assert scalar('cd "$0" && exec "$@"') == '\'cd "$0" && exec "$@"\''
    assert scalar('it\'s "so"') == "'it''s \"so\"'"
    assert scalar("it's 'so' \"!") == "\"it's 'so' \\\"!\""


@given(TEXTS | SURPRISES)
def test_no_text_becomes_a_template(text):
    written = escape_templates(text)
    assert (Renderer().render(written, {}) if is_template(written) else written) == text


def test_it_is_read_by_people():
    keys = {"base": {"image": "postgres:15"}, "set": {"A": "1", "B": "x y"}, "command": ["a", "b\nc"], "replicas": 3, "ready": {"within": "90s"}}  # fmt: skip
    note = Note(Where(file="compose.yaml", line=3, column=4), "db", "volumes", "left-out", "gone")
    unseen = note._replace(effect="meaningless", message="never shown")
    services = [ConvertedService("db", keys, True), ConvertedService("tool", {"once": True}, False)]
    assert write_spec("compose.yaml", services, [note, unseen], {"db": "db"}) == (
        "# Written by `envtool import compose compose.yaml`.\n"
        "version: 1\n"
        "\n"
        "services:\n"
        "  db:\n"
        "    # compose.yaml:3: `volumes`: gone\n"
        "    base:\n"
        '      image: "postgres:15"\n'
        "    set:\n"
        '      A: "1"\n'
        "      B: x y\n"
        "    command:\n"
        "      - a\n"
        "      - |-\n"
        "        b\n"
        "        c\n"
        "    replicas: 3\n"
        "    ready:\n"
        "      within: 90s\n"
        "\n"
        "  tool:\n"
        "    once: true\n"
        "\n"
        "envs:\n"
        "  unit:\n"
        "    # write the command of the tests: `tasks: {test: …}`\n"
        "    services: [db]\n"
    )

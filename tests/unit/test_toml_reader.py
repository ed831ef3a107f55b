"""TOML that strangers wrote: what is read, and what is refused before it takes long."""

from __future__ import annotations

import gc
import tomllib

import pytest

from envtool.api.toml_reader import MAX_KEY_PARTS, read_toml

MANY = 60_000
KEY = "a" + ".a" * MANY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{KEY} = 1", r"A key of more than 32 parts \(at line 1, column 1\)"),
        (f"\n[{KEY}]", r"\(at line 2, column 1\)"),
        (f"[[{KEY}]]", "A key of more than"),
        (f"x = {{ {KEY.replace('.', ' . ')} = 1 }}", "A key of more than"),
        ('"a"' + '."a"' * MANY + " = 1", "A key of more than"),
        ("'a'" + ".'a'" * MANY + " = 1", "A key of more than"),
        ("\n".join(f"[k{number}.a.a.a.a.a.a.a.a]" for number in range(30_000)), "dots outside of strings"),
        ("x = " + "1" * 5000, "digits"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "{a=" * 5000, "nested too deeply"),
        ('x = "' + "a." * MANY, "A key of more than"),
        ("x = 1\nx = 2", "Cannot overwrite"),
    ],
)  # fmt: skip
def test_what_would_take_long_or_fails_in_another_way_is_refused(text, words):
    with pytest.raises(tomllib.TOMLDecodeError, match=words):
        read_toml(text)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" + ".x" * (MAX_KEY_PARTS - 1) + " = 1",
        "[" + ".".join(["x"] * MAX_KEY_PARTS) + "]\n" + ".".join(["y"] * MAX_KEY_PARTS) + " = 1",
        'x = "' + "a." * MANY + '"',
        'x = """\n' + "Contents " + "." * MANY + ' 5\n"""',
        "# " + "and so on ... " * MANY,
        "x = [" + ", ".join(["1.5"] * MANY) + "]",
        'x = ["' + '", "'.join(["a.b.c"] * MANY) + '"]',
        'x = "' + '\\"' * MANY + '"\n# ' + "." * 40,
        "\n".join(f"[table-{number}.a.b]" for number in range(MANY // 2)),
    ],
)
def test_the_rest_is_read_as_python_reads_it(text):
    assert read_toml(text) == tomllib.loads(text)


def test_the_collector_stays_as_it_is():
    gc.disable()
    try:
        read_toml("a = 1")
        assert not gc.isenabled()
    finally:
        gc.enable()
    read_toml("a = 1")
    assert gc.isenabled()

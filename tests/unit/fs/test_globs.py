from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.fs import globs


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.py", ["a.py", ".py"], ["a/b.py", "a.pyc"]),
        ("**/*.py", ["a.py", "a/b/c.py"], ["a.pyc"]),
        ("a/**", ["a/b", "a/b/c", "a/\n"], ["a", "ab/c"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["az", "b/a/z"]),
        ("[!a-c]?", ["dx"], ["ax", "d/"]),
        ("[", ["["], ["a"]),
        ("/var/cache/[ab]*", ["/var/cache/apt"], ["/var/cache/x", "/var/cache/a/b"]),
    ],
)
def test_matches(pattern, yes, no):
    expression = globs.matcher((pattern,))
    assert [name for name in yes + no if expression.fullmatch(name)] == yes


PARTS = st.one_of(st.text("ab.*?[]!-", min_size=1, max_size=4), st.just("**"), st.just("ab"))
TREE = st.lists(st.text("ab.[]*", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(
    pattern=st.lists(PARTS, min_size=1, max_size=4).map("/".join), paths=st.lists(TREE, max_size=8), below=st.booleans()
)
def test_selected_is_what_the_expression_matches(pattern, paths, below):
    """Looking for a text of the pattern first leaves no match out."""
    expression = globs.matcher((pattern, f"{pattern}/**") if below else (pattern,))
    assert globs.select(pattern, paths, below=below) == [path for path in paths if expression.fullmatch(path)]


@pytest.mark.parametrize("pattern", ["a/b", "a/*", "**/b", "*b", "[a]/b", "?/b", "a[/b", "**", "b*/../b"])
def test_selected_paths_of_a_pattern(pattern):
    paths = ["a/b", "b", "a/a/b", "a[/b", "ab", "b/a/b"]
    expression = globs.matcher((pattern,))
    assert globs.select(pattern, paths) == [path for path in paths if expression.fullmatch(path)]


def test_nothing_matches_nothing():
    assert not globs.matcher(()).fullmatch("")


@given(st.text("ab*?.[]!-^\\", max_size=8), st.text("ab.^\\-", max_size=6))
def test_one_component_is_as_fnmatch_has_it(pattern, name):
    if "**" in pattern or "[" in pattern:
        globs.matcher((pattern,))  # never an invalid expression
        return
    assert bool(globs.matcher((pattern,)).fullmatch(name)) == fnmatch.fnmatchcase(name, pattern)

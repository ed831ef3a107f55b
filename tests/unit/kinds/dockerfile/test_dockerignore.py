"""`.dockerignore`, as moby/patternmatcher has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.kinds.dockerfile import dockerignore


def test_lines_are_cleaned():
    text = "\ufeff# no\n #yes\n\n  a/ \n/b/../c\n! d\n!\n./e\n.\n/\n**/f/\n"
    assert dockerignore.parse_patterns(text) == ("#yes", "a", "c", "!d", "e", "**/f")


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        (("a",), "a", True),
        (("a",), "a/b/c", True),
        (("a",), "ab", False),
        (("a",), "x/a", False),
        (("*",), "a/b", True),
        (("*.md",), "a.md", True),
        (("*.md",), "x/a.md", False),
        (("*/*.md",), "x/a.md", True),
        (("**/*.md",), "a.md", True),
        (("**/*.md",), "x/y/a.md", True),
        (("x/**",), "x/y/z", True),
        (("x/**",), "x", False),
        (("**/x/**/z",), "a/x/b/c/z", True),
        (("**",), "anything/at/all", True),
        (("a?c",), "abc", True),
        (("a?c",), "a/c", False),
        (("a[bc]d",), "acd", True),
        (("a[^bc]d",), "acd", False),
        (("a[^bc]d",), "aed", True),
        (("a\\*b",), "a*b", True),
        (("a\\*b",), "axb", False),
        (("*", "!a"), "a", False),
        (("*", "!a"), "a/b", False),
        (("*", "!a/b"), "a/b", False),
        (("*", "!a/b"), "a/c", True),
        (("*.md", "!README*.md", "README-secret.md"), "README.md", False),
        (("*.md", "!README*.md", "README-secret.md"), "README-secret.md", True),
        (("!a", "a"), "a", True),
        (("a[",), "a[", True),
    ],
)
def test_the_last_that_matches_decides(patterns, path, out):
    assert dockerignore.is_ignored(path, patterns) is out


PATHS = st.lists(st.text(alphabet="ab.", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(PATHS, st.lists(st.text(alphabet="ab.*?/[]!\\^", max_size=6), max_size=4))
def test_any_pattern_can_be_asked(path, lines):
    patterns = dockerignore.parse_patterns("\n".join(lines))
    dockerignore.is_ignored(path, patterns)
    assert dockerignore.is_ignored(path, (*patterns, "**"))
    assert not dockerignore.is_ignored(path, (*patterns, "!**"))


@given(PATHS, PATHS)
def test_what_is_below_goes_with_it(path, below):
    if "//" not in path and not {".", ".."} & {*path.split("/")}:
        assert dockerignore.is_ignored(f"{path}/{below}", dockerignore.parse_patterns(path))

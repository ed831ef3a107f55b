"""Variables, quotes and words: BuildKit's own examples (frontend/dockerfile/shell), and what must hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.kinds.dockerfile.shell_words import Lexer, WordError

VARIABLES = {
    "A": "a b", "EMPTY": "", "FILE": "/usr/lib/x.tar.gz", "PWD": "/home", "SHELL": "bash", "NUM1": "1", "STARS": "a*b\\c",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expanded", "words"),
    [
        ("$A", "a b", ["a", "b"]),
        ('"$A"', "a b", ["a b"]),
        ("'$A'", "$A", ["$A"]),
        ("\\$A", "$A", ["$A"]),
        ("x${A}y", "xa by", ["xa", "by"]),
        ("$Ax", "", []),
        ("he'll'o \"a\\\"b\"", 'hello a"b', ["hello", 'a"b']),
        ('"a\\nb"', "a\\nb", ["a\\nb"]),
        ("a\\ b c", "a b c", ["a b", "c"]),
        ("$", "$", ["$"]),
        ("$1x", "x", ["x"]),
        ("${EMPTY:-d}|${EMPTY-d}|${GONE-d}|${GONE:-$SHELL}", "d||d|bash", ["d||d|bash"]),
        ("${A:+yes}|${EMPTY:+yes}|${EMPTY+yes}|${GONE+yes}", "yes||yes|", ["yes||yes|"]),
        ("${A:?no}|${EMPTY?no}", "a b|", ["a", "b|"]),
        ("${FILE#*/}|${FILE##*/}", "usr/lib/x.tar.gz|x.tar.gz", ["usr/lib/x.tar.gz|x.tar.gz"]),
        ("${FILE%.*}|${FILE%%.*}", "/usr/lib/x.tar|/usr/lib/x", ["/usr/lib/x.tar|/usr/lib/x"]),
        ("${FILE%x}|${FILE#x}|${GONE%x}", "/usr/lib/x.tar.gz|/usr/lib/x.tar.gz|", None),
        ("${STARS#a\\*}|${STARS%\\\\c}", "b\\c|a*b", None),
        ("${FILE/lib/LIB}|${FILE//\\//:}|${FILE/?sr/}", "/usr/LIB/x.tar.gz|:usr:lib:x.tar.gz|//lib/x.tar.gz", None),
        ("a<<b c << d", "a<<b c << d", ["a<<b", "c", "<< d"]),
    ],
)  # fmt: skip
def test_as_buildkit_reads_them(text, expanded, words):
    assert Lexer().expand(text, VARIABLES) == expanded
    if words is not None:
        assert Lexer().split(text, VARIABLES) == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("'a", "single quote"),
        ('"a', "double quote"),
        ("${A", "has no `}`"),
        ("${A:-b", "has no `}`"),
        ("${", "has no `}`"),
        ("${}", "bad substitution"),
        ("${:A}", "bad substitution"),
        ("${A!b}", "`!`"),
        ("${A:#b}", "`:#`"),
        ("${GONE:?is wanted}", "GONE: is wanted"),
        ("${EMPTY:?}", "is not set, or empty"),
        ("${A#\\x}", "means nothing"),
        ("${GONE:-" * 2000, "too deep"),
    ],
)
def test_what_cannot_be_read_is_said(text, why):
    with pytest.raises(WordError, match=why.replace("$", r"\$").replace("{", r"\{")):
        Lexer().expand(text, VARIABLES)


def test_a_backtick_can_be_the_escape():
    assert Lexer(escape="`").expand("C:\\a`$A", VARIABLES) == "C:\\a$A"


def test_here_documents_keep_their_quotes():
    lexer = Lexer(quotes=False)
    assert lexer.expand("say \"$A\" 'it''s' \\$A", VARIABLES) == "say \"a b\" 'it''s' $A"


def test_what_is_not_set_can_stay():
    lexer = Lexer(keep_unset=True)
    assert lexer.expand("$X ${X} ${X:-a} ${X%b} ${X/a/b} $SHELL", VARIABLES) == "$X ${X} ${X:-a} ${X%b} ${X/a/b} bash"


PLAIN = st.text(st.characters(blacklist_characters="\"'$\\<", blacklist_categories=("Cs",)))


@given(PLAIN)
def test_plain_text_is_itself(text):
    assert Lexer().expand(text, VARIABLES) == text
    assert Lexer().split(text, VARIABLES) == text.split()


@given(st.text(st.characters(blacklist_characters="'", blacklist_categories=("Cs",)), min_size=1))
def test_single_quotes_keep_anything(text):
    assert Lexer().split(f"'{text}'", VARIABLES) == [text]


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1))
def test_a_value_is_never_expanded_again(value):
    assert Lexer().split('"$X"', {"X": value}) == [value]
    assert Lexer().expand("${X}", {"X": value}) == value


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        Lexer().expand(text, VARIABLES)
    except WordError:
        return


@given(st.text(alphabet="ab/.", max_size=8), st.text(alphabet="ab/.*?", max_size=4))
def test_trimming_is_what_a_shell_does(value, pattern):
    """The shortest is never longer than the longest, and both leave an end (or a beginning) of the value."""
    for sign, fits in (("#", value.endswith), ("%", value.startswith)):
        short = Lexer().expand(f"${{V{sign}{pattern}}}", {"V": value})
        long = Lexer().expand(f"${{V{sign}{sign}{pattern}}}", {"V": value})
        assert fits(short)
        assert fits(long)
        assert len(short) >= len(long)


@pytest.mark.parametrize(
    "word",
    ["$V$V", "${V}${V}", "${GONE:-$V$V}", "${V:+$V$V}", "${V:-}${V-}", "${V#y}${V%y}", "${V//x/$V}", "${V/x/$V$V}", '"$V$V"',
     "${GONE:-${GONE:-$V}$V}", "a $V b $V", "${V:?}$V"],
)  # fmt: skip
def test_variables_add_only_so_much(word):
    with pytest.raises(WordError, match=r"longer than 65,536 characters"):
        Lexer().expand(word, {"V": "x" * 40_000})
    assert len(Lexer().expand(word, {"V": "x" * 100})) >= 200  # what is shorter is as it was


def test_what_is_written_may_be_longer_than_what_variables_add():
    text = "x" * 200_000 + "$V"
    assert Lexer(quotes=False).expand(text, {"V": "y" * 60_000}) == text[:-2] + "y" * 60_000

"""What is added to the parser: flags, here-documents, the line of an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.kinds.dockerfile.parser import DockerfileError, escape_character, is_heredoc_only, parse


def one(text: str):
    return parse(f"FROM x\n{text}")[1]


def test_an_instruction():
    it = one("run --mount=type=cache,target=/c --network=none \\\n  # a remark\n  echo a \\\n  b")
    assert (it.name, it.arguments, it.line) == ("RUN", ("echo a   b",), 2)
    assert it.flags == (("mount", "type=cache,target=/c"), ("network", "none"))
    assert it.flag("network") == "none"
    assert it.flag("none", "default") == "default"
    assert it.all("mount") == ("type=cache,target=/c",)


def test_flags_of_yes_and_no():
    assert one("COPY --link a b").has("link")
    assert one("COPY --link=true a b").has("link")
    assert not one("COPY --link=false a b").has("link")
    assert not one("COPY a b").has("link")
    with pytest.raises(DockerfileError, match="`true` or `false`"):
        one("COPY --link=maybe a b").has("link")


def test_json_and_shell_form():
    assert one('CMD ["a", "b c"]').json
    assert one('CMD ["a", b]').arguments == ('["a", b]',)


def test_here_documents():
    it = one("RUN <<A cat - <<-'B' 3<<C\na $X\nA\n\tb\n\tB\nc\nC")
    assert [(each.name, each.expand, each.chomp) for each in it.heredocs] == [
        ("A", True, False),
        ("B", False, True),
        ("C", True, False),
    ]
    assert [each.text() for each in it.heredocs] == ["a $X\n", "b\n", "c\n"]
    assert it.arguments == ("<<A cat - <<-'B' 3<<C",)
    copy = one('COPY <<a.txt <<"b.txt" /to/\n1\na.txt\n2\nb.txt\n')
    assert [(each.name, each.expand, each.content) for each in copy.heredocs] == [
        ("a.txt", True, "1\n"),
        ("b.txt", False, "2\n"),
    ]
    assert is_heredoc_only("<<EOF")
    assert is_heredoc_only("<<-'EOF'")
    assert not is_heredoc_only("cat <<EOF")
    assert not is_heredoc_only("<<EOF cat")


def test_the_escape_directive():
    text = "# syntax=x\n# escape=`\nFROM a\nRUN a `\n b\n"
    assert escape_character(text) == "`"
    assert parse(text)[1].arguments == ("a  b",)
    assert escape_character("FROM a\n# escape=`\n") == "\\"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "no instructions"),
        ("FROM a\nENV a=b \\\n c\nRUN x\n", 3, "can't find ="),
        ("FROM a\n\nRUN <<EOF\nx\n", 3, "unterminated"),
        ("FROM a\nRUN b\0\nRUN c\n", 2, "NUL"),
    ],
)
def test_errors_have_a_line(text, line, why):
    with pytest.raises(DockerfileError, match=why) as caught:
        parse(text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ONBUILD FROM x\n", "cannot be a trigger"),
        ("ONBUILD\n", "no instruction"),
        ("ONBUILD RUN <<EOF\nx\nEOF\n", "here-documents in ONBUILD"),
        ("COPY <<'a b' /x\ny\na b\n", "blank"),
        ("RUN --=x y\n", "not a flag"),
    ],
)
def test_what_is_wrong_with_one_counts_where_it_is_needed(text, why):
    fault = parse(f"FROM a\n{text}")[1].fault
    assert fault is not None
    assert why in fault.message
    assert fault.line == 2


def test_without_the_parser(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dockerfile", None)
    parse.cache_clear()
    with pytest.raises(DockerfileError, match="is not installed") as caught:
        parse("FROM nobody-asked-for-this\n")
    assert "pip install 'dockerfile>=" in caught.value.hint


LINES = st.sampled_from(
    ["FROM a", "RUN <<EOF", "EOF", "RUN a \\", "# c", "COPY --x a b", "ENV a b", "ENV a=b", 'CMD ["a"]', "", "\t", "x y", "LABEL"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=8) | st.lists(st.text(max_size=20), max_size=4))
def test_any_text_is_parsed_or_refused(lines):
    text = "\n".join(lines)
    try:
        places = [each.line for each in parse(text)]
    except DockerfileError as fault:
        places = [fault.line]
    assert places == sorted(places)
    assert all(1 <= place <= text.count("\n") + 1 for place in places)

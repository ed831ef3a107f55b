import pytest
from wordcount import count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", {}),
        ("To be, or not to be.", {"to": 2, "be": 2, "or": 1, "not": 1}),
        ("don't — well-known", {"don't": 1, "well-known": 1}),
        ("Straße STRASSE", {"strasse": 2}),
        ("2 + 2 = 4", {}),
    ],
)
def test_count(text, words):
    assert count(text) == words

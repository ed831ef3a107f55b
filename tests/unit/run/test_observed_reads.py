"""Which changes of a project a result with known reads outlives: pure."""

from __future__ import annotations

import random

import pytest

from envtool.container.looked_up_names import is_below
from envtool.run.observed_reads import holds, read_paths
from envtool.store import results
from envtool.store.results import StoredReads

FILE, PROGRAM, LINK = 0o100000, 0o100111, 0o120000
FILES = {"a": (FILE, "1"), "d/b": (FILE, "2"), "d/e/c": (PROGRAM, "3"), "l": (LINK, "4"), "da": (FILE, "5")}


def reads(*unread: str) -> StoredReads:
    return StoredReads(len(read_paths(FILES, unread)), len(FILES), unread)


@pytest.mark.parametrize(
    ("unread", "change", "expected"),
    [
        ((), {}, True),
        ((), {"a": (FILE, "9")}, False),
        (("a",), {"a": (FILE, "9")}, True),
        (("d",), {"d/b": (FILE, "9"), "d/e/c": (PROGRAM, "9")}, True),
        (("d",), {"da": (FILE, "9")}, False),
        (("d/e",), {"d/b": (FILE, "9")}, False),
        (("d/b",), {"d/e/c": (PROGRAM, "9")}, False),
        (("a",), {"a": (PROGRAM, "1")}, False),
        (("l",), {"l": (LINK, "9")}, False),
        (("a",), {"a": (LINK, "1")}, False),
        (("a", "d", "l", "da"), {"new": (FILE, "9")}, False),
        (("a", "d", "l", "da"), {"a": None}, False),
        (("a", "d", "l", "da"), {"a": None, "A": (FILE, "1")}, False),
    ],
)
def test_a_result_holds_while_only_content_changed_that_was_not_read(unread, change, expected):
    now = {path: row for path, row in {**FILES, **change}.items() if row is not None}
    assert holds(reads(*unread), FILES, now) is expected
    assert holds(reads(*unread), now, FILES) is expected


@pytest.mark.parametrize("known", [None, StoredReads(5, 5, None, "services run beside it")])
def test_all_files_count_where_the_reads_are_not_known(known):
    assert holds(known, FILES, {**FILES})
    assert not holds(known, FILES, {**FILES, "a": (FILE, "9")})


def test_no_change_of_what_was_read_is_overlooked():
    """Against the definition, for random trees."""
    draw = random.Random(157)
    for _ in range(2000):
        paths = {"/".join(draw.choice("abc") for _ in range(draw.randint(1, 3))) for _ in range(6)}
        before = {path: (draw.choice((FILE, PROGRAM, LINK)), str(draw.randint(0, 1))) for path in paths}
        now = {path: row if draw.random() < 0.7 else (row[0], "changed") for path, row in before.items()}
        unread = tuple(path[: draw.randint(1, len(path))].rstrip("/") for path in paths if draw.random() < 0.5)
        changed = [path for path in before if before[path] != now[path]]
        allowed = all(
            any(path == name or path.startswith(f"{name}/") for name in unread) and before[path][0] != LINK
            for path in changed
        )
        assert holds(StoredReads(0, 6, unread), before, now) is allowed


def test_a_path_is_below_a_name_only_as_a_whole():
    names = {"d", "e/f"}
    assert [is_below(path, names) for path in ("d", "d/x", "da", "e", "e/f/g", "", "x/d")] == [
        True, True, False, False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        7, [], {"read": 1}, {"read": "1", "total": 2, "unread": [], "reason": ""},
        {"read": 1, "total": 2, "unread": "ab", "reason": ""}, {"read": 1, "total": 2, "unread": [1], "reason": ""},
        {"read": 1, "total": 2, "unread": None, "reason": None},
    ],
)  # fmt: skip
def test_reads_that_no_envtool_wrote_make_a_result_no_result(value):
    with pytest.raises((TypeError, LookupError)):
        results._parse_reads(value)

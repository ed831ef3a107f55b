"""Times of files that keep caches from stale builds: any sequence of checkouts, runs and failures, and make's rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envtool.run import shown_times
from envtool.run.shown_times import CacheRecord, FileState

NAMES = ("a", "b", "sub/c")
NOTHING = CacheRecord(0, {})


def state(content: str, mtime: int, *, size: int = 1, kind: str = "file") -> FileState:
    return FileState(content.encode(), size, mtime, kind)


def decide(files, records, moment, links=None):
    warm = [(record, shown_times.find_changed(files, record, (links or {}).get)) for record in records]
    return shown_times.shown_times(files, warm, moment)


CHECKOUTS = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from("xyz"), st.integers(0, 40)), max_size=3)
RUNS = st.lists(
    st.tuples(
        CHECKOUTS,
        st.sets(st.sampled_from((0, 1)), min_size=1),  # the caches that the run has
        st.sets(st.sampled_from(NAMES)),  # what it builds
        st.booleans(),  # whether it is published
        st.integers(1, 5),  # how long after the last run it begins
    ),
    max_size=12,
)


@given(RUNS)
def test_nothing_that_make_keeps_is_of_another_content(runs):
    """An artefact of a cache is built anew where its source is newer, as make does; it then is of that source."""
    now, caches = 10, {0: (NOTHING, {}), 1: (NOTHING, {})}
    for checkout, used, built, published, pause in runs:
        now += pause
        files = {name: state(content, mtime) for name, (content, mtime) in checkout.items()}
        moment = max([now, *(caches[number][0].used + 1 for number in used)])
        warm = [caches[number][0] for number in sorted(used) if caches[number][0].used]
        times = decide(files, warm, moment)
        now = max(now, moment) + 1
        for number in sorted(used):
            artefacts = dict(caches[number][1])
            for name in built & files.keys():
                if name not in artefacts or times[name] > artefacts[name][1]:
                    artefacts[name] = (files[name].digest, now)
                assert artefacts[name][0] == files[name].digest, (name, times)
            if published:
                seen = {name: (files[name].digest, times[name]) for name in files}
                caches[number] = (CacheRecord(now, seen), artefacts)
        now += 1


def test_content_that_is_the_same_has_the_time_that_it_had():
    record = CacheRecord(100, {"a": (b"x", 50), "b": (b"x", 50), "sub/c": (b"x", 50)})
    files = {"a": state("x", 150), "b": state("x", 20), "sub/c": state("y", 20)}
    assert decide(files, [record], 200) == {"a": 50, "b": 50, "sub/c": 200}


def test_a_time_of_its_own_that_is_new_stays():
    record = CacheRecord(100, {"a": (b"x", 50)})
    assert decide({"a": state("y", 150), "b": state("y", 99), "sub/c": state("y", 999)}, [record], 200) == {
        "a": 150,
        "b": 200,
        "sub/c": 200,
    }


def test_without_a_warm_cache_nothing_changes():
    files = {"a": state("x", 5), "b": state("y", 999)}
    assert decide(files, [], 200) == {"a": 5, "b": 999}


def test_of_several_caches_the_latest_counts():
    files = {"a": state("x", 10)}
    first, second = CacheRecord(100, {"a": (b"x", 10)}), CacheRecord(150, {"a": (b"x", 120)})
    assert decide(files, [first, second], 200) == {"a": 120}
    assert decide(files, [first, CacheRecord(150, {})], 200) == {"a": 200}


def test_much_that_would_only_be_older_stays_as_it_is():
    """It would have to be copied. What has to be newer is new nevertheless."""
    size = shown_times.MAX_OLDER_BYTES
    record = CacheRecord(100, {"a": (b"x", 50), "b": (b"x", 50), "sub/c": (b"x", 50)})
    files = {"a": state("x", 150, size=size), "b": state("x", 150), "sub/c": state("y", 20)}
    assert decide(files, [record], 200) == {"a": 150, "b": 150, "sub/c": 200}


def test_a_link_brings_what_it_leads_to():
    files = {
        "inc": state("to v2", 5, kind="link"),
        "v2/more": state("to more2", 5, kind="link"),
        "v2/h": state("h", 5),
        "more2": state("m", 5),
        "other": state("o", 5),
    }
    record = CacheRecord(100, {**{name: (one.digest, 5) for name, one in files.items()}, "inc": (b"to v1", 5)})
    links = {"inc": "./v2", "v2/more": "../more2"}
    assert decide(files, [record], 200, links) == {
        "inc": 200, "v2/more": 200, "v2/h": 200, "more2": 200, "other": 5,
    }  # fmt: skip
    for target in ("/etc", "../x", ".", ""):
        assert decide({"l": files["inc"], "o": files["other"]}, [record], 200, {"l": target})["o"] in (5, 200)


def test_names_of_directories():
    assert shown_times.directories_of(["a", "sub/c", "sub/deep/d", "sub/b"]) == {
        ".": ["a", "sub"], "sub": ["b", "c", "deep"], "sub/deep": ["d"],
    }  # fmt: skip

"""The conformance kit finds what is wrong with a kind: each promise broken once."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from typing import ClassVar

import pytest

from envtool import api, testing

BODY = b"body"
URL = "https://files.invalid/body.tgz"
SHA = hashlib.sha256(BODY).hexdigest()


class Good(api.Kind):
    name: ClassVar[str] = "good"
    schema: ClassVar[api.Json] = {"type": "string", "description": "a word"}

    def resolve(self, request, site):
        if request.options != "word":
            raise api.ResolveError(f"there is no {request.options}", code="x", hint="try another")
        (fetch,) = site.learn([api.Sealed(urls=(URL,), name="body.tgz")])
        return {"sha256": fetch.sha256}

    def fetches(self, request, pins):
        return (api.Fetch(url="", sha256=pins["sha256"], name="body.tgz"),)

    def locate(self, request, pins, fetches, site):
        return [replace(fetch, url=URL, authorization="Bearer x") for fetch in fetches]

    def in_project(self, request, pins):
        return {"vendor": "/opt/vendor"}

    def build(self, request, pins):
        return api.Recipe(steps=(api.Unpack(name="body.tgz", target="/opt/vendor"),))


def site():
    return testing.MemorySite(urls={URL: BODY})


def check(kind):
    return testing.check_kind(kind, "word", site=site(), wrong=[3])


def test_a_good_kind_passes():
    assert check(Good()) == {"sha256": SHA}


BROKEN = {
    "locate": (lambda self, request, pins, fetches, site: [], "gives other files"),
    "in_project": (lambda self, request, pins: {"../out": "/opt"}, "not in the project"),
    "fetches": (
        lambda self, request, pins: (api.Fetch(url=URL, sha256=SHA, name="body.tgz", authorization="Bearer x"),),
        "credentials belong",
    ),
    "build": (
        lambda self, request, pins: api.Recipe(steps=(api.Unpack(name="other", target="/"),)),
        "not among its fetches",
    ),
    "inputs": (lambda self, options: (api.Input("../x", required=False),), "leads out of the project"),
    "variables": (lambda self, request, pins: {"A": 3}, "neither text nor None"),
}


@pytest.mark.parametrize("method", BROKEN)
def test_a_broken_promise_is_named(method):
    function, said = BROKEN[method]
    with pytest.raises(AssertionError, match=said):
        check(type("Bad", (Good,), {method: function})())


@pytest.mark.parametrize(("place", "source"), [(".", "/opt/vendor"), ("./", api.PROJECT), ("a/..", "/opt")])
def test_what_lies_over_the_project_is_in_its_place(place, source):
    class Bad(Good):
        def in_project(self, request, pins):
            return {place: source}

    with pytest.raises(AssertionError, match="a directory for the whole project"):
        check(Bad())


def test_a_tree_over_the_project_and_a_variable_that_is_taken_away():
    class Over(Good):
        def in_project(self, request, pins):
            return {".": api.PROJECT}

        def variables(self, request, pins):
            return {"GEM_PATH": "/opt/vendor", "LANG": None}

    check(Over())


def test_one_that_does_not_know_where_its_files_are():
    lost = type("Lost", (Good,), {"locate": lambda self, request, pins, fetches, site: fetches})
    with pytest.raises(AssertionError, match="does not say where it is"):
        check(lost())


def test_a_build_of_fetched_files_needs_no_network():
    online = type("Online", (Good,), {"build": lambda self, request, pins: api.Recipe(network=True)})
    with pytest.raises(AssertionError, match="needs no network"):
        check(online())


def test_refusing_clearly():
    error = testing.check_refused(Good(), "other", "no other", "try another", site=site())
    assert error.code == "x"
    with pytest.raises(AssertionError, match="is not refused"):
        testing.check_refused(Good(), "word", site=site())
    with pytest.raises(AssertionError, match="does not say 'why'"):
        testing.check_refused(Good(), "other", "why", site=site())
    crash = type("Crash", (Good,), {"resolve": lambda self, request, site: {}["x"]})
    with pytest.raises(AssertionError, match="KeyError, which is a crash"):
        testing.check_refused(crash(), "word")


def test_a_site_in_memory_checks_what_it_hands_out():
    wrong = "sha256-" + "A" * 43 + "="
    with pytest.raises(api.FetchError, match="not what its sha256 says"):
        site().learn([api.Sealed(urls=("https://gone.invalid/x", URL), name="x", integrity=wrong)])
    with pytest.raises(api.FetchError, match="in none of"):
        site().learn([api.Sealed(urls=("https://gone.invalid/x",), name="x")])


# ---- readers of output -----------------------------------------------------------------------------------------------


class Lines(api.LineReader):
    """`2 right, 1 wrong` below `begin`."""

    pattern: ClassVar[str] = r"(\d++) right, (\d++) wrong$"

    def __init__(self):
        self.begun = False

    def feed_line(self, text):
        begun, self.begun = self.begun, text == "begin" or (self.begun and text != "end")
        match = re.match(self.pattern, text)
        if not match:
            return None
        return api.Suite.of(("failed", int(match[2])), ("passed", int(match[1])), proven=begun)


def reader(start=Lines, begins=r"begin|\d"):
    return api.OutputReader(name="lines", start=start, begins=begins)


LINES = "begin\n2 right, 1 wrong\n"


def test_a_good_reader_passes():
    assert testing.check_reader(reader(), LINES, "1 failed, 2 passed") == ()
    assert testing.check_reader(reader(), "other\n", "") == ()


class Slow(Lines):
    def feed_line(self, text):
        began = time.process_time()
        while len(text) > 1000 and time.process_time() - began < 0.15:
            pass
        return super().feed_line(text) if len(text) < 30 else None


class Fragile(Lines):
    def feed_line(self, text):
        if text.startswith("2") and not self.begun:
            raise LookupError("no beginning")
        self.begun = self.begun or text == "begin"
        return api.Suite.of(("passed", 3), proven=True) if text.startswith("2") else None


@pytest.mark.parametrize(
    ("broken", "counts", "words"),
    [
        (reader(), "3 passed", "the counts are `1 failed, 2 passed`, not `3 passed`"),
        (reader(begins=r"\d"), "1 failed, 2 passed", "it needs lines that are left out"),
        (reader(start=Fragile), "3 passed", "LookupError: no beginning"),
        (reader(start=Slow, begins=""), "", "a long line costs much"),
    ],
)
def test_a_reader_that_breaks_a_promise_is_found(broken, counts, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_reader(broken, LINES if counts else "begin\n", counts)

"""Suites and packages that are not there: what they are like, and all of them at once."""

from __future__ import annotations

import pytest

from envtool.api import ResolveError
from envtool.kinds.debian import mirrors, suites
from envtool.kinds.debian.dependencies import minimal_system, require_packages
from envtool.kinds.debian.package_index import PackageIndex

from .conftest import stanza

INDEX = PackageIndex(["\n".join([stanza("gcc"), stanza("make"), stanza("mawk", Provides="awk"), stanza("libfoo-dev")])])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bookwrm", "bookworm"), ("bookwurm", "bookworm"), ("trixi", "trixie"), ("jamy", "jammy"), ("nobel", "noble"),
        ("bulseye", "bullseye"), ("Bookworm", "bookworm"), ("bookwrm-updates", "bookworm"), ("sidd", "sid"),
        ("bookworm", ""), ("bookworm-security", ""), ("kali-rolling", ""), ("buster", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_suite_is_named_that_a_wrong_one_is_like(written, meant):
    assert suites.nearest_suite(written) == meant


def test_a_suite_without_a_mirror_says_both():
    with pytest.raises(ResolveError) as caught:
        mirrors.choose_mirrors("bookwrm", sources=(), environ={})
    assert "did you mean `bookworm`?" in caught.value.hint
    assert "mirror:" in caught.value.hint


def test_all_packages_that_are_missing_are_told_at_once():
    with pytest.raises(ResolveError) as caught:
        require_packages(INDEX, ["gccc", "make", "awk", "mke", "libbar-dev"], "bookworm")
    assert caught.value.message == "no packages `gccc`, `mke` and `libbar-dev` in bookworm"
    assert caught.value.hint == "did you mean `gcc` for `gccc`, `make` for `mke`?"


@pytest.mark.parametrize(("written", "meant"), [("mak", "make"), ("maw", "mawk"), ("mawkk", "mawk"), ("gc", "gcc")])
def test_of_names_that_are_as_near_the_one_that_goes_on_is_meant(written, meant):
    with pytest.raises(ResolveError) as caught:
        require_packages(INDEX, [written], "bookworm")
    assert caught.value.hint.startswith(f"did you mean `{meant}`")
    assert caught.value.code == "no-package"
    with pytest.raises(ResolveError, match="no package `nope` in sid"):
        require_packages(INDEX, ["gcc", "nope"], "sid")
    require_packages(INDEX, ["gcc", "awk"], "sid")


def test_those_of_a_base_too():
    with pytest.raises(ResolveError, match="no packages `one` and `two` in sid"):
        minimal_system(INDEX, ["one", "gcc", "two"], suite="sid")

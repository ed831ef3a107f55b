from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from envtool.api import ResolveError
from envtool.kinds.debian.dependencies import dependency_closure, minimal_system, nearest_name_hint
from envtool.kinds.debian.package_index import PackageIndex

from .conftest import stanza

DATA = Path(__file__).parent / "data"


def index(*texts):
    return PackageIndex(["\n".join(items) for items in texts])


def names(packages):
    return [package.name for package in packages]


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "bullseye"])
def test_the_minimal_system_is_mmdebstraps(suite):
    """`data/SUITE.minbase` is what `mmdebstrap --variant=minbase SUITE` installed; bookworm's has the converter to
    a merged /usr with the perl modules that it needs, which nothing needs where /usr was never anything else."""
    found = minimal_system(
        PackageIndex([lzma.decompress((DATA / f"{suite}.Packages.xz").read_bytes()).decode()]), suite=suite
    )
    theirs = set((DATA / f"{suite}.minbase").read_text().split())
    ours = set(names(found))
    if suite == "bookworm":
        assert ours - theirs == {"usr-is-merged"}
        assert theirs - ours == {
            "usrmerge", "perl", "perl-modules-5.36", "libperl5.36", "libgdbm6", "libgdbm-compat4",
            "libfile-find-rule-perl", "libnumber-compare-perl", "libtext-glob-perl",
        }  # fmt: skip
    else:
        assert ours == theirs


def test_a_stanza_is_read():
    package = index([stanza("a", "1:2-3", Essential="yes", Priority="required", Multi_Arch="same")])["a"]
    assert (package.version, package.essential, package.size) == ("1:2-3", True, 10)


def test_the_highest_version_of_all_pockets_wins():
    found = index([stanza("a", "2.9"), stanza("b", "1")], [stanza("a", "2.10~rc1"), stanza("b", "1")])
    assert (found["a"].version, found["a"].origin) == ("2.10~rc1", 1)
    assert found["b"].origin == 0
    assert [it.version for it in found.versions("a")] == ["2.9", "2.10~rc1"]


def test_marks_count_for_the_version_that_wins():
    found = index([stanza("a", "1", Essential="yes"), stanza("b", Essential="yes")], [stanza("a", "2")])
    assert found.marked("Essential", "yes") == ["b"]


def test_a_path_that_leaves_the_mirror_is_refused():
    for path in ("../x.deb", "/x.deb", "pool/../../x.deb"):
        with pytest.raises(ResolveError, match="leaves the mirror"):
            index([stanza("a", Filename=path)])["a"]


def test_a_stanza_without_a_hash_is_refused():
    text = "\n".join(line for line in stanza("a").splitlines() if "SHA256" not in line)
    with pytest.raises(ResolveError, match="`a`"):
        PackageIndex([text])["a"]


def test_alternatives_take_what_is_chosen_already_else_the_first_that_fits():
    found = index([stanza("a", Depends="x (>= 2) | y | z"), stanza("x"), stanza("y"), stanza("z")])
    assert names(dependency_closure(found, ["a"], suite="s")) == ["a", "y"]
    assert names(dependency_closure(found, ["z", "a"], suite="s")) == ["a", "z"]


def test_a_virtual_name_takes_the_provider_of_highest_priority():
    found = index([
        stanza("a", Pre_Depends="awk"),
        stanza("gawk", Provides="awk"),
        stanza("mawk", Provides="awk (= 1), x", Priority="required"),
    ])  # fmt: skip
    assert names(dependency_closure(found, ["a"], suite="s")) == ["a", "mawk"]
    assert names(dependency_closure(found, ["gawk", "a"], suite="s")) == ["a", "gawk"]


def test_a_circle_ends():
    found = index([stanza("a", Depends="b"), stanza("b", Depends="a")])
    assert names(dependency_closure(found, ["a"], suite="s")) == ["a", "b"]


def test_what_cannot_be_had_is_named_with_who_needs_it():
    found = index([stanza("a", Depends="missing | gone"), stanza("b", Depends="c (>= 5)"), stanza("c", "4")])
    with pytest.raises(ResolveError, match=r"`a` needs `missing [|] gone`"):
        dependency_closure(found, ["a"], suite="s")
    with pytest.raises(ResolveError, match="`b` needs `c`"):
        dependency_closure(found, ["b"], suite="s")
    with pytest.raises(ResolveError) as caught:
        dependency_closure(index([stanza("python3")]), ["pyton3"], suite="bookworm")
    assert caught.value.message == "no package `pyton3` in bookworm"
    assert caught.value.hint == "did you mean `python3`?"


def test_near_is_empty_without_anything_near():
    assert nearest_name_hint("zzz", ["abc"]) == ""
    assert nearest_name_hint("", ["abc"]) == ""

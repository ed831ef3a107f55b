"""Lock files: fragments as npm 6, 7, 9 and 11 wrote them; hosts are made up."""

from __future__ import annotations

import json

import pytest
from envtool_node.lockfile import (
    REGISTRY,
    NodePlatform,
    WrongLockError,
    fits_platform,
    is_installed,
    linked_directories,
    name_of,
    node_modules_parents,
    offline_lockfile,
    parse_lockfile,
    select_tarballs,
    strip_registry_hosts,
    tarball_of_entry,
    without_unfit_bundled,
)
from hypothesis import given
from hypothesis import strategies as st

HOST = "https://npm.example.invalid"
LINUX = NodePlatform(os="linux", cpu="x64", libc="glibc")
SHA512 = "sha512-1rYdTpyv03iycF1+BhzrzQJCdOuAOtaqHTWJZCWvijKD2N5Xu0TtVC8/+1faWqcP9iBCWOmjmhoH94dH82BxPQ=="

# esbuild 0.21, react's scheduler, an alias, a bundled dependency, a workspace with a version of its own
PACKAGES = {
    "": {"name": "site", "version": "1.0.0", "workspaces": ["packages/*"], "dependencies": {"esbuild": "^0.21.5"}},
    "node_modules/@esbuild/linux-x64": {
        "version": "0.21.5",
        "resolved": f"{HOST}/@esbuild/linux-x64/-/linux-x64-0.21.5.tgz",
        "integrity": SHA512,
        "cpu": ["x64"],
        "optional": True,
        "os": ["linux"],
        "engines": {"node": ">=12"},
    },
    "node_modules/@esbuild/darwin-arm64": {
        "version": "0.21.5",
        "resolved": f"{HOST}/@esbuild/darwin-arm64/-/darwin-arm64-0.21.5.tgz",
        "integrity": "sha512-darwin",
        "cpu": ["arm64"],
        "optional": True,
        "os": ["darwin"],
    },
    "node_modules/esbuild": {
        "version": "0.21.5",
        "resolved": f"{HOST}/esbuild/-/esbuild-0.21.5.tgz",
        "integrity": "sha512-esbuild",
        "hasInstallScript": True,
        "bin": {"esbuild": "bin/esbuild"},
    },
    "node_modules/string-width-cjs": {
        "name": "string-width",
        "version": "4.2.3",
        "resolved": f"{HOST}/string-width/-/string-width-4.2.3.tgz",
        "integrity": "sha512-width",
        "dev": True,
    },
    "node_modules/npm/node_modules/abbrev": {"version": "2.0.0", "inBundle": True, "license": "ISC"},
    "node_modules/a": {"resolved": "packages/a", "link": True},
    "packages/a": {"version": "1.0.0", "dependencies": {"is-number": "6.0.0"}},
    "packages/a/node_modules/is-number": {"version": "6.0.0", "integrity": "sha512-number", "peer": True},
}
V1 = {
    "name": "old",
    "lockfileVersion": 1,
    "requires": True,
    "dependencies": {
        "balanced-match": {
            "version": "1.0.0",
            "resolved": f"{HOST}/balanced-match/-/balanced-match-1.0.0.tgz",
            "integrity": "sha1-ibTRmasr7kneFk6gK4nORi1xt2c=",
        }
    },
}


def lock(version, **more):
    return json.dumps({"name": "x", "lockfileVersion": version, "packages": PACKAGES, **more})


def test_versions_two_and_three_have_packages_and_one_has_not():
    assert parse_lockfile(lock(3), "l") == PACKAGES
    assert parse_lockfile(lock(2, dependencies={}), "l") == PACKAGES
    assert parse_lockfile(json.dumps(V1), "l") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "l is not JSON"),
        ("[]", "lockfileVersion None"),
        ('{"lockfileVersion": 4, "packages": {}}', "lockfileVersion 4 is not known"),
        ('{"lockfileVersion": 3, "packages": []}', "not a mapping"),
        ('{"lockfileVersion": 3, "packages": {"": 1}}', "not a mapping"),
    ],
)
def test_what_is_no_lock_file_is_said(text, said):
    with pytest.raises(WrongLockError, match=said):
        parse_lockfile(text, "l")


def test_what_is_wanted_here():
    found = select_tarballs(PACKAGES, LINUX)
    assert {place: item.path for place, item in found.items()} == {
        "node_modules/@esbuild/linux-x64": "@esbuild/linux-x64/-/linux-x64-0.21.5.tgz",
        "node_modules/esbuild": "esbuild/-/esbuild-0.21.5.tgz",
        "node_modules/string-width-cjs": "string-width/-/string-width-4.2.3.tgz",
        "packages/a/node_modules/is-number": "is-number/-/is-number-6.0.0.tgz",
    }
    mac = select_tarballs(PACKAGES, NodePlatform(os="darwin", cpu="arm64"))
    assert "node_modules/@esbuild/darwin-arm64" in mac
    assert "node_modules/@esbuild/linux-x64" not in mac


@pytest.mark.parametrize(
    ("omit", "left"),
    [
        (["dev"], {"node_modules/string-width-cjs"}),
        (["optional"], {"node_modules/@esbuild/linux-x64"}),
        (["peer"], {"packages/a/node_modules/is-number"}),
    ],
)
def test_what_is_omitted(omit, left):
    assert set(select_tarballs(PACKAGES, LINUX)) - set(select_tarballs(PACKAGES, LINUX, omit)) == left


def test_a_dependency_of_two_sorts_goes_when_both_go():
    packages = {"node_modules/x": {"version": "1.0.0", "devOptional": True}}
    assert select_tarballs(packages, LINUX, ["dev"])
    assert select_tarballs(packages, LINUX, ["optional"])
    assert not select_tarballs(packages, LINUX, ["dev", "optional"])


@pytest.mark.parametrize(
    ("entry", "fit"),
    [
        ({}, True),
        ({"os": ["linux"]}, True),
        ({"os": "linux"}, True),
        ({"os": ["!win32"]}, True),
        ({"os": ["!win32", "!linux"]}, False),
        ({"os": ["any"]}, True),
        ({"os": ["darwin", "linux"], "cpu": ["arm64"]}, False),
        ({"cpu": ["x64"], "libc": ["musl"]}, False),
        ({"libc": ["glibc"]}, True),
        ({"os": []}, True),
    ],
)
def test_platforms_are_compared_as_npm_does(entry, fit):
    assert fits_platform(entry, LINUX) is fit


def test_an_unknown_libc_refuses_nothing():
    assert fits_platform({"libc": ["musl"]}, NodePlatform(os="linux", cpu="x64"))


@pytest.mark.parametrize(
    ("resolved", "path", "url", "local"),
    [
        (f"{HOST}/left-pad/-/left-pad-1.3.0.tgz", "left-pad/-/left-pad-1.3.0.tgz", "", ""),
        ("", "left-pad/-/left-pad-1.3.0.tgz", "", ""),
        (f"{HOST}/api/npm/all/left-pad/-/left-pad-1.3.0.tgz", "left-pad/-/left-pad-1.3.0.tgz", "", ""),
        (f"{HOST}/left-pad/-/left-pad-1.3.0.tgz?cache=1#x", "left-pad/-/left-pad-1.3.0.tgz", "", ""),
        (f"{HOST}/other/-/left-pad-1.3.0.tgz", "", f"{HOST}/other/-/left-pad-1.3.0.tgz", ""),
        (f"{HOST}/download/left-pad/1.3.0/0a1b2c", "", f"{HOST}/download/left-pad/1.3.0/0a1b2c", ""),
        ("file:vendor/left-pad-1.3.0.tgz", "", "", "vendor/left-pad-1.3.0.tgz"),
    ],
)
def test_where_a_tarball_is_from(resolved, path, url, local):
    entry = {"version": "1.3.0", "integrity": SHA512} | ({"resolved": resolved} if resolved else {})
    found = tarball_of_entry("node_modules/left-pad", entry)
    assert (found.path, found.url, found.local) == (path, url, local)


def test_scopes_may_be_encoded():
    found = tarball_of_entry("node_modules/@a/b", {"version": "1.0.0", "resolved": f"{HOST}/@a%2fb/-/b-1.0.0.tgz"})
    assert found.path == "@a/b/-/b-1.0.0.tgz"


@pytest.mark.parametrize(
    ("resolved", "said"),
    [
        ("git+ssh://git@git.example.invalid/o/left-pad.git#0123456789", "left-pad comes from a git repository"),
        ("git+https://u:s3cret@git.example.invalid/o/left-pad.git#01", "left-pad comes from a git repository"),
        ("file:../left-pad", "left-pad is a copy of the directory ../left-pad"),
        ("ftp:left-pad", "left-pad comes from `ftp:left-pad`"),
    ],
)
def test_what_has_no_hash_is_refused_by_name(resolved, said):
    packages = {"node_modules/left-pad": {"version": "1.3.0", "resolved": resolved, "dev": True}}
    with pytest.raises(WrongLockError, match=said) as caught:
        select_tarballs(packages, LINUX)
    assert "s3cret" not in str(caught.value)
    assert select_tarballs(packages, LINUX, ["dev"]) == {}


def test_names_of_places():
    assert name_of("node_modules/@a/b", {}) == "@a/b"
    assert name_of("node_modules/x/node_modules/y", {}) == "y"
    assert [is_installed(place) for place in ("", "packages/a", "node_modules/a", "p/node_modules/a")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_links_and_the_directories_that_get_a_node_modules():
    assert linked_directories(PACKAGES) == {"node_modules/a": "packages/a"}
    assert node_modules_parents([*select_tarballs(PACKAGES, LINUX), *linked_directories(PACKAGES)]) == (
        "",
        "packages/a",
    )
    assert node_modules_parents([]) == ()


def test_pins_name_no_registry():
    assert "example.invalid" not in json.dumps(strip_registry_hosts(PACKAGES))
    url = {"node_modules/x": {"version": "1.0.0", "resolved": f"{HOST}/x.tgz"}}
    assert strip_registry_hosts(url) == url


def test_a_build_sees_the_same_lock_whichever_registry_it_was():
    found = select_tarballs(PACKAGES, LINUX)
    hashes = {package.identity: f"sha512-{place}" for place, package in found.items()}
    one = offline_lockfile(PACKAGES, hashes)
    other = offline_lockfile(json.loads(json.dumps(PACKAGES).replace(HOST, "http://mirror.invalid/npm")), hashes)
    assert one == other
    assert (one["name"], one["lockfileVersion"]) == ("site", 3)
    entry = one["packages"]["node_modules/esbuild"]
    assert entry["resolved"] == f"{REGISTRY}esbuild/-/esbuild-0.21.5.tgz"
    assert entry["integrity"] == "sha512-node_modules/esbuild"
    assert one["packages"]["node_modules/a"] == PACKAGES["node_modules/a"]
    assert offline_lockfile(strip_registry_hosts(PACKAGES), hashes) == one


NAMES = st.sampled_from(["a", "b", "@s/a", "@s/b"])
ENTRIES = st.fixed_dictionaries(
    {"version": st.sampled_from(["1.0.0", "2.0.0"])},
    optional={
        "dev": st.just(True),
        "optional": st.just(True),
        "peer": st.just(True),
        "devOptional": st.just(True),
        "os": st.lists(st.sampled_from(["linux", "darwin", "!win32"]), min_size=1, max_size=1),
    },
)


@given(st.dictionaries(NAMES.map("node_modules/{}".format), ENTRIES), st.sets(st.sampled_from(["dev", "optional"])))
def test_what_is_omitted_is_never_more_than_what_is_there(packages, omit):
    everything = select_tarballs(packages, LINUX)
    some = select_tarballs(packages, LINUX, omit)
    assert set(some) <= set(everything) <= set(packages)
    assert list(some) == sorted(some)
    assert {place for place, entry in packages.items() if not set(entry) & {"dev", "optional", "devOptional"}} <= set(
        some
    ), "what is required is left out for nothing"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "version", "resolved", "integrity", "link", "inBundle", "os", "cpu", "libc", "optional", "dev", "x"]
PLACES = st.text(max_size=12) | st.sampled_from(["", "a", "../b"]).map("{}/node_modules/c".format)
URLS = st.sampled_from(["http://[", "https://h.invalid/c/-/c-1.tgz", "file:../x", "git+ssh://g", "https://h/c/-/../.."])


@given(st.dictionaries(PLACES, st.dictionaries(st.sampled_from(KEYS), JSON | URLS, max_size=6), max_size=4))
def test_whatever_a_strangers_lock_file_holds(packages):
    assert parse_lockfile(json.dumps({"lockfileVersion": 3, "packages": packages}), "l") == packages
    linked_directories(packages)
    offline_lockfile(packages, {})
    node_modules_parents([place for place in packages if is_installed(place)])
    try:
        found = select_tarballs(packages, LINUX)
        strip_registry_hosts(packages)
    except WrongLockError:
        return
    assert all(package.path or package.url or package.local for package in found.values())


def chalk_like(bundled="3.2.12", top="3.3.3", wanted="^3.3.0", **bundling):
    """What npm writes for chalk 5.6: globby is below xo, but not of xo's tarball, which has an old fast-glob."""
    packages = {
        "": {"devDependencies": {"xo": "*"}},
        "node_modules/fast-glob": {"version": top},
        "node_modules/xo": {"version": "0.54.2", "bundleDependencies": ["fast-glob"]},
        "node_modules/xo/node_modules/fast-glob": {"version": bundled, "inBundle": True, **bundling},
        "node_modules/xo/node_modules/globby": {"version": "13.2.2", "dependencies": {"fast-glob": wanted}},
    }
    return {location: entry for location, entry in packages.items() if entry.get("version", "1")}


def test_a_bundled_package_that_a_neighbour_does_not_accept_is_left_out():
    packages = chalk_like()
    assert {*packages} - {*without_unfit_bundled(packages)} == {"node_modules/xo/node_modules/fast-glob"}


@pytest.mark.parametrize(
    "packages",
    [
        chalk_like(bundled="3.3.1"),
        chalk_like(top="3.1.0"),  # none further out fits: npm has to say so
        chalk_like(top=""),
        chalk_like(wanted="npm:other@^3.3.0"),  # no range of versions
        chalk_like(inBundle=False),
        {},
    ],
)
def test_all_other_packages_stay(packages):
    assert without_unfit_bundled(packages) == packages


def test_an_entry_without_a_version_is_named():
    with pytest.raises(WrongLockError, match="node_modules/x has no version"):
        tarball_of_entry("node_modules/x", {"dev": True, "optional": True})
    assert tarball_of_entry("node_modules/x", {"inBundle": True}) is None

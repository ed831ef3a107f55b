"""Cargo.lock, of every version of its format and of strangers."""

from __future__ import annotations

import pytest
from envtool_rust.cargo_lock import CRATES_IO, CargoLockError, GitSource, LockedCrate, parse_lock

SUM = "ab" * 32
COMMIT = "0123456789" * 4
OWN = '[[package]]\nname = "app"\nversion = "1.0.0"\ndependencies = ["a"]\n'


def package(name="a", version="1.0.0", source=f"registry+{CRATES_IO}", checksum=SUM):
    lines = [f'name = "{name}"', f'version = "{version}"']
    lines += [f'source = "{source}"'] if source else []
    lines += [f'checksum = "{checksum}"'] if checksum else []
    return "\n".join(["[[package]]", *lines, ""])


def error_of(text) -> str:
    with pytest.raises(CargoLockError) as caught:
        parse_lock(text, "Cargo.lock")
    assert str(caught.value).startswith("Cargo.lock")
    return str(caught.value)


@pytest.mark.parametrize("version", ["", "version = 2\n", "version = 3\n", "version = 4\n"])
def test_crates_of_cargos_own_registry(version):
    lock = parse_lock(f"# generated\n{version}{OWN}{package('b')}{package('a', '0.1.0-rc.1+x')}", "Cargo.lock")
    assert lock.crates == (
        LockedCrate(name="a", version="0.1.0-rc.1+x", sha256=SUM),
        LockedCrate(name="b", version="1.0.0", sha256=SUM),
    )
    assert lock.repositories == ()


def test_the_checksums_of_version_1_are_in_the_metadata():
    text = f'{package(checksum="")}[metadata]\n"checksum a 1.0.0 (registry+{CRATES_IO})" = "{SUM}"\n'
    assert parse_lock(text, "Cargo.lock").crates == (LockedCrate(name="a", version="1.0.0", sha256=SUM),)


@pytest.mark.parametrize(
    ("source", "registry"),
    [
        ("registry+https://r.invalid/index", "https://r.invalid/index"),
        ("registry+https://user:s3cret@r.invalid/index", "https://r.invalid/index"),
        ("sparse+https://r.invalid/index/", "sparse+https://r.invalid/index/"),
        ("sparse+https://s3cret@r.invalid/index/", "sparse+https://r.invalid/index/"),
    ],
)
def test_other_registries_are_named_without_credentials(source, registry):
    (crate,) = parse_lock(package(source=source), "Cargo.lock").crates
    assert crate.registry == registry


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("", ""),
        ("?branch=main", "branch=main"),
        ("?tag=v1", "tag=v1"),
        ("?rev=01ab", "rev=01ab"),
        ("?branch=a%2Fb", "branch=a/b"),
    ],
)
def test_git_repositories_at_their_commit(query, reference):
    text = package(source=f"git+https://g.invalid/r{query}#{COMMIT}", checksum="") * 2
    lock = parse_lock(text, "Cargo.lock")
    assert lock.repositories == (GitSource(url="https://g.invalid/r", commit=COMMIT, reference=reference),)
    assert lock.git_crates == (("a", "1.0.0"),)
    assert lock.crates == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[package]", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("version = 5", "version 5, which is not known"),
        ("version = true", "version True"),
        ("version = '3'", "version 3, which"),
        ("package = 1", "not a list of tables"),
        ("package = [1]", "not a list of tables"),
        (package(name="../../etc"), "is no name of a package"),
        (package(name="-rf"), "is no name of a package"),
        (package(version="1.0"), "is no version of a package"),
        (package(version="1.0.0/../.."), "is no version of a package"),
        ('[[package]]\nname = "a"\nversion = "1.0.0"\nsource = 3\n', "is not a text"),
        (package(checksum=""), "a 1.0.0 has no checksum, so its file is not pinned"),
        (package(checksum="ab"), "has no checksum"),
        (package(checksum="AB" * 32), "has no checksum"),
        (package(source="path+file:///etc"), "which is not supported"),
        (package(source="registry+file:///srv/index"), "is no URL of http or https"),
        (package(source="registry+https://"), "is no URL of http or https"),
        (package(source="registry+https://[r/index"), "is no URL of http or https"),
        (package(source=r"sparse+https://r.invalid/\u0000"), "is no URL of http or https"),
        (package(source="git+https://g.invalid/r?branch=main", checksum=""), "names no commit"),
        (package(source="git+https://g.invalid/r#main", checksum=""), "names no commit"),
        (package(source=f"git+r#{COMMIT}", checksum=""), "no URL of a git repository"),
        (package(source=f"git+https://g.invalid/r?a=1&b=2#{COMMIT}", checksum=""), "no URL of a git repository"),
        (package(source=f"git+https://g.invalid/r?x=1#{COMMIT}", checksum=""), "neither a branch, a tag nor"),
    ],
)
def test_what_pins_nothing_is_refused_by_name(text, why):
    assert why in error_of(text)

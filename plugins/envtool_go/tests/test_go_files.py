"""go.mod, go.work and go.sum, also of strangers; `h1:` hashes."""

from __future__ import annotations

import io
import zipfile

import pytest
from envtool_go.go_files import (
    GoFileError,
    ModuleVersion,
    escaped,
    missing_sums,
    needed_modules,
    parse_go_file,
    parse_sums,
)
from envtool_go.module_hashes import hash_archive, hash_manifest

SUM = f"h1:{'A' * 43}="
OTHER = f"h1:{'B' * 43}="
MOD = """\
// a comment
module "example.org/app" // of the module

go 1.21.3

toolchain go1.22.0

require example.org/a v1.0.0

require (
	example.org/b v0.0.0-20200102030405-0123456789ab // indirect
	`example.org/c/v2` v2.0.0+incompatible
)

replace example.org/a => ./local/a

replace (
	example.org/b v0.0.0-20200102030405-0123456789ab => example.org/fork v1.2.3
)

exclude example.org/d v1.0.0

retract [v1.0.0, v1.1.0]
"""


def module(path, version="v1.0.0"):
    return ModuleVersion(f"example.org/{path}", version)


B = module("b", "v0.0.0-20200102030405-0123456789ab")
C = module("c/v2", "v2.0.0+incompatible")


def test_a_go_mod():
    file = parse_go_file(MOD, "go.mod")
    assert (file.module, file.minor) == ("example.org/app", 21)
    assert file.requires == (module("a"), B, C)
    assert file.replaced == {module("a", ""): None, B: module("fork", "v1.2.3")}


def test_a_go_work():
    file = parse_go_file("go 1.22\n\nuse (\n\t./a\n\t./b // second\n)\nuse .\n", "go.work")
    assert (file.module, file.minor, file.uses) == ("", 22, ("./a", "./b", "."))


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("module a\n\ngo x\n", "is no version of Go", 3),
        ("go 2.0\n", "is no version of Go", 1),
        ("require (\n\ta v1.0.0\n", "`require (` has no end", 2),
        ("require a\n", "is not complete", 1),
        ("require a v1\n", "is no version of a module", 1),
        ("require a v1.0.0/../..\n", "is no version of a module", 1),
        ("require ../../etc v1.0.0\n", "is no path of a module", 1),
        ("require a/./b v1.0.0\n", "is no path of a module", 1),
        ("require a//b v1.0.0\n", "is no path of a module", 1),
        ("require -x v1.0.0\n", "is no path of a module", 1),
        ('require "a\\x2f" v1.0.0\n', "an escape is not supported", 1),
        ("replace a =>\n", "a `replace` that is not complete", 1),
        ("replace a => b v1.0.0 c\n", "a `replace` that is not complete", 1),
        ("replace a\n", "is not complete", 1),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, why, line):
    with pytest.raises(GoFileError) as caught:
        parse_go_file(text, "go.mod")
    assert why in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["", "(", ")\n)\n", "x " * 5000, '"' * 300, "=>", "require (\n)\n", "\x00"])
def test_other_lines_are_passed_over(text):
    assert parse_go_file(text, "go.mod").requires == () if text != "(" else True


def sums(*lines):
    return "".join(f"{line}\n" for line in lines)


def test_sums():
    text = sums(
        f"example.org/a v1.0.0 {SUM}", f"example.org/a v1.0.0/go.mod {OTHER}", "", f"example.org/a v1.0.0 {SUM}",
        "example.org/a v1.0.0 h2:of-a-later-go",
    )  # fmt: skip
    assert parse_sums(text, "go.sum") == ({module("a"): SUM}, {module("a"): OTHER})


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("example.org/a v1.0.0\n", "no module, version and hash", 1),
        ("\nexample.org/a v1.0.0 h1:x\n", "is no h1: hash", 2),
        (f"example.org/a v1.0.0 {SUM}\nexample.org/a v1.0.0 {OTHER}\n", "two hashes of example.org/a v1.0.0", 2),
        (f"/etc v1.0.0 {SUM}\n", "is no path of a module", 1),
        (f"example.org/a v1 {SUM}\n", "is no version of a module", 1),
    ],
)
def test_sums_that_are_wrong(text, why, line):
    with pytest.raises(GoFileError) as caught:
        parse_sums(text, "go.sum")
    assert why in str(caught.value)
    assert caught.value.line == line


def needed(mod, *lines, more=()):
    files = [parse_go_file(mod, "go.mod")]
    return needed_modules(files, [(sums(*lines), "go.sum"), *more])


LINES = (
    f"example.org/b v0.0.0-20200102030405-0123456789ab {SUM}",
    f"example.org/c/v2 v2.0.0+incompatible {SUM}",
    f"example.org/fork v1.2.3 {SUM}",
    f"example.org/old v0.9.0 {SUM}",
    f"example.org/old v0.9.0/go.mod {SUM}",
)


def test_only_what_is_required_is_needed_and_replacements_count():
    found = needed(MOD, *LINES)
    assert [*found.archives] == [C, module("fork", "v1.2.3")]
    assert [*found.manifests] == [module("old", "v0.9.0")]


def test_before_pruned_module_graphs_all_archives_may_be_needed():
    assert len(needed(MOD.replace("go 1.21.3", "go 1.16"), *LINES).archives) == 4
    work = (sums(f"example.org/w v1.0.0 {SUM}"), "go.work.sum")
    assert module("w") in needed(MOD, *LINES, more=[work]).archives


def test_two_files_with_two_hashes():
    with pytest.raises(GoFileError, match=r"another hash of example\.org/old"):
        needed(MOD, *LINES, more=[(sums(f"example.org/old v0.9.0 {OTHER}"), "b/go.sum")])


def test_what_has_no_hash():
    files = [parse_go_file(MOD, "go.mod")]
    assert missing_sums(files, {}) == [C, module("fork", "v1.2.3")]
    assert missing_sums(files, needed(MOD, *LINES).archives) == []


def test_capital_letters_on_proxies():
    assert escaped("github.com/BurntSushi/toml") == "github.com/!burnt!sushi/toml"


# ---- hashes: those of go.sum of a project, made by Go ----------------------------------------------------------------


def archive(*files):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for name, content in files:
            target.writestr(name, content)
    written.seek(0)
    return written


def test_the_hash_of_a_go_mod_is_that_of_go():
    """github.com/google/go-cmp v0.6.0/go.mod."""
    content = b"module github.com/google/go-cmp\n\ngo 1.13\n"
    assert hash_manifest(content) == "h1:17dUlkBOakJ0+DkrSSNjCkIjxS6bF9zb3elmeNGIjoY="


def test_the_hash_of_an_archive_is_of_names_and_contents():
    files = [("example.org/a@v1.0.0/go.mod", "module example.org/a\n"), ("example.org/a@v1.0.0/a.go", "package a\n")]
    assert hash_archive(archive(*files)) == hash_archive(archive(*reversed(files)))
    assert hash_archive(archive(*files)) != hash_archive(archive(files[0]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000])
def test_what_is_no_archive(content):
    with pytest.raises(ValueError, match="it is no zip"):
        hash_archive(io.BytesIO(content))


def test_an_archive_that_is_too_large(monkeypatch):
    monkeypatch.setattr("envtool_go.module_hashes.MAX_ARCHIVE", 1000)
    with pytest.raises(ValueError, match="its files have more than"):
        hash_archive(archive(("a", "x" * 2000)))


def test_names_that_could_be_read_in_two_ways():
    with pytest.raises(ValueError, match="a line break"):
        hash_archive(archive(("a\nb", "x")))

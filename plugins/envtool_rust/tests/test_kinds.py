"""The kinds `cargo` and `crate` by the kit, and which edits of a project change a layer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace

import pytest
from envtool_rust import vendoring
from envtool_rust.cargo_lock import CRATES_IO
from envtool_rust.kinds import Cargo, Crate, source_replacements
from envtool_rust.resolver import NO_CARGO, last_words, normalize_archive

from envtool import api, testing

SUM = "ab" * 32
COMMIT = "0123456789" * 4
MANIFEST = '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\nserde = "1"\n'
DEFAULT = b'{"dl": "https://files.invalid"}'


def locked(name, version="1.0.0", checksum=SUM, source=f"registry+{CRATES_IO}"):
    check = f'checksum = "{checksum}"\n' if checksum else ""
    return f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = "{source}"\n{check}\n'


OWN = '[[package]]\nname = "app"\nversion = "1.0.0"\ndependencies = ["serde"]\n\n'
LOCK = f"version = 4\n\n{OWN}{locked('serde', '1.0.1')}{locked('serde_core', '1.0.1', 'cd' * 32)}"
GIT_LOCK = LOCK + locked("forked", checksum="", source=f"git+https://g.invalid/r?branch=main#{COMMIT}")
FILES = {"Cargo.toml": MANIFEST, "Cargo.lock": LOCK}


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path):
    """No test reads this machine's cargo configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("CARGO_")]:
        monkeypatch.delenv(name)


def request(files=FILES, options=None, keep=None):
    """As the core makes it: of the files, a kind for which only texts count sees those that its inputs name."""
    inputs = Cargo().inputs(options)
    assert all(item.use == "text" for item in inputs), "any other use would put whole files into the key"
    texts = {item.pattern: files[item.pattern] for item in inputs if item.pattern in files}
    return replace(testing.request(options), texts=texts, keep=keep)


def archive(*names):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid, member.mode = 1, 1234, 77, 0o600
            tar.addfile(member, io.BytesIO(b"x"))
    return written.getvalue()


def site(made=LOCK):
    calls = []

    def answer(command):
        calls.append(command.argv)
        if "vendor" in command.argv[2]:
            return testing.completed(archive("forked-1.0.0/Cargo.toml", "forked-1.0.0/src/lib.rs"))
        if "config.json" in command.argv[2]:
            return testing.completed(DEFAULT)
        return testing.completed(made.encode())

    found = testing.MemorySite(answers={"/bin/sh": answer})
    found.calls = calls
    return found


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (FILES, None),
        ({"Cargo.toml": MANIFEST}, {}),
        ({**FILES, "Cargo.lock": GIT_LOCK}, {}),
        ({"tools/Cargo.toml": MANIFEST, "tools/Cargo.lock": LOCK}, {"directory": "tools"}),
    ],
)
def test_it_keeps_the_contract(files, options):
    wrong = ["x", [], {"cargo": ""}, {"directory": 1}, {"manifests": "x"}, {"more": 1}]
    pins = testing.check_kind(Cargo(), options, site=site(), asked=request(files, options), wrong=wrong)
    assert [(row["name"], row["version"]) for row in pins["crates"]] == [("serde", "1.0.1"), ("serde_core", "1.0.1")]
    assert "files.invalid" not in json.dumps(pins)


def test_a_lock_is_read_without_a_container():
    found = site()
    pins = Cargo().resolve(request(), found)
    assert found.calls == []
    assert pins["lock"] is None
    assert Cargo().generated(request(), pins) == {}
    assert Cargo().summary(request(), pins) == "2 crates"


def test_without_a_lock_cargo_chooses_and_the_choice_lies_beside_the_manifest():
    found = site()
    files = {"Cargo.toml": MANIFEST, "m/Cargo.toml": MANIFEST.replace("app", "m")}
    pins = Cargo().resolve(request(files, {"manifests": ["m/Cargo.toml"]}), found)
    (words,) = found.calls
    assert words[4:6] == ("cargo", ".")
    assert words[6::2] == ("Cargo.toml", "m/Cargo.toml")
    assert "serde" in words[7]
    assert "1.0.0" not in words[7], "the project's own version decides nothing"
    assert pins["lock"] == LOCK.splitlines()
    asked = request(files, {"manifests": ["m/Cargo.toml"]}, keep=pins)
    assert Cargo().generated(asked, pins) == {"Cargo.lock": f"{vendoring.LOCK}/Cargo.lock"}
    Cargo().resolve(asked, found)
    assert found.calls[1][-2:] == ("Cargo.lock", LOCK), "cargo keeps the versions that it chose"


def test_packages_from_git_are_made_once_and_the_same_again():
    asked, found = request({**FILES, "Cargo.lock": GIT_LOCK}), site()
    pins = Cargo().resolve(asked, found)
    (sha256,) = found.kept
    assert pins["git"] == {
        "repositories": [{"url": "https://g.invalid/r", "commit": COMMIT, "reference": "branch=main"}],
        "sha256": sha256,
        "size": len(found.kept[sha256]),
    }
    with tarfile.open(fileobj=io.BytesIO(found.kept[sha256])) as tar:
        members = [(item.name, item.mtime, item.uid, item.mode) for item in tar]
    assert members == [("forked-1.0.0/Cargo.toml", 0, 0, 0o644), ("forked-1.0.0/src/lib.rs", 0, 0, 0o644)]
    located = Cargo().locate(asked, pins, Cargo().fetches(asked, pins), found)
    assert [fetch.url.partition(":")[0] for fetch in located] == ["https", "https", "file"]
    assert Cargo().summary(asked, pins) == "2 crates, 1 git repository"


def test_an_archive_that_cannot_be_read_is_an_error():
    with pytest.raises(api.ResolveError, match="cannot be read"):
        normalize_archive(b"x" * 2000)


def test_what_cargo_uses_in_place_of_what():
    lock = GIT_LOCK + locked("private", source="sparse+https://corp.invalid/index/")
    config = '[source.mirror]\nregistry = "https://m.invalid"\n[source.v]\ndirectory = "v"\n'
    asked = request({"Cargo.toml": MANIFEST, "Cargo.lock": lock, ".cargo/config.toml": config})
    pins = Cargo().resolve(asked, site())
    tables = source_replacements(pins, config)
    (registry,) = (name for name in tables if name.startswith("envtool-registry-") and name.endswith("-index"))
    assert tables["crates-io"] == {"replace-with": "envtool-crates"}
    assert tables["mirror"] == {"replace-with": "envtool-crates"}
    assert "v" not in tables
    assert tables[registry]["registry"] == "sparse+https://corp.invalid/index/"
    assert tables["envtool-git-0"] == {"git": "https://g.invalid/r", "branch": "main", "replace-with": "envtool-git"}
    names = [fetch.name for fetch in Cargo().fetches(asked, pins)]
    assert len({*names}) == len(names) == 4


# ---- which edits matter ----------------------------------------------------------------------------------------------


def key(files, options=None):
    """All of a project that the core puts into the layer's key, and what decides whether `resolve` is called again."""
    asked = request(files, options)
    pins = Cargo().resolve(asked, site())
    fetches = sorted((fetch.name, fetch.sha256) for fetch in Cargo().fetches(asked, pins))
    return json.dumps([Cargo().question(asked), Cargo().material(asked, pins)], sort_keys=True), fetches


NOTHING = {  # edits of a project with Cargo.lock that rebuild nothing
    "a version of its own": {"Cargo.toml": MANIFEST.replace("1.0.0", "1.1.0")},
    "a version of its own, in the lock too": {
        "Cargo.lock": LOCK.replace('"app"\nversion = "1.0.0"', '"app"\nversion = "2.0.0"')
    },
    "a description": {"Cargo.toml": MANIFEST.replace("edition", 'description = "x"\nedition')},
    "authors and licence": {"Cargo.toml": MANIFEST.replace("edition", 'authors = ["x"]\nlicense = "MIT"\nedition')},
    "keywords": {"Cargo.toml": MANIFEST.replace("edition", 'keywords = ["x"]\nedition')},
    "a README": {"README.md": "# other\n"},
    "lints": {"Cargo.toml": MANIFEST + "[lints.rust]\nunsafe_code = 'forbid'\n"},
    "clippy.toml": {"clippy.toml": "msrv = '1.70'\n"},
    "rustfmt.toml": {"rustfmt.toml": "max_width = 120\n"},
    "a profile": {"Cargo.toml": MANIFEST + "[profile.release]\nlto = true\n"},
    "a binary": {"Cargo.toml": MANIFEST + "[[bin]]\nname = 'tool'\n"},
    "an example": {"Cargo.toml": MANIFEST + "[[example]]\nname = 'x'\n"},
    "a benchmark": {"Cargo.toml": MANIFEST + "[[bench]]\nname = 'x'\nharness = false\n"},
    "a feature": {"Cargo.toml": MANIFEST + "[features]\nfast = []\n"},
    "metadata of another tool": {"Cargo.toml": MANIFEST + "[package.metadata.docs.rs]\nall-features = true\n"},
    "badges": {"Cargo.toml": MANIFEST + "[badges]\nx = { y = 'z' }\n"},
    "the edition": {"Cargo.toml": MANIFEST.replace("2021", "2018")},
    "comments and blanks": {"Cargo.toml": MANIFEST.replace("[dep", "\n\n# these\n[dep")},
    "sources": {"src/lib.rs": "pub fn f() {}\n"},
    "a build script": {"build.rs": "fn main() {}\n"},
    "flags for rustc": {".cargo/config.toml": "[build]\nrustflags = ['-g']\n"},
    "the version of the lock's format": {"Cargo.lock": LOCK.replace("version = 4", "version = 3")},
}
LOCKLESS = (  # those of them that rebuild nothing without Cargo.lock, either
    "a version of its own", "a description", "authors and licence", "keywords", "a README", "lints", "clippy.toml",
    "rustfmt.toml", "a profile", "a binary", "an example", "a benchmark", "metadata of another tool", "badges",
    "comments and blanks", "sources", "a build script", "flags for rustc",
)  # fmt: skip


@pytest.mark.parametrize("edit", NOTHING)
def test_an_edit_that_rebuilds_nothing(edit):
    assert {**FILES, **NOTHING[edit]} != FILES
    assert key({**FILES, **NOTHING[edit]}) == key(FILES)


@pytest.mark.parametrize("edit", LOCKLESS)
def test_an_edit_that_asks_cargo_nothing(edit):
    before = {"Cargo.toml": MANIFEST}
    assert key({**before, **NOTHING[edit]}) == key(before)


@pytest.mark.parametrize(
    "edit",
    [
        {"Cargo.lock": LOCK.replace("serde_core", "serde_cord")},
        {"Cargo.lock": LOCK.replace("cd" * 32, "ce" * 32)},
        {".cargo/config.toml": "[source.m]\nregistry = 'https://m.invalid'\n"},
    ],
)
def test_an_edit_that_matters(edit):
    assert key({**FILES, **edit}) != key(FILES)


@pytest.mark.parametrize(
    "text",
    [
        MANIFEST.replace('"1"', '"1.0.1"'),
        MANIFEST + "[features]\nfast = ['serde/derive']\n",
        MANIFEST.replace("edition", "rust-version = '1.60'\nedition"),
        MANIFEST + "[target.'cfg(unix)'.dependencies]\nlibc = '0.2'\n",
    ],
)
def test_an_edit_that_asks_cargo_again(text):
    assert Cargo().question(request({"Cargo.toml": text})) != Cargo().question(request({"Cargo.toml": MANIFEST}))


def test_one_changed_dependency_downloads_one_file():
    changed = LOCK.replace(locked("serde", "1.0.1"), locked("serde", "1.0.2", "ef" * 32))
    before, after = {*key(FILES)[1]}, {*key({**FILES, "Cargo.lock": changed})[1]}
    assert after - before == {("serde-1.0.2.crate", "ef" * 32)}


# ---- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "stderr", "why"),
    [
        (NO_CARGO, b"", ["there is no cargo in this env", "apt: [cargo]"]),
        (101, b"error: no matching package named `serdee` found\nlocation searched: x", ["no matching package named"]),
        (
            101,
            b"error: failed to get `a`\n\nCaused by:\n  first\n\nCaused by:\n  https://u:s3cret@h.invalid/: 403\n",
            ["failed to get `a`; https://***@h.invalid/: 403"],
        ),
        (101, b"", ["it said nothing"]),
    ],
)
def test_what_cargo_cannot_do_is_said(status, stderr, why):
    broken = testing.MemorySite(answers={"/bin/sh": testing.completed(status=status, stderr=stderr)})
    error = testing.check_refused(Cargo(), None, *why, site=broken, asked=request({"Cargo.toml": MANIFEST}))
    assert "s3cret" not in f"{error}{error.hint}"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"Cargo.toml": MANIFEST, "Cargo.lock": "[[package]"}, "Cargo.lock is not TOML"),
        ({"Cargo.toml": MANIFEST, "Cargo.lock": locked("a", checksum="")}, "has no checksum"),
        ({"Cargo.toml": "[package"}, "Cargo.toml is not TOML"),
        ({"Cargo.toml": MANIFEST.replace('"1"', "1979-05-27")}, "no value of a manifest"),
    ],
)
def test_files_that_are_wrong_are_named(files, why):
    testing.check_refused(Cargo(), None, why, site=site(), asked=request(files))


def test_last_words_are_one_line():
    assert last_words("warning: x\nerror: a\nerror: b\n") == "a"
    assert last_words("sh: 1: broken\n") == "sh: 1: broken"


# ---- the layer -------------------------------------------------------------------------------------------------------


def test_directory_sources_of_unpacked_crates(tmp_path, monkeypatch):
    top = tmp_path / "opt/cargo"
    for name, value in {
        "TOP": top,
        "GIT": top / "git",
        "LOCK": top / "lock",
        "CONFIG": tmp_path / ".cargo/config.toml",
    }.items():
        monkeypatch.setattr(vendoring, name, str(value))
    crate, git = top / "crates/serde-1.0.1", top / "git/forked-1.0.0"
    for directory in (crate / "src", git):
        directory.mkdir(parents=True)
    (crate / "src/lib.rs").write_text("x")
    (crate / "src/lib.rs").chmod(0o600)
    (crate / "run").write_text("x")
    (crate / "run").chmod(0o700)
    (tmp_path / "victim").write_text("kept")
    (crate / ".cargo-checksum.json").symlink_to(tmp_path / "victim")
    pins = Cargo().resolve(request({**FILES, "Cargo.lock": GIT_LOCK}), site())
    document = Cargo().build_document(request({**FILES, "Cargo.lock": GIT_LOCK}), {**pins, "lock": ["a", "b"]})
    document |= {"crates": [[str(crate), SUM]], "directories": [str(top / "crates")], "git": str(top / "git")}
    vendoring.finish_sources(document)
    assert json.loads((crate / ".cargo-checksum.json").read_text()) == {"files": {}, "package": SUM}
    assert json.loads((git / ".cargo-checksum.json").read_text()) == {"files": {}}
    assert (tmp_path / "victim").read_text() == "kept"
    assert 'replace-with = "envtool-crates"' in (tmp_path / ".cargo/config.toml").read_text()
    assert (top / "lock/Cargo.lock").read_text() == "a\nb\n"
    assert [(crate / name).stat().st_mode & 0o777 for name in ("src/lib.rs", "run")] == [0o644, 0o755]


def test_nothing_of_a_crate_runs_in_a_build():
    asked = request()
    recipe = Cargo().build(asked, Cargo().resolve(asked, site()))
    assert not recipe.network
    assert [type(step).__name__ for step in recipe.steps] == ["Unpack", "Unpack", "Call"]


def test_variables():
    assert Cargo().variables(request(), None) == {"CARGO_NET_OFFLINE": "true"}
    asked = request(options={"cargo": "/opt/rust/bin/cargo"})
    assert Cargo().variables(asked, None)["PATH"] == "/opt/rust/bin"


# ---- crate -----------------------------------------------------------------------------------------------------------

SOURCE = {"name": "semver", "version": "1.0.20", "to": "/src", "sha256": SUM}


def test_the_sources_of_a_crate():
    wrong = [
        "semver", {}, {**SOURCE, "name": "../x"}, {**SOURCE, "version": "1"}, {**SOURCE, "to": "src"},
        {**SOURCE, "to": "/src/../etc"}, {**SOURCE, "sha256": "x"}, {**SOURCE, "more": 1},
    ]  # fmt: skip
    testing.check_kind(Crate(), SOURCE, site=site(), wrong=wrong)
    asked = testing.request(SOURCE)
    (located,) = Crate().locate(asked, None, Crate().fetches(asked, None), site())
    assert (located.url, located.name) == ("https://files.invalid/semver/1.0.20/download", "semver-1.0.20.crate")
    assert Crate().summary(asked, None) == "semver 1.0.20"


def test_files_for_all(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o400)
    vendoring.open_sources(str(tmp_path))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest() == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("files", [FILES, {"Cargo.toml": MANIFEST}], ids=["locked", "not locked"])
def test_crates_are_the_same_for_another_architecture(files):
    own = Cargo().resolve(request(files), site())
    found = site()
    found.arch = "aarch64"
    stand_in = api.StandIn(arch="x86_64", layers=())
    assert Cargo.stands_in
    assert Cargo().resolve(replace(request(files, keep=own), arch="aarch64", stand_in=stand_in), found) == own
    if own["lock"]:
        assert found.calls[0][-1] == LOCK, "cargo begins with that of this machine"

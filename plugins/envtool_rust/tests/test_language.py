"""`language: rust`: Cargo.toml -> layers, and what `envtool init` writes, without a container."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envtool_rust.language import detect
from envtool_rust.plugin import RustLanguage

from envtool import api, testing

PACKAGE = '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n'
WITH = PACKAGE + '[dependencies]\nserde = "1"\n'
LOCK = '[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "registry+x"\n'
VENDORED = '[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "vendor"\n'
WORKSPACE = '[workspace]\nmembers = ["a", "b"]\n'


def layers(files, base="debian", names=(), **options):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    draft = api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=names, where=where)
    return RustLanguage().layers(draft, testing.MemoryProject(files))


def test_a_project_with_a_lock_file():
    rust, crates = testing.check_language(
        RustLanguage(), {"Cargo.toml": WITH, "Cargo.lock": LOCK}, components=["clippy"]
    )
    assert (rust.kind, rust.options, rust.after) == ("apt", ["cargo", "gcc", "libc6-dev", "rust-clippy"], False)
    assert (crates.kind, crates.options, crates.needs) == ("cargo", {}, ("rust",))


@pytest.mark.parametrize(
    "files",
    [
        {"Cargo.toml": PACKAGE},
        {"Cargo.toml": PACKAGE, "Cargo.lock": '[[package]]\nname = "app"\nversion = "1.0.0"\n'},
        {"Cargo.toml": WITH, "Cargo.lock": LOCK, ".cargo/config.toml": VENDORED, "vendor/serde/Cargo.toml": ""},
        {"Cargo.toml": WITH, ".cargo/config": VENDORED},
        {"Cargo.toml": PACKAGE + '[dependencies]\nb = { path = "b" }\n', "b/Cargo.toml": PACKAGE.replace("app", "b")},
    ],
)
def test_where_no_registry_is_needed_there_is_no_layer(files):
    assert [layer.kind for layer in testing.check_language(RustLanguage(), files)] == ["apt"]


@pytest.mark.parametrize(("base", "cargo"), [("host", "cargo"), ("debian", "/opt/rust/bin/cargo")])
def test_a_cargo_that_is_there_is_not_installed(base, cargo):
    options = {} if cargo == "cargo" else {"cargo": cargo}
    (crates,) = layers({"Cargo.toml": WITH, "Cargo.lock": LOCK}, base, ("mine",), **options)
    assert (crates.options, crates.needs) == (options, ("mine",))


def test_without_a_lock_the_manifests_of_the_workspace_count():
    files = {"Cargo.toml": WORKSPACE, "a/Cargo.toml": WITH, "b/Cargo.toml": PACKAGE.replace("app", "b")}
    for directory in (".", "a"):
        options = {} if directory == "." else {"directory": directory}
        _, crates = testing.check_language(RustLanguage(), files, **options)
        assert crates.options == {"manifests": ["a/Cargo.toml", "b/Cargo.toml"]}
    git = {**files, "Cargo.lock": LOCK.replace("registry+x", "git+https://x")}
    assert "manifests" in testing.check_language(RustLanguage(), git)[1].options
    assert testing.check_language(RustLanguage(), {**files, "Cargo.lock": LOCK})[1].options == {}


def test_names_that_are_taken():
    names = [layer.name for layer in layers({"Cargo.toml": WITH, "Cargo.lock": LOCK}, names=("rust", "crates"))]
    assert names == ["rust-rust", "rust-crates"]


@pytest.mark.parametrize(
    ("files", "why", "file"),
    [
        ({}, "there is no Cargo.toml", "envtool.yaml"),
        ({"Cargo.toml": "[package\n"}, "Cargo.toml is not TOML", "Cargo.toml"),
        ({"Cargo.toml": WORKSPACE, "a/Cargo.toml": PACKAGE}, "names b, where there is no Cargo.toml", "Cargo.toml"),
        (
            {"Cargo.toml": WORKSPACE, "a/Cargo.toml": "x", "b/Cargo.toml": PACKAGE},
            "a/Cargo.toml is not",
            "a/Cargo.toml",
        ),
        ({"Cargo.toml": WITH + 'x = { path = "../x" }\n'}, "outside of the project", "Cargo.toml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files, why, file):
    with pytest.raises(api.SpecError) as caught:
        layers(files)
    (problem,) = caught.value.problems
    assert why in problem.message
    assert problem.where.file == file


@pytest.mark.parametrize(
    ("files", "task", "caches"),
    [
        ({"Cargo.toml": PACKAGE}, "cargo test {{ args }}", ["target"]),
        ({"Cargo.toml": WITH, "target/kept": ""}, "cargo test {{ args }}", None),
        (
            {"Cargo.toml": WORKSPACE, "a/Cargo.toml": PACKAGE, "b/Cargo.toml": PACKAGE.replace("app", "b")},
            "cargo test --workspace {{ args }}",
            ["target"],
        ),
    ],
)
def test_detection(files, task, caches):
    (found,) = detect(testing.MemoryProject(files))
    assert found.language == "rust"
    expected = {"base": {"debian": "trixie"}, "language": "rust", "tasks": {"test": task}}
    assert found.env == expected | ({"caches": caches} if caches else {})


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"Cargo.toml": PACKAGE + 'rust-version = "1.90"\n'}, "which wants Rust 1.90: Debian trixie has 1.85"),
        ({"Cargo.toml": "[package\n"}, "Cargo.toml:1: Cargo.toml is not TOML"),
        ({"Cargo.toml": WORKSPACE}, "names a, where there is no Cargo.toml"),
    ],
)
def test_what_could_not_pass_is_not_detected(files, why, monkeypatch, tmp_path):
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path))
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert why in found.reason


@pytest.mark.parametrize(
    ("dependency", "tested"),
    [
        ('pyo3 = {version = "0.29", features = ["abi3", "extension-module"]}', False),
        ('pyo3 = {version = "0.29", features = ["auto-initialize"]}', True),
        ('pyo3 = {version = "0.29", features = "extension-module"}', True),
        ('pyo3 = "0.29"', True),
        ('other = {version = "1", features = ["extension-module"]}', True),
    ],
)
def test_the_tests_of_an_extension_of_python_do_not_link(dependency, tested):
    (found,) = detect(testing.MemoryProject({"Cargo.toml": f"{PACKAGE}[dependencies]\n{dependency}\n"}))
    assert found.tested == tested
    assert ("extension of Python" in found.reason) == (not tested)


def test_nothing_is_detected_where_there_is_no_package():
    assert detect(testing.MemoryProject({})) == []


def test_a_newer_rust_is_a_toolchain_where_rustup_has_a_server(monkeypatch):
    monkeypatch.setenv("RUSTUP_DIST_SERVER", "https://rust.invalid")
    files = {"Cargo.toml": WORKSPACE, "a/Cargo.toml": PACKAGE + 'rust-version = "1.88.1"\n'}
    files["b/Cargo.toml"] = PACKAGE.replace("app", "b") + 'rust-version = "1.86"\n'
    (found,) = detect(testing.MemoryProject(files))
    assert found.tested
    assert found.env["toolchain"] == {"rust": "1.88"}


@pytest.mark.parametrize(
    ("suite", "channel", "note"),
    [
        ("trixie", "1.80.1", "rust-toolchain.toml:2 wants rust 1.80.1, the env has 1.85: `toolchain: [rust]` takes what the file wants"),
        ("trixie", "1.85", ""), ("bookworm", "1.63.0", ""), ("sid", "1.80", ""), ("trixie", "stable", ""),
    ],
)  # fmt: skip
def test_another_rust_is_noted_and_changes_nothing(suite, channel, note):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    env = api.EnvDraft(name="unit", base_kind="debian", base_options=suite, options={}, layer_names=(), where=where)
    for files in ({"Cargo.toml": PACKAGE}, {"Cargo.toml": WITH, "Cargo.lock": LOCK}):
        plain = RustLanguage().layers(env, testing.MemoryProject(files))
        wanted = {"rust-toolchain.toml": f'[toolchain]\nchannel = "{channel}"\n'}
        drafts = RustLanguage().layers(env, testing.MemoryProject({**files, **wanted}))
        assert drafts == (replace(plain[0], note=note), *plain[1:])
        pinned = replace(env, toolchains=("rust",))
        assert not any(
            layer.note for layer in RustLanguage().layers(pinned, testing.MemoryProject({**files, **wanted}))
        )


def test_a_version_file_that_may_not_be_read_changes_nothing(monkeypatch):
    plain, read = layers({"Cargo.toml": PACKAGE}), testing.MemoryProject.read

    def refuse(self, path):
        if path.startswith("rust-toolchain"):
            raise api.UsageError(f"{path} leads out of the project", code="project-file")
        return read(self, path)

    monkeypatch.setattr(testing.MemoryProject, "read", refuse)
    assert layers({"Cargo.toml": PACKAGE}) == plain


@pytest.mark.parametrize(
    ("source", "tested"),
    [
        ("pub fn f() {}\n", False),
        ("#[test]\nfn t() {}\n", True),
        ("#[tokio::test(flavor = 1)]\nasync fn t() {}\n", True),
        ("#[cfg(all(test, unix))]\nmod tests;\n", True),
        ("proptest! {}\n", True),
        ("//! ```\n//! f();\n//! ```\n", True),
        ('#![doc = include_str!("../README.md")]\n', True),
    ],
)
def test_a_crate_without_tests_is_not_tested_since_cargo_would_pass(source, tested):
    (found,) = detect(testing.MemoryProject({"Cargo.toml": PACKAGE, "src/lib.rs": source}))
    assert found.tested == tested
    assert (found.reason == "Cargo.toml, and no tests") == (not tested)
    (found,) = detect(testing.MemoryProject({"Cargo.toml": PACKAGE, "src/lib.rs": "", "tests/t.rs": ""}))
    assert found.tested

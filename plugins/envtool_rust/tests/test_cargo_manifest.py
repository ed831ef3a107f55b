"""Cargo.toml: workspaces, packages required by a path, and what decides versions."""

from __future__ import annotations

import pytest
from envtool_rust.cargo_manifest import (
    CargoManifestError,
    find_root,
    has_dependencies,
    parse_manifest,
    project_manifests,
    reduce_manifests,
    without_rust_version,
)
from envtool_rust.toml_text import toml_text

from envtool import testing


def package(name, more=""):
    return f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n{more}'


def manifests(files, start="Cargo.toml"):
    project = testing.MemoryProject(files)
    root = find_root(parse_manifest(files[start], start), project.read)
    return root, project_manifests(root, project.read, project.glob)


def test_a_workspace_has_its_members_and_what_they_require_by_a_path():
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["crates/*", "tool"]\nexclude = ["crates/old"]\n'
        "[workspace.dependencies]\nshared = { path = 'shared' }\n",
        "crates/a/Cargo.toml": package(
            "a", '[target."cfg(unix)".dev-dependencies]\nhelper = { path = "../../helper" }\n'
        ),
        "crates/old/Cargo.toml": package("old"),
        "tool/Cargo.toml": package("tool", "[patch.crates-io]\nx = { path = 'x' }\n"),
        "tool/x/Cargo.toml": package("x"),
        "helper/Cargo.toml": package("helper"),
        "shared/Cargo.toml": package("shared"),
        "other/Cargo.toml": package("other"),
    }
    root, found = manifests(files, "crates/a/Cargo.toml")
    assert root.file == "Cargo.toml"
    assert {manifest.directory for manifest in found} == {".", "crates/a", "tool", "tool/x", "helper", "shared"}
    assert not has_dependencies(found)


def test_which_workspace_a_package_belongs_to():
    top = '[workspace]\nmembers = ["a"]\nexclude = ["b"]\n'
    files = {
        "Cargo.toml": top,
        "a/Cargo.toml": package("a"),
        "b/c/Cargo.toml": package("c"),
        "d/Cargo.toml": '[package]\nname = "d"\nworkspace = "../e"\n',
        "e/Cargo.toml": "[workspace]\n",
        "f/Cargo.toml": "[workspace]\n" + package("f"),
    }
    for start, root in {"a": "Cargo.toml", "b/c": "b/c/Cargo.toml", "d": "e/Cargo.toml", "f": "f/Cargo.toml"}.items():
        assert manifests(files, f"{start}/Cargo.toml")[0].file == root


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("[package\n", "is not TOML", 1),
        ('[package]\nname = "a"\nname = "b"\n', "is not TOML", 3),
        ("a = " + "[" * 5000, "is not TOML", 1),
        ("dependencies = []\n", "`dependencies` is not a table", 1),
        ("workspace = 1\n", "`workspace` is not a table", 1),
        ('[workspace]\nmembers = ["gone"]\n', "names gone, where there is no Cargo.toml", 1),
        ('[workspace]\nmembers = ["../out"]\n', "which is outside of the project", 1),
        ('[workspace]\nmembers = ["/etc"]\n', "which is outside of the project", 1),
        (package("a", '[dependencies]\nb = { path = "../b" }\n'), "names ../b, which is outside of the project", 1),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, why, line):
    with pytest.raises(CargoManifestError) as caught:
        manifests({"Cargo.toml": text})
    assert why in str(caught.value)
    assert caught.value.file == "Cargo.toml"
    assert abs(caught.value.line - line) <= 1


def reduced(text):
    (manifest,) = manifests({"Cargo.toml": text})[1]
    return reduce_manifests((manifest,))["Cargo.toml"]


def test_what_decides_versions_is_kept_and_nothing_else():
    kept = reduced(
        package("a", 'description = "x"\nbuild = "build.rs"\nlinks = "z"\nrust-version = "1.70"\n')
        + '[lib]\nproc-macro = true\npath = "src/x.rs"\n[[bin]]\nname = "tool"\n[features]\ndefault = ["b/std"]\n'
        '[dependencies]\nb = "1"\n[profile.release]\nlto = true\n[lints.rust]\nunsafe_code = "forbid"\n'
    )
    assert kept == {
        "package": {"name": "a", "version": "0.0.0", "edition": "2021", "rust-version": "1.70"},
        "lib": {"path": "envtool-empty.rs", "proc-macro": True},
        "features": {"default": ["b/std"]},
        "dependencies": {"b": "1"},
    }
    assert parse_manifest(toml_text(kept), "Cargo.toml").table == kept


def test_versions_of_the_project_count_where_a_path_comes_with_one():
    assert reduced(package("a"))["package"]["version"] == "0.0.0"
    assert reduced("[workspace]\n[workspace.package]\nversion = '2.0.0'\nedition = '2021'\n")["workspace"] == {
        "package": {"version": "0.0.0", "edition": "2021"}
    }
    files = {
        "Cargo.toml": package("a", '[dependencies]\nb = { path = "b", version = "1" }\n'),
        "b/Cargo.toml": package("b"),
    }
    both = reduce_manifests(manifests(files)[1])
    assert [table["package"]["version"] for table in both.values()] == ["1.0.0", "1.0.0"]


def test_a_package_without_a_name_is_refused():
    with pytest.raises(CargoManifestError, match="its package has no name"):
        reduced('[package]\nversion = "1.0.0"\n')


@pytest.mark.parametrize("text", ['a "b" \\ \n \x7f é \u2028', "", "[x]", "${HOME}"])
def test_texts_survive(text):
    assert parse_manifest(toml_text({text: {"k": [text, 1, True]}}), "x").table == {text: {"k": [text, 1, True]}}


def test_a_value_without_a_form_is_refused():
    with pytest.raises(ValueError, match="NoneType"):
        toml_text({"a": None})


def test_the_oldest_rust_of_a_project_can_be_left_out():
    kept = reduced(
        package("a", "rust-version.workspace = true\n")
        + "[workspace]\n[workspace.package]\nrust-version = '1.60'\nedition = '2021'\n"
    )
    left = without_rust_version(kept)
    assert "rust-version" not in toml_text(left)
    assert "rust-version" in toml_text(kept)
    assert left["workspace"]["package"] == {"edition": "2021"}
    assert without_rust_version({"workspace": {"members": ["a"]}}) == {"workspace": {"members": ["a"]}}

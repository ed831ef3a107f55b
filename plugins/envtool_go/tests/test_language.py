"""`language: go`: go.mod and go.work -> layers, and what `envtool init` writes, without a container."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envtool_go.language import detect
from envtool_go.plugin import GoLanguage

from envtool import api, testing

SUM = f"example.org/a v1.0.0 h1:{'A' * 43}=\n"
MOD = "module example.org/app\n\ngo 1.19\n"
WITH = MOD + "\nrequire example.org/a v1.0.0\n"
WORK = {"go.work": "go 1.22\n\nuse ./a\nuse ./b\n", "a/go.mod": WITH, "b/go.mod": MOD}


def layers(files, base="debian", names=(), **options):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    draft = api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=names, where=where)
    return GoLanguage().layers(draft, testing.MemoryProject(files))


def test_a_project_with_modules():
    golang, modules = testing.check_language(GoLanguage(), {"go.mod": WITH, "go.sum": SUM})
    assert (golang.kind, golang.options, golang.after) == ("apt", ["golang-go", "gcc", "libc6-dev"], False)
    assert (modules.kind, modules.options, modules.needs) == ("go", {}, ("golang",))


def test_without_cgo_there_is_no_compiler():
    golang, modules = testing.check_language(GoLanguage(), {"go.mod": MOD}, cgo=False)
    assert (golang.options, modules.options) == (["golang-go"], {"cgo": False})


@pytest.mark.parametrize(("base", "go"), [("host", "go"), ("debian", "/opt/go/bin/go")])
def test_a_go_that_is_there_is_not_installed(base, go):
    options = {} if go == "go" else {"go": go}
    (modules,) = layers({"go.mod": MOD}, base, ("mine",), **options)
    assert (modules.options, modules.needs) == (options, ("mine",))


@pytest.mark.parametrize("directory", [".", "a"])
def test_a_workspace_is_found_from_its_modules(directory):
    options = {} if directory == "." else {"directory": directory}
    _, modules = testing.check_language(GoLanguage(), WORK, **options)
    assert modules.options == {"workspace": ["a", "b"]}


def test_modules_in_the_project_itself():
    files = {"go.mod": WITH, "vendor/modules.txt": "# example.org/a v1.0.0\n"}
    assert testing.check_language(GoLanguage(), files)[1].options == {"vendored": True}
    replaced = {"go.mod": WITH + "replace example.org/a => ./a\n", "a/go.mod": MOD}
    assert testing.check_language(GoLanguage(), replaced)[1].options == {}


def test_a_directory():
    files = {"server/go.mod": WITH, "server/go.sum": SUM}
    assert testing.check_language(GoLanguage(), files, directory="server")[1].options == {"directory": "server"}


def test_names_that_are_taken():
    assert [layer.name for layer in layers({"go.mod": MOD}, names=("golang", "modules"))] == ["go-golang", "go-modules"]


@pytest.mark.parametrize(
    ("files", "why", "file"),
    [
        ({}, "there is no go.mod", "envtool.yaml"),
        ({"go.mod": WITH}, "go.mod requires modules, and there is no go.sum", "envtool.yaml"),
        ({"go.mod": "module a\nrequire (\n"}, "`require (` has no end", "go.mod"),
        ({"go.work": "use ../b\n"}, "uses ../b, which is outside of the project", "envtool.yaml"),
        ({"go.work": "use ./b\n"}, "uses b, where there is no go.mod", "envtool.yaml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files, why, file):
    with pytest.raises(api.SpecError) as caught:
        layers(files)
    (problem,) = caught.value.problems
    assert why in problem.message
    assert problem.where.file == file


@pytest.mark.parametrize(
    ("files", "suite", "task"),
    [
        ({"go.mod": MOD}, "trixie", "go test ./... {{ args }}"),
        ({"go.mod": WITH.replace("1.19", "1.22.3"), "go.sum": SUM}, "trixie", "go test ./... {{ args }}"),
        ({**WORK, "a/go.sum": SUM}, "trixie", "go test ./a/... ./b/... {{ args }}"),
    ],
)
def test_detection(files, suite, task):
    (found,) = detect(testing.MemoryProject(files))
    assert found.language == "go"
    assert found.env == {
        "base": {"debian": suite}, "language": "go", "caches": ["~/.cache/go-build"], "tasks": {"test": task},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"go.mod": WITH}, "there is no go.sum"),
        ({"go.mod": "module a\ngo x\n"}, "go.mod:2: `go x` is no version of Go"),
        ({"go.work": "use ./b\n"}, "uses b, where there is no go.mod"),
    ],
)
def test_what_could_not_pass_is_not_detected(files, why):
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert why in found.reason


@pytest.mark.parametrize(
    ("proxy", "has_go", "found_one"),
    [
        ("https://proxy.example/,direct", False, True), ("off", True, False), ("direct", True, False),
        ("", True, True), ("", False, False),
    ],
)  # fmt: skip
def test_a_newer_go_than_debians_is_a_toolchain_where_there_is_a_proxy(monkeypatch, tmp_path, proxy, has_go, found_one):
    if has_go:
        (tmp_path / "go").write_text("#!/bin/sh\nexit 9\n")  # it must not be started
        (tmp_path / "go").chmod(0o755)
    for name, value in {"PATH": str(tmp_path), "GOPROXY": proxy, "GOENV": "off"}.items():
        monkeypatch.setenv(name, value)
    for files in ({"go.mod": "module a\n\ngo 1.25.1\n"}, {"go.work": "go 1.25\nuse ./a\n", "a/go.mod": MOD}):
        (found,) = detect(testing.MemoryProject(files))
        reason = f"{next(iter(files))}, which wants Go 1.25: Debian trixie has 1.24, and this machine has no Go proxy"
        assert found.tested == found_one
        assert (reason in found.reason) == (not found_one)
        if found_one:
            assert (found.env["base"], found.env["toolchain"]) == ({"debian": "trixie"}, {"go": "1.25"})
    assert "toolchain" not in detect(testing.MemoryProject({"go.mod": MOD}))[0].env


def test_a_module_without_its_sums_says_what_writes_them():
    (found,) = detect(testing.MemoryProject({"go.mod": WITH}))
    assert (found.reason, found.hint) == (
        "go.mod requires modules, and there is no go.sum", "`go mod tidy` writes it",
    )  # fmt: skip


def test_nothing_is_detected_where_there_is_no_module():
    assert detect(testing.MemoryProject({})) == []


OWN = 'package errors_test\n\nimport (\n\t"fmt"\n\n\t"example.org/pkg/errors"\n)\n\nvar x = "github.com/a/b"\n'


def test_a_package_from_before_modules_that_needs_nothing():
    files = {"errors.go": 'package errors\n\nimport "io"\n', "example_test.go": OWN}
    (found,) = detect(testing.MemoryProject(files))
    assert found.env["set"] == {"GOPATH": "/tmp/go", "GO111MODULE": "off"}
    assert found.env["tasks"]["test"].startswith("mkdir -p /tmp/go/src/example.org/pkg/errors && cp -r . ")
    (found,) = detect(testing.MemoryProject({"a.go": "package a\n", "a_test.go": "package a\n"}))
    assert "/tmp/go/src/example.org/a" in found.env["tasks"]["test"]


@pytest.mark.parametrize(
    "files",
    [
        {"a.go": "package a\n"},
        {"a.go": "package a\n", "b.go": "package b\n", "a_test.go": "package a\n"},
        {"a.go": "package a\n", "x/b.go": "package b\n"},
        {"a_test.go": "package a\n"},
        {"testdata/a.go": "package a\n", "testdata/a_test.go": "package a\n"},
        {f"a{number}.go": "package a\n" for number in range(200)} | {"a_test.go": "package a\n"},
    ],
)
def test_a_package_from_before_modules_that_is_not_certain(files):
    assert detect(testing.MemoryProject(files)) == []


SPEW = {  # as go-spew has it: nothing at its top
    "spew/dump.go": 'package spew\n\nimport "fmt"\n',
    "spew/dump_test.go": 'package spew_test\n\nimport "example.org/go-spew/spew"\n',
    "spew/cgo_test.go": 'package spew_test\n\nimport (\n\t"example.org/go-spew/spew/testdata"\n)\n',
    "spew/testdata/cgo.go": "package testdata\n",
}
TWO = {
    "a.go": 'package a\n\nimport "example.org/go-a/x"\n',
    "x/b.go": "package b\n",
    "a_test.go": 'package a_test\n\nimport "example.org/go-a/x"\n',
}


@pytest.mark.parametrize(
    ("files", "module"),
    [
        (SPEW, "example.org/go-spew"),
        (TWO, "example.org/go-a"),
        ({"x/b.go": "package b\n", "x/b_test.go": "package b\n"}, "example.org/b"),
        ({**SPEW, "_old/c.go": 'package c\nimport "example.org/c"\n', ".x/d.go": "package d\n"}, "example.org/go-spew"),
    ],
)
def test_packages_from_before_modules_in_directories(files, module):
    (found,) = detect(testing.MemoryProject(files))
    assert f"&& cd /tmp/go/src/{module} && go test ./..." in found.env["tasks"]["test"]


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        (
            {"a.go": 'package a\n\nimport x "example.org/other"\n', "a_test.go": "package a\n"},
            "example.org/other",
        ),
        ({**SPEW, "spew/e.go": 'package spew\nimport "example.org/go-spew/other"\n'}, "example.org/go-spew/other"),
        ({**SPEW, "spew/e.go": 'package spew\nimport "example.com/go-spew/spew"\n'}, "example.com/go-spew/spew"),
    ],
)
def test_packages_from_before_modules_that_need_others(files, foreign):
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert foreign in found.reason
    assert ": `go mod init`" in found.reason


@pytest.mark.parametrize(
    ("suite", "line", "note"),
    [
        ("trixie", "toolchain go1.22.5", "go.mod:5 wants go 1.22.5, the env has 1.24: `toolchain: [go]` takes what the file wants"),
        ("trixie", "toolchain go1.24.1", ""), ("bookworm", "toolchain default", ""), ("sid", "toolchain go1.22.5", ""),
        ("trixie", "// toolchain", ""),
    ],
)  # fmt: skip
def test_another_go_is_noted_and_changes_nothing(suite, line, note):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    env = api.EnvDraft(name="unit", base_kind="debian", base_options=suite, options={}, layer_names=(), where=where)
    plain = GoLanguage().layers(env, testing.MemoryProject({"go.mod": MOD}))
    files = testing.MemoryProject({"go.mod": f"{MOD}\n{line}\n"})
    assert GoLanguage().layers(env, files) == (replace(plain[0], note=note), *plain[1:])
    assert not any(layer.note for layer in GoLanguage().layers(replace(env, toolchains=("go",)), files))

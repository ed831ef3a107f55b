"""The hooks: what this distribution adds to envtool. Every command that reads a spec imports this module and `kinds`,
and no other: so the language and the readers are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_go.kinds import OPTIONS, TOOLCHAIN, Go, GoModule, GoToolchain

envtool_api = 1  # of docs/api-changelog.md


class GoLanguage(api.Language):
    """An env that builds and tests a Go project."""

    name: ClassVar[str] = "go"
    options: ClassVar[Mapping[str, api.Json]] = OPTIONS

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """See language. Raises SpecError."""
        from envtool_go.language import language_layers

        return language_layers(env, project)


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`go` and `go-module`, and what `toolchain: {go: …}` adds."""
    return [Go(), GoModule(), GoToolchain()]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: go`."""
    return [GoLanguage()]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`go`."""
    return [TOOLCHAIN]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with go.mod or go.work is a Go project."""
    from envtool_go.language import detect

    return detect(project)


@api.hook
def envtool_packages(tree: api.Tree) -> list[api.Package]:
    """The modules in Go's module cache."""
    from envtool_go.go_packages import cached_modules

    return cached_modules(tree)


@api.hook
def envtool_owners(tree: api.Tree, path: str) -> list[api.Package]:
    """The module in whose directory a file lies."""
    from envtool_go.go_packages import modules_with

    return modules_with(tree, path)


@api.hook
def envtool_output_readers() -> list[api.OutputReader]:
    """Readers of go test, with and without -json."""
    return [
        api.OutputReader(
            name="go test",
            start=_read_go_test,
            begins=r"=== RUN|ok |PASS$|FAIL(?:$|\t)|panic: |fatal error: ",
            contains=r"--- [PFS]",
        ),
        api.OutputReader(name="go test -json", start=_read_go_json, begins=r"\{\""),
    ]


def _read_go_test() -> api.LineReader:
    from envtool_go.go_test_output import GoTest

    return GoTest()


def _read_go_json() -> api.LineReader:
    from envtool_go.go_test_output import GoTestJson

    return GoTestJson()

"""The hooks: what this distribution adds to envtool. Every command that reads a spec imports this module and `kinds`,
and no other: so the language and the readers are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from envtool import api
from envtool_rust.kinds import COMPONENT_OPTION, OPTIONS, TOOLCHAIN, Cargo, Crate, RustToolchain

envtool_api = 1  # of docs/api-changelog.md


class RustLanguage(api.Language):
    """An env that builds and tests a Rust project."""

    name: ClassVar[str] = "rust"
    options: ClassVar[Mapping[str, api.Json]] = {**OPTIONS, "components": COMPONENT_OPTION}

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """See language. Raises SpecError."""
        from envtool_rust.language import language_layers

        return language_layers(env, project)


@api.hook
def envtool_layer_kinds() -> list[api.Kind]:
    """`cargo` and `crate`, and what `toolchain: {rust: …}` adds."""
    return [Cargo(), Crate(), RustToolchain()]


@api.hook
def envtool_languages() -> list[api.Language]:
    """`language: rust`."""
    return [RustLanguage()]


@api.hook
def envtool_toolchains() -> list[api.Toolchain]:
    """`rust`."""
    return [TOOLCHAIN]


@api.hook
def envtool_detect(project: api.Project) -> list[api.Detection]:
    """A project with Cargo.toml is a Rust project."""
    from envtool_rust.language import detect

    return detect(project)


@api.hook
def envtool_packages(tree: api.Tree) -> list[api.Package]:
    """The crates whose sources are in the stack."""
    from envtool_rust.installed import installed_crates

    return installed_crates(tree)


@api.hook
def envtool_owners(tree: api.Tree, path: str) -> list[api.Package]:
    """The crate in whose directory a file lies."""
    from envtool_rust.installed import crates_with

    return crates_with(tree, path)


@api.hook
def envtool_output_readers() -> list[api.OutputReader]:
    """Readers of cargo test and cargo nextest."""
    return [
        api.OutputReader(
            name="cargo test",
            start=_read_cargo_test,
            begins=r"running \d|test (?:result: |\S)| +Running |   Doc-tests |  process didn't exit|thread '",
            contains=r" --- FAILED$",
        ),
        api.OutputReader(
            name="cargo nextest",
            start=_read_nextest,
            begins=r" +(?:Starting \d|Summary \["
            r"|(?:TRY \d+ )?(?:PASS|FAIL|FLAKY|LEAK(?:-FAIL)?|SIG[A-Z]+|TIMEOUT|TMT|ABORT) )",
        ),
    ]


def _read_cargo_test() -> api.LineReader:
    from envtool_rust.test_output import CargoTest

    return CargoTest()


def _read_nextest() -> api.LineReader:
    from envtool_rust.test_output import Nextest

    return Nextest()

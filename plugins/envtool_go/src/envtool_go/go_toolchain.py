"""Where an env has its Go from: Debian's packages, or a release that `toolchain: {go: …}` names. Pure."""

from __future__ import annotations

from envtool import api
from envtool_go.kinds import GO

COMPILER = ("gcc", "libc6-dev")  # for cgo, and for the race detector
RELEASES = ((19, "bookworm"), (24, "trixie"))  # newest minor version of Go, and the Debian release that has it


def toolchain_layers(env: api.EnvDraft, used_names: set[str]) -> tuple[api.LayerDraft, ...]:
    """Returns the layers with Go: Debian's packages on a Debian base, with a C compiler unless `cgo` is false, and
    unless the env names another go; nothing on other bases, whose own is used. With `toolchain: {go: …}` the compiler
    is all that is missing."""
    if env.base_kind != "debian" or env.options.get("go", GO) != GO:
        return ()
    compiler = () if env.options.get("cgo") is False else COMPILER
    packages: list[api.Json] = [*(() if "go" in env.toolchains else ("golang-go",)), *compiler]
    if not packages:
        return ()
    return (api.LayerDraft(name=free_name("golang", used_names), kind="apt", options=packages, after=False),)


def free_name(name: str, used_names: set[str]) -> str:
    """Returns the name, or one like it that no layer has, and notes it as used."""
    while name in used_names:
        name = f"go-{name}"
    used_names.add(name)
    return name


def suite_for(minor: int) -> str:
    """Returns the Debian release whose Go is new enough for `go 1.MINOR`; "" for none."""
    return next((suite for newest, suite in RELEASES if minor <= newest), "")

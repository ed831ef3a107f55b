"""Where an env has its cargo and rustc from: the one place that decides it, also for `toolchain: {rust: …}`. Pure."""

from __future__ import annotations

from envtool import api
from envtool_rust.kinds import CARGO, COMPONENTS

# cargo links by the system's C compiler, which Debian's rustc only recommends on some suites.
PACKAGES = ("cargo", "gcc", "libc6-dev")
PINNED = ("clippy", "rustfmt")  # components of every pinned toolchain
SUITE = "trixie"  # of Debian, for a project without a spec: cargo 1.85
MINOR = 85  # of that cargo: 1.85
RELEASES = {"bookworm": "1.63", "trixie": "1.85"}  # https://packages.debian.org/rustc: Debian suite -> its version


def toolchain_layers(env: api.EnvDraft, used_names: set[str]) -> tuple[api.LayerDraft, ...]:
    """Returns the layers with cargo and rustc: Debian's packages on a Debian base, unless the env names another cargo;
    nothing on other bases, whose own are used. With `toolchain: {rust: …}` the C compiler is all that is missing.
    Raises SpecError."""
    components = env.options.get("components") or []
    assert isinstance(components, list)
    is_pinned = "rust" in env.toolchains
    if is_pinned and (lacking := [str(name) for name in components if name not in PINNED]):
        message = f"`components: [{', '.join(lacking)}]`: `toolchain: {{rust: …}}` has {' and '.join(PINNED)} alone"
        problem = api.Problem(
            where=env.where,
            message=message,
            code="rust",
            hint="remove it, or take Debian's Rust: without `toolchain`",
        )
        raise api.SpecError((problem,))
    if env.base_kind != "debian" or env.options.get("cargo", CARGO) != CARGO:
        return ()
    wanted = [] if is_pinned else [COMPONENTS[str(name)] for name in components]
    packages: list[api.Json] = [*(PACKAGES[1:] if is_pinned else PACKAGES), *wanted]
    return (api.LayerDraft(name=free_name("rust", used_names), kind="apt", options=packages, after=False),)


def free_name(name: str, used_names: set[str]) -> str:
    """Returns the name, or one like it that no layer has, and notes it as used."""
    while name in used_names:
        name = f"rust-{name}"
    used_names.add(name)
    return name

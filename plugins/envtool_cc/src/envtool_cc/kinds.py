"""`language: cc`; the layer kind `cc`: compiler, sanitizers and ccache of builds; toolchains: cmake, meson, ninja, zig.

The kind `cc` writes no file: it sets the variables that CMake, Meson, configure and make read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from envtool import api

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource

COMPILERS = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}
SANITIZERS = ("address", "leak", "thread", "undefined")
TOGETHER = ({"address", "undefined"}, {"address", "leak", "undefined"}, {"leak", "undefined"}, {"thread", "undefined"})

OPTIONS: dict[str, api.Json] = {
    "compiler": {"enum": [*COMPILERS], "description": "the compiler: CC and CXX (default: as the base has them)"},
    "sanitize": {
        "description": "sanitizers that code is compiled with, by CFLAGS, CXXFLAGS and LDFLAGS: one, a list, or"
        " `none`, for a matrix; tests then fail at the first finding",
        "anyOf": [
            {"enum": ["none", *SANITIZERS]},
            {"type": "array", "items": {"enum": [*SANITIZERS]}, "minItems": 1, "uniqueItems": True},
        ],
    },
    "ccache": {
        "type": "boolean",
        "description": "whether CC and CXX go through ccache; `caches: [~/.cache/ccache]` keeps its files (default:"
        " false)",
    },
}
HALT = {
    "address": ("ASAN_OPTIONS", "halt_on_error=1:detect_stack_use_after_return=1"),
    "leak": ("LSAN_OPTIONS", "exitcode=23"),
    "thread": ("TSAN_OPTIONS", "halt_on_error=1"),
    "undefined": ("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1"),
}


SYSTEMS = ("cmake", "meson", "autotools", "make")
_PACKAGE: api.Json = {
    "type": "string",
    "pattern": r"^[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?$",
    "errorMessage": "the name of a Debian package, as in libssl-dev",
}


class Cc(api.Kind):
    """`cc: {compiler: clang, sanitize: address, ccache: true}`."""

    name: ClassVar[str] = "cc"
    schema: ClassVar[api.Json] = {
        "description": "variables for builds of C and C++: compiler, sanitizers, ccache; `language: cc` adds it",
        "examples": [{"compiler": "clang", "sanitize": ["address", "undefined"]}],
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": OPTIONS,
    }

    def judge(self, options: api.Json) -> None:
        """Refuses sanitizers that no compiler takes together. Raises ResolveError."""
        names = sanitizers(_mapping(options))
        if len(names) > 1 and not any({*names} <= allowed for allowed in TOGETHER):
            raise api.ResolveError(
                f"`sanitize: [{', '.join(names)}]`: compilers do not take these together",
                code="cc-sanitize",
                hint="a matrix has one env for each: `matrix: {sanitizer: [address, thread]}`",
            )

    def variables(self, request: api.Request, pins: api.Json) -> Mapping[str, str | None]:
        """CC and CXX, the flags of the sanitizers, and options that end a program at the first finding."""
        return build_variables(_mapping(request.options))

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """No file."""
        return api.Recipe()

    def summary(self, request: api.Request, pins: api.Json) -> str:
        """As in `clang, address sanitizer, ccache`."""
        options = _mapping(request.options)
        names = sanitizers(options)
        word = f"{' and '.join(names)} sanitizer{'s' if len(names) > 1 else ''}" if names else ""
        cached = "ccache" if options.get("ccache") else ""
        return ", ".join(filter(None, [str(options.get("compiler", "")), word, cached]))


class CcLanguage(api.Language):
    """An env that builds and tests a project of C or C++."""

    name: ClassVar[str] = "cc"
    options: ClassVar[Mapping[str, api.Json]] = {
        "directory": {
            "type": "string",
            "minLength": 1,
            "description": "where the build files are (default: beside the spec)",
        },
        "system": {
            "enum": [*SYSTEMS],
            "description": "the build system, whose tools the env gets (default: by the project's build files)",
        },
        "packages": {
            "type": "array",
            "items": _PACKAGE,
            "uniqueItems": True,
            "description": "Debian packages beside those that the build files name, as in `[libssl-dev]`",
        },
        **OPTIONS,
    }

    def layers(self, env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
        """Returns the compiler, the build tools and the libraries as an apt layer, if the base is Debian, and the
        variables of a compiler, sanitizers and ccache. Raises SpecError if the project has no build files."""
        from envtool_cc.language import language_layers

        return language_layers(env, project, tuple(OPTIONS))


def sanitizers(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the sanitizers, sorted; () for `none`."""
    value = options.get("sanitize", "none")
    return tuple(sorted(name for name in ([value] if isinstance(value, str) else value) if name != "none"))


def build_variables(options: Mapping[str, Any]) -> dict[str, str | None]:
    """Returns the variables for these options."""
    variables: dict[str, str | None] = {}
    if options.get("compiler") or options.get("ccache"):
        compilers = COMPILERS[str(options.get("compiler", "gcc"))]
        front = "ccache " if options.get("ccache") else ""
        variables |= {"CC": front + compilers[0], "CXX": front + compilers[1]}
    names = sanitizers(options)
    if names:
        flags = f"-fsanitize={','.join(names)} -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
        variables |= {"CFLAGS": flags, "CXXFLAGS": flags, "LDFLAGS": f"-fsanitize={','.join(names)}"}
        variables |= dict(HALT[name] for name in names)
    return variables


def _mapping(options: api.Json) -> dict[str, Any]:
    return options if isinstance(options, dict) else {}


# ---- toolchains: from wheels of this machine's package indexes -----------------------------------------------------


class WheelToolchain(api.ToolchainKind):
    """A program whose files are in a wheel; `wheel_layouts` says where."""

    distribution: ClassVar[str]  # its name in the index

    def sources(self) -> Sequence[ToolchainSource]:
        """The indexes."""
        from envtool_cc.wheel_releases import WheelIndex

        return (WheelIndex(self.distribution),)

    def accepts(self, wanted: str, version: str) -> bool:
        """Also for the numbers that the packaging adds, as in 0.17.0.post1."""
        from envtool_cc.wheel_releases import release_of

        return version == wanted or super().accepts(wanted, release_of(version))

    def package(self, file: str) -> tuple[str, str]:
        """By the name of a wheel."""
        name, version, *_ = [*file.split("-"), ""]
        return name, version

    def strip(self, row: Mapping[str, api.Json]) -> int:
        """All of a wheel is unpacked, and what is no part of the toolchain is removed then."""
        return 0

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        """Unpacks the wheel, and puts its files where a program has them. Nothing of it runs."""
        from envtool_cc import wheel_layouts

        recipe = super().build(request, pins)
        finish = api.Call(function=wheel_layouts.finish, arguments=(self.tool, self.directory))
        return replace(recipe, steps=(*recipe.steps, finish))


class CMakeToolchain(WheelToolchain):
    """CMake, with CTest and CPack, from its wheel."""

    name: ClassVar[str] = "cmake-toolchain"
    tool: ClassVar[str] = "cmake"
    title: ClassVar[str] = "CMake"
    distribution: ClassVar[str] = "cmake"


class MesonToolchain(WheelToolchain):
    """Meson, from its wheel: the env's own python3 runs it."""

    name: ClassVar[str] = "meson-toolchain"
    tool: ClassVar[str] = "meson"
    title: ClassVar[str] = "Meson"
    distribution: ClassVar[str] = "meson"


class NinjaToolchain(WheelToolchain):
    """Ninja, from its wheel."""

    name: ClassVar[str] = "ninja-toolchain"
    tool: ClassVar[str] = "ninja"
    title: ClassVar[str] = "Ninja"
    distribution: ClassVar[str] = "ninja"


class ZigToolchain(WheelToolchain):
    """Zig, from its wheel: `zig cc` is a C compiler."""

    name: ClassVar[str] = "zig-toolchain"
    tool: ClassVar[str] = "zig"
    title: ClassVar[str] = "Zig"
    distribution: ClassVar[str] = "ziglang"


TOOLCHAIN_KINDS = (CMakeToolchain(), MesonToolchain(), NinjaToolchain(), ZigToolchain())
TOOLCHAINS = tuple(api.Toolchain(name=kind.tool, kind=kind.name) for kind in TOOLCHAIN_KINDS)

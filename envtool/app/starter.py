"""The first spec of a project: what plugins make of its files, else what its build system says, else nothing."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from envtool import plugins
from envtool.api import Detection, Project
from envtool.app import makefile
from envtool.app.command_request import SPEC, CommandRequest
from envtool.model import Json
from envtool.project import repository
from envtool.project.source_files import ProjectFiles
from envtool.spec import load as load_spec
from envtool.spec.language import SubdirectoryProject

C_PACKAGES = ("gcc", "libc6-dev", "make")
_CPP_PATTERNS = ("*.cc", "*.cpp", "*.cxx", "**/*.cc", "**/*.cpp", "**/*.cxx")
_TEST_TARGET = re.compile(r"^(test|check)\s*:(?!=)", re.MULTILINE)
_GO_RELEASES = ((19, "bookworm"), (24, "trixie"))  # the minor version of Go that a release of Debian has
_CARGO_DEPENDENCIES = re.compile(r"^\[([\w.'\"()-]+\.)?((dev|build)-)?dependencies[.\]]", re.MULTILINE)
_GO_REQUIRE = re.compile(r"^\s*require\b", re.MULTILINE)
_PROJECT_FILES = (
    "pyproject.toml",
    "setup.py",
    "package.json",
    "Cargo.toml",
    "go.mod",
    "CMakeLists.txt",
    "Makefile",
    SPEC,
)
_MAX_SUBPROJECTS = 40  # directories below that are looked into
_FIND_PACKAGE = re.compile(r"^[^#\n]*\bfind_package\s*\(\s*(?!Threads\b|CTest\b)(\w+)", re.MULTILINE | re.IGNORECASE)


def detect(request: CommandRequest) -> tuple[Detection, ...]:
    """What a project that has no spec yet looks like: to the plugins, in the order of their names; where none of them
    knows anything, by its build system; then by what projects in directories below look like to the plugins."""
    files = ProjectFiles(os.path.abspath(request.directory))
    found = _detect_by_plugins(files)
    if any(each.tested for each in found):
        return found
    more = (*found, *detect_build_system(files))
    return more if any(each.tested for each in more) else (*more, *_detect_subprojects(files))


def _detect_by_plugins(project: Project) -> tuple[Detection, ...]:
    return tuple(each for hook in plugins.discover().hooks("envtool_detect") for each in hook(project=project))


def check(request: CommandRequest, texts: Mapping[str, str]) -> None:
    """Raise SpecError where a spec of these files (path below the project -> text) would be wrong in the project."""
    root = os.path.abspath(request.directory)
    project = _ProjectWithTexts(ProjectFiles(root), texts)
    load_spec(project, SPEC, root=root, registry=plugins.discover())


def around(request: CommandRequest) -> str:
    """The directory above, as one would type it, where `init` finds this project beside others and writes a spec for
    them: what one of them requires of another is in its reach. Empty where there is none."""
    here = os.path.abspath(request.directory)
    found = repository.find_repository(here)
    top = found.top if found else here
    if top == here or os.path.lexists(os.path.join(top, SPEC)):
        return ""
    place = os.path.relpath(here, top)
    seen = detect(CommandRequest(directory=top))
    return os.path.relpath(top) if any(each.tested and each.directory == place for each in seen) else ""


@dataclass(frozen=True, slots=True)
class _ProjectWithTexts:
    """A project as it will be with more files in it."""

    project: Project
    texts: Mapping[str, str]

    def read(self, path: str) -> str | None:
        return self.texts.get(path) or self.project.read(path)

    def read_bytes(self, path: str) -> bytes | None:
        return self.texts[path].encode() if path in self.texts else self.project.read_bytes(path)

    def glob(self, pattern: str) -> list[str]:
        return self.project.glob(pattern)

    def around(self, name: str) -> Mapping[str, bytes]:
        return self.project.around(name)


# ---- build systems, with Debian's own tools -------------------------------------------------------------------------


def detect_build_system(project: Project) -> Iterator[Detection]:
    """The first build system whose tests can run without anything that is not in Debian; and those that are there, but
    want what only their own package manager has."""
    for look in (_detect_cargo, _detect_go, _detect_cmake, _detect_make):
        found = look(project)
        if found is not None:
            yield found
            if found.tested:
                return


def _detect_subprojects(project: Project) -> Iterator[Detection]:
    """Projects in directories of their own, one or two below: those whose tests plugins know how to run, each with its
    directory, else one that says what to type."""
    marks = [f"{top}{name}" for top in ("*/", "*/*/") for name in _PROJECT_FILES]
    places = sorted({posixpath.dirname(path) for mark in marks for path in project.glob(mark)})
    found = [
        replace(each, directory=place, reason=f"{place}: {each.reason}")
        for place in places[:_MAX_SUBPROJECTS]
        for each in _detect_by_plugins(SubdirectoryProject(project, place))
    ]
    yield from found
    if places and not any(each.tested for each in found):
        named = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
        name = posixpath.basename(places[0])
        how = f"`envtool -C DIRECTORY init` in each, then `include: {{{name}: {places[0]}/{SPEC}}}` in a spec here"
        yield Detection(language="below", reason=f"{named}: {how}")


def _make_env(suite: str, packages: tuple[str, ...], command: str = "") -> Json:
    task: dict[str, Json] = {"tasks": {"test": command}} if command else {}
    return {"base": {"debian": suite}, "layers": [{"apt": [*packages]}], **task}


def _detect_cargo(project: Project) -> Detection | None:
    text = project.read("Cargo.toml")
    if text is None:
        return None
    lock = project.read("Cargo.lock") or ""
    suite = "trixie" if re.search(r'^edition\s*=\s*"2024"', text, re.MULTILINE) else "bookworm"
    packages = ("cargo", *C_PACKAGES[:2])
    vendored = project.read(".cargo/config.toml") is not None and bool(project.glob("vendor/*/Cargo.toml"))
    outside = "source = " in lock or (not lock and _CARGO_DEPENDENCIES.search(text) is not None)
    if outside and not vendored:
        why = "Cargo.toml, whose crates are on a registry: `cargo vendor` brings them into the project"
        return Detection(language="cargo", reason=why, env=_make_env(suite, packages))
    return Detection(
        language="cargo", reason="Cargo.toml", env=_make_env(suite, packages, "cargo test --offline {{ args }}")
    )


def _detect_go(project: Project) -> Detection | None:
    text = project.read("go.mod")
    if text is None:
        return None
    version = re.search(r"^go\s+1\.(\d{1,3})", text, re.MULTILINE)
    minor = int(version[1]) if version else 0
    suite = next((suite for has, suite in _GO_RELEASES if minor <= has), "")
    if not suite:
        return Detection(language="go", reason=f"go.mod, which wants Go 1.{minor}: no release of Debian has it")
    packages = ("golang-go", "ca-certificates")
    if _GO_REQUIRE.search(text) and project.read("vendor/modules.txt") is None:
        why = "go.mod, whose modules are on a proxy: `go mod vendor` brings them into the project"
        return Detection(language="go", reason=why, env=_make_env(suite, packages))
    return Detection(language="go", reason="go.mod", env=_make_env(suite, packages, "go test ./... {{ args }}"))


def _detect_cmake(project: Project) -> Detection | None:
    text = project.read("CMakeLists.txt")
    if text is None:
        return None
    packages = (*C_PACKAGES, "g++", "cmake")  # a project of CMake's is one of C and C++ unless it says otherwise
    if wanted := _FIND_PACKAGE.search(text):
        why = f"CMakeLists.txt, which looks for {wanted[1]}: a layer has to bring it"
        return Detection(language="cmake", reason=why, env=_make_env("bookworm", packages))
    if not re.search(r"\b(enable_testing|add_test)\b|include\s*\(\s*CTest\b", text, re.IGNORECASE):
        return Detection(language="cmake", reason="CMakeLists.txt, and no tests", env=_make_env("bookworm", packages))
    command = "cmake -S . -B /tmp/build && cmake --build /tmp/build && ctest --test-dir /tmp/build --output-on-failure"
    return Detection(language="cmake", reason="CMakeLists.txt", env=_make_env("bookworm", packages, command))


def _detect_make(project: Project) -> Detection | None:
    for name in ("GNUmakefile", "makefile", "Makefile"):  # in the order in which GNU make looks
        text = project.read(name)
        if text is None:
            continue
        plus = any(project.glob(pattern) for pattern in _CPP_PATTERNS)
        packages = (*C_PACKAGES, "g++") if plus else C_PACKAGES
        targets = _TEST_TARGET.findall(text)
        if not targets:
            why = f"{name}, which has neither a target `test` nor `check`"
            return Detection(language="make", reason=why, env=_make_env("bookworm", packages))
        target = "test" if "test" in targets else "check"
        called = makefile.find_programs(text, target)
        packages = tuple(
            dict.fromkeys((*packages, *(makefile.PACKAGES[each] for each in called if each in makefile.PACKAGES)))
        )
        if unknown := [each for each in called if each not in makefile.PACKAGES]:
            why = f"{name}, whose target `{target}` calls `{unknown[0]}`: a layer has to bring it"
            return Detection(language="make", reason=why, env=_make_env("bookworm", packages))
        env = _make_env("bookworm", packages, f"make {target}")
        return Detection(language="make", reason=f"{name} with a target `{target}`", env=env)
    return None

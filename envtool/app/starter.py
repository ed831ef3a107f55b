"""Detects what a project without a spec is: by the plugins, else by its build system. For `init`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from envtool import plugins
from envtool.api import Detection, Project
from envtool.app import makefile
from envtool.app.command_request import SPEC, CommandRequest
from envtool.app.joined_languages import join_languages
from envtool.app.read_spec import load_with_plugins
from envtool.errors import PluginError, report_fault
from envtool.lazy_dataclass import dataclass
from envtool.model import Json
from envtool.project import repository
from envtool.project.source_files import ProjectFiles
from envtool.spec.plugin_keys import SubdirectoryProject

C_PACKAGES = ("gcc", "libc6-dev", "make")
_CPP_PATTERNS = ("*.cc", "*.cpp", "*.cxx", "**/*.cc", "**/*.cpp", "**/*.cxx")
_TEST_TARGET = re.compile(r"^(test|check)\s*:(?!=)", re.MULTILINE)
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
_MAX_SUBPROJECTS = 40  # directories below the project that are examined
# Directories of which a project in another language is data or an example, and no member.
_NO_MEMBERS = frozenset({
    "test", "tests", "testing", "testdata", "test-data", "spec", "specs", "fixtures", "data", "doc", "docs", "example",
    "examples", "sample", "samples", "demo", "demos", "vendor", "third_party", "third-party", "3rdparty", "external",
    "extern", "deps", "node_modules", "bench", "benchmark", "benchmarks", "fuzz", "contrib", "tools", "website", "site",
})  # fmt: skip
_TEST_DATA = re.compile(r"(?:tests?|e2e)[-_].*|.*[-_](?:tests?|e2e|benchmarks?|examples?)", re.DOTALL)
_FIND_PACKAGE = re.compile(r"^[^#\n]*\bfind_package\s*\(\s*(?!Threads\b|CTest\b)(\w+)", re.MULTILINE | re.IGNORECASE)


def detect(request: CommandRequest) -> tuple[Detection, ...]:
    """What a project without a spec is: by the plugins, in the order of their names; if none of them knows how to test
    it, also by its build system; if that does not know either, also by the projects in directories below."""
    files = ProjectFiles(os.path.abspath(request.directory))
    detected = _detect_by_plugins(files)
    if any(detection.tested for detection in detected):
        return (*join_languages(detected), *_detect_members(files, {detection.language for detection in detected}))
    # a plugin that knows the build files says why their tests cannot pass: no task is written for them after all
    is_known = any(detection.language == "cc" for detection in detected)
    more = detected if is_known else join_languages((*detected, *detect_build_system(files)))
    return more if any(detection.tested for detection in more) else (*more, *_detect_subprojects(files))


def _detect_by_plugins(project: Project) -> tuple[Detection, ...]:
    """What the plugins say; one that fails is reported, and the others are asked all the same."""
    detected: list[Detection] = []
    for hook in plugins.used().hooks("envtool_detect"):
        try:
            detected += hook(project=project)
        except PluginError as fault:
            report_fault(fault)
    return tuple(detected)


def check(request: CommandRequest, texts: Mapping[str, str]) -> None:
    """Raise SpecError if a spec of these files (path below the project -> text) would be wrong in the project."""
    root = os.path.abspath(request.directory)
    project = ProjectWithTexts(ProjectFiles(root), texts)
    load_with_plugins(project, SPEC, root=root, registry=plugins.used())


def around(request: CommandRequest) -> str:
    """The top of the repository, relative to the working directory, if `init` finds this project there among others: a
    spec there can also name what this project requires of the others. Empty if there is no such directory."""
    directory = os.path.abspath(request.directory)
    enclosing = repository.find_repository(directory)
    top = enclosing.top if enclosing else directory
    if top == directory or os.path.lexists(os.path.join(top, SPEC)):
        return ""
    below_top = os.path.relpath(directory, top)
    detected = detect(CommandRequest(directory=top))
    return (
        os.path.relpath(top) if any(project.tested and project.directory == below_top for project in detected) else ""
    )


def other_tools_file(request: CommandRequest) -> str:
    """The first file of another tool that `init --from` takes over, for a hint where nothing else is known; "" without
    one."""
    files = ProjectFiles(os.path.abspath(request.directory))
    workflows = [path for ending in ("yml", "yaml") for path in files.glob(f".github/workflows/*.{ending}")]
    tests = sorted(workflows, key=lambda path: not re.search(r"test|ci\b|build", posixpath.basename(path)))
    others = (".devcontainer/devcontainer.json", ".devcontainer.json", "Dockerfile")
    return next((path for path in ("tox.ini", "noxfile.py", *tests, *others) if files.read(path) is not None), "")


@dataclass(frozen=True, slots=True)
class ProjectWithTexts:
    """A project with more files in it than are on the disk."""

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
    """The first build system whose tests need only packages of Debian; before it the build systems that need packages
    of their own package manager."""
    for detect_one in (_detect_cmake, _detect_make):
        detection = detect_one(project)
        if detection is not None:
            yield detection
            if detection.tested:
                return


def _detect_subprojects(project: Project) -> Iterator[Detection]:
    """Projects in directories one or two levels below, as the plugins detect them. If no plugin knows how to test one
    of them, the last detection says what to type."""
    patterns = [f"{top}{name}" for top in ("*/", "*/*/") for name in _PROJECT_FILES]
    directories = sorted({posixpath.dirname(path) for mark in patterns for path in project.glob(mark)})
    detections = [
        replace(detection, directory=directory, reason=f"{directory}: {detection.reason}")
        for directory in directories[:_MAX_SUBPROJECTS]
        for detection in join_languages(_detect_by_plugins(SubdirectoryProject(project, directory)))
    ]
    yield from detections
    if directories and not any(detection.tested for detection in detections):
        first_names = ", ".join(directories[:3]) + (f" and {len(directories) - 3} more" if len(directories) > 3 else "")
        name = posixpath.basename(directories[0])
        advice = (
            f"`envtool -C DIRECTORY init` in each, then `include: {{{name}: {directories[0]}/{SPEC}}}` in a spec here"
        )
        yield Detection(language="below", reason=f"{first_names}: {advice}")


def _detect_members(project: Project, languages: set[str]) -> Iterator[Detection]:
    """Projects in directories one or two levels below a project with tests, in languages that it does not have itself:
    a `frontend/` beside a server. What is only data, an example or documentation is none."""
    for detection in _detect_subprojects(project):
        parts = detection.directory.split("/")
        is_member = not any(part in _NO_MEMBERS or _TEST_DATA.fullmatch(part) for part in parts)
        if detection.tested and detection.language not in languages and is_member:
            yield detection


def _make_env(suite: str, packages: tuple[str, ...], command: str = "") -> Json:
    task: dict[str, Json] = {"tasks": {"test": command}} if command else {}
    return {"base": {"debian": suite}, "layers": [{"apt": [*packages]}], **task}


def _detect_cmake(project: Project) -> Detection | None:
    text = project.read("CMakeLists.txt")
    if text is None:
        return None
    packages = (*C_PACKAGES, "g++", "cmake")  # CMake takes a project for C and C++ unless the project says otherwise
    if package := _FIND_PACKAGE.search(text):
        reason = f"CMakeLists.txt, which looks for {package[1]}: a layer has to install it"
        return Detection(language="cmake", reason=reason, env=_make_env("bookworm", packages))
    if not re.search(r"\b(enable_testing|add_test)\b|include\s*\(\s*CTest\b", text, re.IGNORECASE):
        return Detection(language="cmake", reason="CMakeLists.txt, and no tests", env=_make_env("bookworm", packages))
    command = "cmake -S . -B /tmp/build && cmake --build /tmp/build && ctest --test-dir /tmp/build --output-on-failure"
    return Detection(language="cmake", reason="CMakeLists.txt", env=_make_env("bookworm", packages, command))


def _detect_make(project: Project) -> Detection | None:
    for name in ("GNUmakefile", "makefile", "Makefile"):  # in the order in which GNU make looks for them
        text = project.read(name)
        if text is None:
            continue
        is_cpp = any(project.glob(pattern) for pattern in _CPP_PATTERNS)
        packages = (*C_PACKAGES, "g++") if is_cpp else C_PACKAGES
        text = makefile.expand_names(text)
        targets = _TEST_TARGET.findall(text)
        if not targets:
            reason = f"{name}, which has neither a target `test` nor `check`"
            return Detection(language="make", reason=reason, env=_make_env("bookworm", packages))
        target = "test" if "test" in targets else "check"
        programs = makefile.find_programs(text, target)
        if "go" in programs and project.read("go.mod") is None:
            reason = f"{name}, whose target `{target}` calls `go` where there is no go.mod: `go mod init` makes one"
            return Detection(language="make", reason=reason, env=_make_env("bookworm", packages))
        packages = tuple(
            dict.fromkeys(
                (*packages, *(makefile.PACKAGES[program] for program in programs if program in makefile.PACKAGES))
            )
        )
        if unpackaged := [program for program in programs if program not in makefile.PACKAGES]:
            reason = f"{name}, whose target `{target}` calls `{unpackaged[0]}`: a layer has to install it"
            return Detection(language="make", reason=reason, env=_make_env("bookworm", packages))
        env = _make_env("bookworm", packages, f"make {target}")
        return Detection(language="make", reason=f"{name} with a target `{target}`", env=env, programs=tuple(programs))
    return None

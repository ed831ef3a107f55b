"""What `envtool init` writes for a project of C or C++. Nothing of the project is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from shutil import which

from envtool import api
from envtool_cc.build_files import TOP, find_system, needed_packages, read_texts, unknown_requirements

HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
PROGRAMS = {
    "cmake": ("cmake", "ctest", "make"),
    "meson": ("meson", "ninja"),
    "autotools": ("make",),
}
_CMAKE_TESTS = re.compile(
    r"^[ \t]*(?:add_test|gtest_discover_tests|catch_discover_tests)[ \t]*\(", re.MULTILINE | re.IGNORECASE
)
_CMAKE_ENABLED = re.compile(
    r"^[ \t]*(?:enable_testing[ \t]*\(|include[ \t]*\([ \t]*CTest\b)", re.MULTILINE | re.IGNORECASE
)
# An option that builds the tests, and is off. BUILD_TESTING is CTest's own, which is on, unless the project defines it.
# Projects define options by option(), by set(… CACHE BOOL …) without FORCE, or by a macro of their own
# (`x_define (BOOL NAME …)`).
_CMAKE_OPTION = re.compile(
    r"^[ \t]*(?:\w{0,60}(?:option|define|variable)[ \t]*\([ \t]*(?:BOOL[ \t]+)?|"
    r"set[ \t]*\([ \t]*(?=\w+\s+\w+\s+CACHE\b(?![^()]{0,300}\bFORCE\b)))"
    r"((?:\w{1,60}_)?(?:BUILD|ENABLE|WITH)_(?:UNIT_?)?(?:TESTS?|TESTING))\s+"
    r"(?:\"[^\"\n]{0,200}\"\s+)?(?:OFF|FALSE|0)[\s)]",
    re.MULTILINE | re.IGNORECASE,
)
_CMAKE_PROJECT = re.compile(r"^[ \t]*project[ \t]*\(", re.MULTILINE | re.IGNORECASE)
_CMAKE_INSTALL = re.compile(r"^[ \t]*install[ \t]*\(", re.MULTILINE | re.IGNORECASE)
_MESON_PROJECT = re.compile(r"^[ \t]*project[ \t]*\(", re.MULTILINE)
_MESON_TESTS = re.compile(r"^[ \t]*test[ \t]*\(", re.MULTILINE)
_MESON_INSTALL = re.compile(
    r"\binstall[ \t]*:[ \t]*true\b|^[ \t]*install_\w+[ \t]*\(|\binstall_dir[ \t]*:", re.MULTILINE
)
# `meson test` passes where the build defines no test, as where a library that only the tests need was not found
MESON_HAS_TESTS = "meson introspect build --tests | grep -q name || { echo 'the build defines no tests' >&2; exit 1; }"
_AUTOMAKE_TESTS = re.compile(r"^[ \t]*(?:TESTS|check_PROGRAMS|check_SCRIPTS)[ \t]*\+?=", re.MULTILINE)
_AUTOMAKE_INSTALL = re.compile(
    r"^(?:bin_PROGRAMS|lib_LTLIBRARIES|lib_LIBRARIES|include_HEADERS)[ \t]*\+?=", re.MULTILINE
)


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's build files suggest, at most one detection: by the first build system whose tests can
    be run, else by the first of all. A Makefile alone says nothing of its language: envtool itself looks at its
    targets."""
    first = find_system(project.read)[0]
    detections = [
        detection for system in PROGRAMS if (detection := _detect_system(project, system, is_first=system == first))
    ]
    return [*filter(lambda detection: detection.tested, detections), *detections][:1]


def _detect_system(project: api.Project, system: str, *, is_first: bool) -> api.Detection | None:
    """Returns what the files of one build system suggest; None if the project is none of that system. `is_first`:
    whether `language: cc` takes this system if the env names none."""
    path = next((name for name in TOP[system] if project.read(name) is not None), "")
    if not path:
        return None
    texts = read_texts(project, system)
    top = texts.get(path, "")
    if (system == "cmake" and not _CMAKE_PROJECT.search(top)) or (system == "meson" and not _MESON_PROJECT.search(top)):
        return None  # a part of another project
    on_host = all(which(name, path=HOST_PATH) for name in ("gcc", "g++", "pkg-config", *PROGRAMS[system]))
    on_host = on_host and not needed_packages(system, texts)
    env: dict[str, api.Json] = {**({} if on_host else {"base": {"debian": "bookworm"}}), "language": "cc"}
    env |= {} if is_first else {"system": system}
    if unknown := _not_in_project(project, system, unknown_requirements(system, texts)):
        reason = f"{path}, which requires {unknown[0]}: name its package, `packages: […]`"
        return api.Detection(language="cc", reason=reason, env=env)
    test = test_commands(project, system, top, texts.values())
    if not test:
        return api.Detection(language="cc", reason=f"{path}, and no tests", env=env)
    tasks: dict[str, api.Json] = {"test": [*test]}
    if install := install_commands(project, system, texts.values()):
        tasks["build"] = {"run": [*install], "outputs": {"paths": ["dist/**"], "when": "passed"}}
    return api.Detection(language="cc", reason=f"{path} with tests", env={**env, "tasks": tasks})


def _not_in_project(project: api.Project, system: str, names: Iterable[str]) -> list[str]:
    """Returns the names without those of the project's own scripts, which Meson's find_program looks for first
    (https://mesonbuild.com/Reference-manual_functions.html#find_program)."""
    return [name for name in names if not (system == "meson" and project.glob(f"**/{name}"))]


def test_commands(project: api.Project, system: str, top: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Returns the commands that build and test; () if the build files have no tests."""
    texts = [*texts]
    if system == "cmake":
        has_tests = _CMAKE_ENABLED.search(top) and any(_CMAKE_TESTS.search(text) for text in texts)
        run = "ctest --test-dir build --output-on-failure --no-tests=error {{ args }}"
        options = "".join(f" -D{name}=ON" for name in dict.fromkeys(_CMAKE_OPTION.findall(top)))
        return (f"cmake -S . -B build{options}", "cmake --build build --parallel", run) if has_tests else ()
    if system == "meson":
        has_tests = any(_MESON_TESTS.search(text) for text in texts)
        run = "meson test -C build --print-errorlogs {{ args }}"
        return ("meson setup build", MESON_HAS_TESTS, run) if has_tests else ()
    if system == "autotools":
        has_tests = any(_AUTOMAKE_TESTS.search(text) for text in texts)
        return (*_configure(project), "make -j$(nproc)", "make check {{ args }}") if has_tests else ()
    return ()


def install_commands(project: api.Project, system: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Returns the commands that leave the install tree in dist/; () if the build files install nothing."""
    texts = [*texts]
    if system == "cmake" and any(_CMAKE_INSTALL.search(text) for text in texts):
        configure = "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr"
        return (configure, "cmake --build build --parallel", 'DESTDIR="$PWD/dist" cmake --install build')
    if system == "meson" and any(_MESON_INSTALL.search(text) for text in texts):
        configure = "meson setup build --buildtype=release --prefix=/usr"
        return (configure, "meson compile -C build", 'DESTDIR="$PWD/dist" meson install -C build --no-rebuild')
    if system == "autotools" and any(_AUTOMAKE_INSTALL.search(text) for text in texts):
        *bootstrap, configure = _configure(project)
        return (*bootstrap, f"{configure} --prefix=/usr", "make -j$(nproc)", 'make install DESTDIR="$PWD/dist"')
    return ()


def _configure(project: api.Project) -> tuple[str, ...]:
    if project.read("configure") is not None:
        return ("./configure",)
    return ("autoreconf -fi", "./configure")

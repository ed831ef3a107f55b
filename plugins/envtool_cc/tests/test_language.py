"""Build files -> layers, without a container."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import pytest
from envtool_cc.build_files import READERS, needed_packages, unknown_requirements
from envtool_cc.detection import MESON_HAS_TESTS, detect
from envtool_cc.kinds import CcLanguage

from envtool import api, testing

CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(x VERSION 1.2.3 LANGUAGES C)  # find_package(CURL REQUIRED) is a comment
#[[ find_package(JPEG REQUIRED)
]]
find_package(ZLIB 1.2 REQUIRED)
find_package(PNG)
find_package(Threads REQUIRED)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1>=0.2)
pkg_check_modules(GLIB glib-2.0)
enable_testing()
add_test(NAME t COMMAND t)
"""
MESON = """\
project('x', 'c', version: '1.2.3')
zlib = dependency('zlib', version: '>=1.2')
glib = dependency('glib-2.0', required: get_option('glib'))
cmocka = dependency('cmocka', required: true) # dependency('gtk4')
bison = find_program('bison')
test('t', executable('t', 't.c'))
"""
AUTOCONF = """\
AC_INIT([x], [1.2.3])
dnl PKG_CHECK_MODULES([CURL], [libcurl])
AM_INIT_AUTOMAKE
LT_INIT
AX_PTHREAD
PKG_CHECK_MODULES([DEPS], [zlib >= 1.2, expat libpng])
AC_PROG_YACC
"""
MAKE = "LIBS = $(shell pkg-config --cflags --libs libcurl)\ntest: x\n\t./x\n"
BASIC = {"gcc", "g++", "libc6-dev", "make", "pkgconf"}


def draft(base="debian", **options):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    return api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=(), where=where)


def packages(files, **options):
    (layer,) = testing.check_language(CcLanguage(), files, **options)
    assert (layer.kind, layer.after) == ("apt", False)
    return {*layer.options}


@pytest.mark.parametrize(
    ("files", "toolchains", "gone", "added"),
    [
        ({"CMakeLists.txt": "project(x C)\n"}, ("cmake",), {"cmake"}, set()),
        ({"meson.build": "project('x', 'c')\n"}, ("meson", "ninja"), {"meson", "ninja-build"}, {"python3"}),
        ({"meson.build": "project('x', 'c')\n"}, ("zig",), set(), set()),
    ],
)
def test_toolchains_replace_packages(files, toolchains, gone, added):
    without, project = packages(files), testing.MemoryProject(files)
    (layer,) = CcLanguage().layers(replace(draft(), toolchains=toolchains), project)
    assert {*layer.options} == without - gone | added
    (layer,) = CcLanguage().layers(replace(draft(packages=["cmake"]), toolchains=("cmake",)), project)
    assert "cmake" in layer.options  # the spec names the package


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"CMakeLists.txt": CMAKE}, BASIC | {"cmake", "zlib1g-dev", "libyaml-dev"}),
        (
            {"meson.build": MESON},
            (BASIC - {"make"}) | {"meson", "ninja-build", "zlib1g-dev", "libcmocka-dev", "bison"},
        ),
        (
            {"configure.ac": AUTOCONF},
            BASIC
            | {"autoconf", "automake", "libtool", "autoconf-archive"}
            | {"zlib1g-dev", "libexpat1-dev", "libpng-dev", "bison"},
        ),
        ({"configure": "#!/bin/sh\n"}, BASIC),
        ({"Makefile": MAKE}, BASIC | {"libcurl4-openssl-dev"}),
    ],
)
def test_each_build_system_has_its_tools_and_libraries(files, expected):
    assert packages(files) == expected


def test_a_generated_configure_needs_no_autotools():
    assert packages({"configure.ac": "AC_INIT([x], [1])\n", "configure": "#!/bin/sh\n"}) == BASIC


def test_files_in_directories_below_count_and_those_of_others_do_not():
    files = {
        "CMakeLists.txt": "project(x)\n",
        "src/CMakeLists.txt": "find_package(EXPAT REQUIRED)\n",
        "third_party/y/CMakeLists.txt": "find_package(CURL REQUIRED)\n",
        "build/_deps/CMakeLists.txt": "find_package(JPEG REQUIRED)\n",
    }
    assert packages(files) == BASIC | {"cmake", "libexpat1-dev"}


def test_packages_and_directory_and_system():
    assert packages({"c/meson.build": "project('x', 'c')"}, directory="c", packages=["libfoo-dev"]) >= {
        "libfoo-dev",
        "meson",
    }
    assert packages({}, system="autotools") == BASIC | {"autoconf", "automake", "libtool"}
    assert "autoconf" not in packages({"CMakeLists.txt": CMAKE}, system="cmake")


def test_compiler_sanitizer_and_ccache():
    files = {"CMakeLists.txt": "project(x)"}
    options = {"compiler": "clang", "sanitize": ["address", "undefined"], "ccache": True}
    tools, compiler = testing.check_language(CcLanguage(), files, **options)
    assert {"clang", "libclang-rt-dev", "ccache"} <= {*tools.options}
    assert (compiler.kind, compiler.options, compiler.after) == ("cc", options, False)


def test_on_other_bases_nothing_is_installed():
    project = testing.MemoryProject({"CMakeLists.txt": CMAKE})
    assert CcLanguage().layers(draft("host"), project) == ()
    assert CcLanguage().layers(draft("image"), project) == ()
    (layer,) = CcLanguage().layers(draft("image", packages=["zlib1g-dev"]), project)
    assert layer.options == ["zlib1g-dev"]


@pytest.mark.parametrize(
    ("files", "env", "message", "hint"),
    [
        ({}, draft(), "there is no CMakeLists.txt, meson.build", "`directory:`"),
        ({"CMakeLists.txt": ""}, draft(directory="c"), "there is no c/CMakeLists.txt", "`system: cmake`"),
        ({"CMakeLists.txt": ""}, draft("host", packages=["a", "b"]), "the base `host`", "`apt install a b`"),
    ],
)
def test_what_is_wrong_is_an_error_with_its_place(files, env, message, hint):
    with pytest.raises(api.SpecError) as caught:
        CcLanguage().layers(env, testing.MemoryProject(files))
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in problem.hint
    assert str(problem.where) == "envtool.yaml:3:9"


def test_names_that_are_taken_are_not_taken_again():
    env = replace(draft(compiler="gcc"), layer_names=("c-tools",), above=("c-compiler",))
    names = [layer.name for layer in CcLanguage().layers(env, testing.MemoryProject({"Makefile": ""}))]
    assert names == ["cc-c-tools", "cc-c-compiler"]


EDITS = [
    ("CMakeLists.txt", "VERSION 1.2.3", "VERSION 2.0.0"),
    ("CMakeLists.txt", "project(x", "project(renamed"),
    ("CMakeLists.txt", "enable_testing()", "enable_testing()\nadd_compile_options(-Wall)"),
    ("CMakeLists.txt", "find_package(ZLIB 1.2 REQUIRED)", "find_package(ZLIB 1.3 REQUIRED)"),
    ("CMakeLists.txt", "cmake_minimum_required(VERSION 3.10)", "cmake_minimum_required(VERSION 3.20)"),
    ("CMakeLists.txt", "find_package(PNG)", "find_package(JPEG)"),
    ("CMakeLists.txt", "is a comment", "is another comment"),
    ("CMakeLists.txt", "add_test(NAME t COMMAND t)", "add_test(NAME t2 COMMAND t --fast)"),
    ("README.md", "# x", "# x, better"),
    (".clang-format", "BasedOnStyle: LLVM", "BasedOnStyle: Google"),
    (".clang-tidy", "Checks: '*'", "Checks: '-*'"),
    ("src/main.c", "int main", "int  main"),
    ("src/CMakeLists.txt", "add_executable(t main.c)", "add_executable(t main.c more.c)"),
    ("include/x.h", "#define X_VERSION 1", "#define X_VERSION 2"),
    ("NEWS", "1.2.3", "2.0.0"),
    ("COPYING", "2023", "2024"),
    (".github/workflows/ci.yml", "on: push", "on: pull_request"),
    ("docs/index.md", "x", "y"),
    ("Makefile.local", "X = 1", "X = 2"),
    (".editorconfig", "root = true", "root = false"),
]
FILES = {
    "CMakeLists.txt": CMAKE, "README.md": "# x", ".clang-format": "BasedOnStyle: LLVM", ".clang-tidy": "Checks: '*'",
    "src/main.c": "int main(void) { return 0; }", "src/CMakeLists.txt": "add_executable(t main.c)",
    "include/x.h": "#define X_VERSION 1", "NEWS": "1.2.3", "COPYING": "2023", ".github/workflows/ci.yml": "on: push",
    "docs/index.md": "x", "Makefile.local": "X = 1", ".editorconfig": "root = true",
}  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new"), EDITS)
def test_an_edit_that_changes_no_requirement_changes_no_layer(path, old, new):
    before = testing.check_language(CcLanguage(), FILES)
    assert old in FILES[path]
    after = testing.check_language(CcLanguage(), FILES | {path: FILES[path].replace(old, new)})
    assert after == before


def test_a_new_requirement_is_one_more_package():
    more = CMAKE.replace("find_package(PNG)", "find_package(PNG REQUIRED)")
    assert packages({"CMakeLists.txt": more}) - packages({"CMakeLists.txt": CMAKE}) == {"libpng-dev"}


# ---- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", READERS)
@pytest.mark.parametrize(
    "text",
    [
        "find_package(" * 20_000,
        "find_package(A" + " REQUIRED" * 50_000 + ")",
        "pkg_check_modules(" + "a " * 100_000,
        "dependency('" + "a" * 300_000,
        "dependency('a', " * 20_000,
        "PKG_CHECK_MODULES([" + "A" * 300_000,
        "PKG_CHECK_MODULES([A], [" + "b " * 100_000,
        "pkg-config " + "--x " * 50_000 + "\n" + "pkg-config" * 30_000,
        "#[[" * 100_000,
        "dnl " * 100_000,
        "\x00\xff(" * 100_000,
        " " * 500_000,
    ],
)
def test_a_hostile_file_takes_little_time(system, text):
    began = time.process_time()
    for name in needed_packages(system, {"x": text}):
        assert name.isascii()
    unknown_requirements(system, {"x": text})
    assert time.process_time() - began < 2


GTEST = "project(googletest)\nif(HAS_ABSL)\n  if(X)\n  endif()\n  find_package(absl REQUIRED)\nendif()\n"
OBSCURE = "find_package(Obscure REQUIRED)\n"


@pytest.mark.parametrize(
    ("below", "top", "unknown"),
    [
        # yaml-cpp: a copy of googletest, whose requirements are conditional
        ({"test/googletest-1.16.0/CMakeLists.txt": GTEST}, "add_subdirectory(test/googletest-1.16.0 g)", ()),
        ({"test/gt/CMakeLists.txt": GTEST + OBSCURE}, 'add_subdirectory("${D}/test/gt")', ("Obscure",)),
        (
            {"test/gt/CMakeLists.txt": GTEST, "test/gt/src/CMakeLists.txt": OBSCURE},
            "add_subdirectory(test/gt)",
            ("Obscure",),
        ),
        # fmt: a test that builds another project against the installed one
        ({"test/find/CMakeLists.txt": f"project(find-test)\n{OBSCURE}"}, "", ()),
        ({"test/find/CMakeLists.txt": f"project(x)\n{OBSCURE}add_subdirectory(find)"}, "# add_subdirectory(find)", ()),
        ({"lib/CMakeLists.txt": f"project(lib)\n{OBSCURE}"}, "add_subdirectory( lib )", ("Obscure",)),
        ({"lib/CMakeLists.txt": f"if(X)\n{OBSCURE}endif()"}, "", ("Obscure",)),  # no project of its own
        ({}, f"if(X)\n{OBSCURE}endif()", ("Obscure",)),
        ({"lib/CMakeLists.txt": "project(lib)\nif(\nif(" + OBSCURE}, "add_subdirectory(lib)", ()),
    ],
)
def test_what_another_project_below_requires(below, top, unknown):
    assert unknown_requirements("cmake", {"CMakeLists.txt": f"project(top)\n{top}\n", **below}) == unknown


def test_many_hostile_projects_below_take_little_time():
    text = "project(x)\n" + "add_subdirectory(" * 2_000 + "if(" * 2_000 + "add_subdirectory(a/b/c)" * 1_000
    texts = {"CMakeLists.txt": text} | {f"{'d/' * (number % 40)}{number}/CMakeLists.txt": text for number in range(200)}
    began = time.process_time()
    unknown_requirements("cmake", texts)
    assert time.process_time() - began < 10


def test_a_file_that_is_no_text_is_left_out():
    class Project(testing.MemoryProject):
        def read(self, path):
            if path == "src/CMakeLists.txt":
                raise api.UsageError("src/CMakeLists.txt is not UTF-8", code="not-text")
            return super().read(path)

    project = Project({"CMakeLists.txt": CMAKE, "src/CMakeLists.txt": "\udcff"})
    (layer,) = CcLanguage().layers(draft(), project)
    assert "zlib1g-dev" in layer.options


# ---- init ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_tools(monkeypatch):
    monkeypatch.setattr("envtool_cc.detection.which", lambda name, path: f"/usr/bin/{name}")


@pytest.mark.usefixtures("with_tools")
def test_detection_of_tests_and_of_what_is_installed():
    text = "project(x)\nenable_testing()\nadd_test(NAME t COMMAND t)\ninstall(TARGETS t)\n"
    (found,) = detect(testing.MemoryProject({"CMakeLists.txt": text}))
    tasks = found.env["tasks"]
    assert "base" not in found.env
    assert tasks["test"][-1] == "ctest --test-dir build --output-on-failure --no-tests=error {{ args }}"
    assert tasks["build"]["outputs"] == {"paths": ["dist/**"], "when": "passed"}
    (found,) = detect(testing.MemoryProject({"meson.build": MESON}))
    assert found.env["base"] == {"debian": "bookworm"}, "this machine may not have what it requires"
    assert found.env["tasks"] == {
        "test": [
            "meson setup build",
            MESON_HAS_TESTS,
            "meson test -C build --print-errorlogs {{ args }}",
        ]
    }
    files = {"configure.ac": "AC_INIT([x], [1])", "Makefile.am": "TESTS = t.sh\nbin_PROGRAMS = x\n"}
    (found,) = detect(testing.MemoryProject(files))
    assert found.env["tasks"]["test"] == ["autoreconf -fi", "./configure", "make -j$(nproc)", "make check {{ args }}"]
    assert found.env["tasks"]["build"]["run"][1] == "./configure --prefix=/usr"
    (found,) = detect(testing.MemoryProject(files | {"configure": "#!/bin/sh"}))
    assert found.env["tasks"]["test"][0] == "./configure"


@pytest.mark.usefixtures("with_tools")
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"CMakeLists.txt": "project(x)\nadd_test(NAME t COMMAND t)\n"}, "no tests"),
        ({"CMakeLists.txt": "project(x)\nenable_testing()\n"}, "no tests"),
        ({"meson.build": "project('x', 'c')\n"}, "no tests"),
        ({"configure.ac": "AC_INIT([x], [1])", "Makefile.am": "SUBDIRS = .\n"}, "no tests"),
        (
            {"CMakeLists.txt": "project(x)\nfind_package(Obscure REQUIRED)\nenable_testing()\nadd_test(t t)"},
            "requires Obscure",
        ),
    ],
)
def test_a_task_that_could_not_pass_is_not_written(files, reason):
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert reason in found.reason


def test_without_tools_on_this_machine_the_base_is_debian(monkeypatch):
    monkeypatch.setattr("envtool_cc.detection.which", lambda name, path: None)
    (found,) = detect(testing.MemoryProject({"CMakeLists.txt": CMAKE}))
    assert found.env["base"] == {"debian": "bookworm"}


@pytest.mark.parametrize(
    "files", [{}, {"Makefile": MAKE}, {"CMakeLists.txt": "add_library(x x.c)\n"}, {"meson.build": "test('t', t)\n"}]
)
def test_what_is_no_project_of_c_is_not_detected(files):
    assert detect(testing.MemoryProject(files)) == []


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ('option(X_BUILD_TESTS "Build tests" OFF)', " -DX_BUILD_TESTS=ON"),
        ('cmake_dependent_option(X_BUILD_TESTS\n  "Build tests" OFF\n  "BUILD_TESTING" OFF)', " -DX_BUILD_TESTS=ON"),
        ("option(ENABLE_TESTING OFF)", " -DENABLE_TESTING=ON"),
        ('x_define (BOOL BUILD_TESTING  "Build the tests."  OFF OFF)', " -DBUILD_TESTING=ON"),
        ('my_option(X_ENABLE_TESTS "Build the tests" OFF)', " -DX_ENABLE_TESTS=ON"),
        ('set(WITH_TESTS OFF CACHE BOOL "Build the tests")', " -DWITH_TESTS=ON"),
        ("set(BUILD_TESTING OFF)", ""),  # of one branch, and not the caller's to set
        ('set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "" FORCE)', ""),  # of a copy of another project, as in leveldb
        ('set(WITH_TESTS "ON" CACHE BOOL "Build the tests")', ""),
        ('x_define (BOOL BUILD_TESTING "Build the tests." ON OFF)', ""),
        ('option(X_BUILD_TESTS "Build tests" ON)', ""),
        ('option(X_BUILD_BENCHMARKS "Build benchmarks" OFF)', ""),
        ('option(X_ENABLE_TESTS_OF_SPEED "x" OFF)', ""),
        ('# option(X_BUILD_TESTS "Build tests" OFF)', ""),
        ('option(X_BUILD_TESTS "$(touch x)" OFF)', " -DX_BUILD_TESTS=ON"),
    ],
)
def test_an_option_that_builds_the_tests_is_switched_on(option, flag):
    text = f"project(x)\n{option}\nenable_testing()\nadd_test(NAME t COMMAND t)\n"
    (found,) = detect(testing.MemoryProject({"CMakeLists.txt": text}))
    assert found.env["tasks"]["test"][0] == f"cmake -S . -B build{flag}"


def meson_text(text):
    return f"project('x', 'c')\n{text}\ntest('t', t)\n"


@pytest.mark.parametrize(
    ("files", "unknown"),
    [
        ({"meson.build": meson_text("find_program('gen.py')"), "tools/gen.py": ""}, ""),
        ({"meson.build": meson_text("find_program('gen.py')")}, "gen.py"),
        ({"meson.build": meson_text("find_program('obscure')")}, "obscure"),
        ({"meson.build": meson_text("if get_option('x')\n  find_program('obscure')\nendif")}, ""),
        ({"meson.build": meson_text("if a\n  if b\n  endif\n  x()\nendif\nfind_program('obscure')")}, "obscure"),
        ({"meson.build": meson_text("subdir('a')"), "a/meson.build": "dependency('obscure')"}, "obscure"),
        ({"meson.build": meson_text("if x\nsubdir('a')\nendif"), "a/meson.build": "dependency('obscure')"}, ""),
        ({"meson.build": meson_text("# if x\nfind_program('obscure')\n# endif")}, "obscure"),
    ],
)
@pytest.mark.usefixtures("with_tools")
def test_what_meson_finds_in_the_project_or_wants_under_a_condition_is_no_requirement(files, unknown):
    (found,) = detect(testing.MemoryProject(files))
    assert found.tested == (not unknown)
    assert not unknown or f"meson.build, which requires {unknown}: " in found.reason


@pytest.mark.usefixtures("with_tools")
def test_of_two_build_systems_the_one_with_tests_counts():
    """The env names it: `language: cc` takes the first by itself."""
    files = {"CMakeLists.txt": "project(x)\n", "meson.build": meson_text("")}
    (found,) = detect(testing.MemoryProject(files))
    assert found.env == {
        "language": "cc",
        "system": "meson",
        "tasks": {
            "test": [
                "meson setup build",
                MESON_HAS_TESTS,
                "meson test -C build --print-errorlogs {{ args }}",
            ]
        },
    }
    tested = "project(x)\nenable_testing()\nadd_test(NAME t COMMAND t)\n"
    (found,) = detect(testing.MemoryProject(files | {"CMakeLists.txt": tested}))
    assert "system" not in found.env
    assert found.reason == "CMakeLists.txt with tests"
    (found,) = detect(testing.MemoryProject(files | {"meson.build": "project('x', 'c')\n"}))
    assert found.reason == "CMakeLists.txt, and no tests"


@pytest.mark.parametrize(("printed", "status"), [('[{"name": "t", "suite": ["x"]}]', 0), ("[]", 1), ("", 1)])
def test_a_meson_build_that_defines_no_test_fails(printed, status, tmp_path):
    """With what `meson introspect` of Meson 1.0.1 printed for graphene without its test library, and for cgif."""
    program = tmp_path / "meson"
    program.write_text(f"#!/bin/sh\ntest \"$*\" = 'introspect build --tests' && echo '{printed}'\n")
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-ec", MESON_HAS_TESTS], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr == ("the build defines no tests\n" if status else "")

"""What outputs of failed builds say is missing: lines as the tools print them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from envtool_cc.debian_packages import CMAKE_PACKAGES, HEADERS, LIBRARIES, MACROS, MODULES, PROGRAMS
from envtool_cc.missing import PATTERNS, missing_package_hint, missing_things, table_package
from envtool_cc.plugin import envtool_failure_hint

from envtool import api


def nothing(ends):
    return {}


@pytest.mark.parametrize(
    ("output", "things"),
    [
        ("main.c:1:10: fatal error: zlib.h: No such file or directory\n", [("header", "zlib.h")]),
        ("main.cpp:1:10: fatal error: 'gtest/gtest.h' file not found\n", [("header", "gtest/gtest.h")]),
        ("/usr/bin/ld: cannot find -lyaml: No such file or directory\n", [("library", "yaml")]),
        ("ld.lld: error: unable to find library -lssl\n", [("library", "ssl")]),
        ("meson.build:3:0: ERROR: C shared or static library 'z' not found\n", [("library", "z")]),
        ("Package 'libcurl', required by 'virtual:world', not found\n", [("module", "libcurl")]),
        ("No package 'expat' found\n", [("module", "expat")]),
        ("Package cmocka was not found in the pkg-config search path.\n", [("module", "cmocka")]),
        (
            'meson.build:2:9: ERROR: Dependency "glib-2.0" not found, tried pkgconfig and cmake\n',
            [("module", "glib-2.0")],
        ),
        (
            "configure: error: Package requirements (zlib >= 1.2, libpng) were not met:\n",
            [("module", "libpng"), ("module", "zlib")],
        ),
        ("-- Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)\n", [("cmake", "ZLIB")]),
        (
            '  Could not find a package configuration file provided by "fmt" with any of\n  the following names:\n',
            [("cmake", "fmt")],
        ),
        ("meson.build:5:0: ERROR: Program 'bison' not found or not executable\n", [("program", "bison")]),
        ("/bin/sh: 1: flex: not found\n", [("program", "flex")]),
        ("make: gcc: No such file or directory\n", [("program", "gcc")]),
        ("  No CMAKE_CXX_COMPILER could be found.\n", [("program", "c++")]),
        ("configure: error: no acceptable C compiler found in $PATH\n", [("program", "cc")]),
        ("meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]\n", [("program", "cc")]),
        ('CMake Error: CMake was unable to find a build program corresponding to "Ninja".\n', [("program", "ninja")]),
        ("configure.ac:9: error: possibly undefined macro: AX_PTHREAD\n", [("macro", "AX_PTHREAD")]),
        ("./configure: line 99: syntax error near unexpected token `ZLIB,'\n", [("macro", "PKG_CHECK_MODULES")]),
        ("x.c:1:10: fatal error: config.h: No such file or directory\n", []),
        ("x.c:1:10: fatal error: ../src/util.h: No such file or directory\n", []),
        ("x.c:3:1: error: expected ';'\n1 test failed\n", []),
    ],
)
def test_lines_of_the_tools(output, things):
    assert missing_things(output) == things


@pytest.mark.parametrize("thing", [("header", "zlib.h"), ("module", "ZLIB"), ("cmake", "ZLIB"), ("library", "z")])
def test_the_table_needs_no_index(thing):
    assert table_package(*thing) == "zlib1g-dev"


def test_the_hint_says_what_to_add():
    output = "a.c:1:10: fatal error: zlib.h: No such file or directory\nb.c:1:10: fatal error: png.h: No such file\n"

    def fail(ends):
        raise AssertionError("the table has both: no index is read")

    assert missing_package_hint(output, "debian", fail) == (
        "`zlib.h` is in the package zlib1g-dev; `png.h` is in the package libpng-dev: add"
        " `packages: [zlib1g-dev, libpng-dev]` to the env, or a layer `apt: [zlib1g-dev, libpng-dev]`"
    )
    assert "`apt install zlib1g-dev libpng-dev` puts it on this machine" in missing_package_hint(output, "host", fail)


def test_what_the_table_does_not_have_is_looked_up():
    asked = []

    def lookup(ends):
        asked.extend(ends)
        return {"include/odd/thing.h": "libodd-dev", "pkgconfig/odd.pc": "libodd-dev", "OddConfig.cmake": "libodd-dev"}

    output = (
        "a.c:1:10: fatal error: odd/thing.h: No such file or directory\n"
        "No package 'odd' found\n"
        "-- Could NOT find Odd (missing: ODD)\n"
        "/bin/sh: 1: oddly: not found\n"
    )
    hint = missing_package_hint(output, "debian", lookup)
    assert hint.startswith("`odd/thing.h` and `odd` and `Odd` is in the package libodd-dev: add")
    assert asked == [
        "include/odd/thing.h", "linux-gnu/odd/thing.h", "pkgconfig/odd.pc", "OddConfig.cmake", "odd-config.cmake",
        "bin/oddly",
    ]  # fmt: skip


ZLIB = "CMake Error: Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)\n"
COMPILER = "-- The C compiler identification is GNU 14.2.0\n"
HAS = "`ZLIB` is in the package zlib1g-dev, which the env has: "


def test_a_package_that_is_there_is_not_to_be_added():
    def hint(output, *installed):
        return missing_package_hint(output, "debian", nothing, lambda: installed)

    assert hint(ZLIB, "zlib1g-dev", "cmake") == (
        f"{HAS}before `project()` CMake does not know where this system has its libraries, so `find_package(ZLIB)` has"
        " to stand below it"
    )
    other = "what was searched is another directory, version or architecture than the package's"
    assert hint(COMPILER + ZLIB, "zlib1g-dev") == f"{HAS}{other}"
    header = "a.c:1:10: fatal error: zlib.h: No such file or directory\n"
    assert hint(header, "zlib1g-dev") == f"`zlib.h` is in the package zlib1g-dev, which the env has: {other}"
    assert hint(ZLIB, "zlib1g").startswith("`ZLIB` is in the package zlib1g-dev: add `packages: [zlib1g-dev]`")
    both = header + "b.c:1:10: fatal error: png.h: No such file\n"
    assert hint(both, "zlib1g-dev").startswith("`png.h` is in the package libpng-dev: add `packages: [libpng-dev]`")


def test_nothing_known_is_no_hint():
    assert missing_package_hint("", "debian", nothing) == ""
    assert missing_package_hint("fatal error: odd.h: No such file or directory", "debian", nothing) == ""


def test_the_hook():
    failure = api.FailedTask(
        env="unit", task="test", status=2, output="x.c:1:10: fatal error: zlib.h: No such file or directory",
        base_kind="debian", packages_with=nothing,
    )  # fmt: skip
    assert "add `packages: [zlib1g-dev]`" in envtool_failure_hint(failure)
    present = replace(failure, installed=lambda: {"zlib1g-dev"})
    assert "zlib1g-dev, which the env has: " in envtool_failure_hint(present)


@pytest.mark.parametrize("table", [MODULES, CMAKE_PACKAGES, HEADERS, LIBRARIES, PROGRAMS, MACROS])
def test_packages_have_names_of_debian(table):
    assert not [
        name
        for name in table.values()
        if not name or not name.replace("+", "").replace("-", "").replace(".", "").isalnum()
    ]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.pattern[:30])
@pytest.mark.parametrize(
    "text", ["a" * 65_536, "fatal error: " * 5_000, "1: " * 20_000, "make[1]: " * 7_000, "'" * 65_536, "a-" * 32_000]
)
def test_hostile_output_takes_little_time(pattern, text):
    began = time.process_time()
    [*pattern.finditer(text)]
    assert time.process_time() - began < 1.5

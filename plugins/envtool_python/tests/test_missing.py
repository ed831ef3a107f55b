"""What a failed build's output says is missing, and the package that has it."""

from __future__ import annotations

import pytest
from envtool_python.missing_libraries import missing_files, missing_package_hint
from envtool_python.missing_modules import missing_module_hint

from envtool.testing import MemorySite


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("c/_cffi.c:15:10: fatal error: ffi.h: No such file or directory\n", {"ffi.h": "ffi.h"}),
        ("a.c:1:10: fatal error: 'openssl/ssl.h' file not found\n", {"openssl/ssl.h": "openssl/ssl.h"}),
        ("a.cpp:1:10: fatal error: boost/a.hpp: No such file or directory\n", {"boost/a.hpp": "boost/a.hpp"}),
        ("/usr/bin/ld: cannot find -lz: No such file or directory\n", {"z": "libz.so"}),
        ("/usr/bin/ld: cannot find -lxml2\ncollect2: error: ld\n", {"xml2": "libxml2.so"}),
        ("ld.lld: error: unable to find library -lpq\n", {"pq": "libpq.so"}),
        ("Package libffi was not found in the pkg-config search path.\n", {"libffi": "pkgconfig/libffi.pc"}),
        ("Package 'libarchive', required by 'virtual:world', not found\n", {"libarchive": "pkgconfig/libarchive.pc"}),
        ("No package 'cairo' found\n", {"cairo": "pkgconfig/cairo.pc"}),
        ('../meson.build:3:0: ERROR: Dependency "cairo" not found, tried pkgconfig\n', {"cairo": "pkgconfig/cairo.pc"}),
        ("Error: pg_config executable not found.\n", {"pg_config": "bin/pg_config"}),
        ("/bin/sh: 1: mysql_config: not found\n", {"mysql_config": "bin/mysql_config"}),
        ("Could not find xml2-config\n", {"xml2-config": "bin/xml2-config"}),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'cmake'\n", {"cmake": "bin/cmake"}),
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory\n",
            {"x86_64-linux-gnu-gcc": "build-essential"},
        ),
        ("error: command 'gcc' failed: No such file or directory\n", {"gcc": "build-essential"}),
        ("unable to execute 'g++-12': No such file or directory\n", {"g++-12": "build-essential"}),
        ("../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc']]\n", {"cc": "build-essential"}),
        ("No CMAKE_CXX_COMPILER could be found.\n", {"CMAKE_CXX_COMPILER": "build-essential"}),
        ("error: can't find Rust compiler\n", {"Rust": "bin/rust"}),
        ("a.c:1:10: fatal error: Python.h: No such file or directory\n", {"Python.h": "Python.h"}),
        ("a.c:3:5: error: expected declaration\nFAILED\n", {}),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/x/VERSION'\n", {}),
    ],
)
def test_what_is_missing(output, wanted):
    assert missing_files(output) == wanted


def test_the_index_of_the_suite_is_asked():
    site = MemorySite()
    site.packaged = {"ffi.h": "libffi-dev", "libarchive.so": "libarchive-dev"}
    said = missing_package_hint("fatal error: ffi.h: No such file\nld: cannot find -larchive\n", "debian", site)
    assert said == (
        "`ffi.h` is in the package libffi-dev; `archive` is in the package libarchive-dev: "
        "add a layer `apt: [libffi-dev, libarchive-dev]` below this one"
    )
    said = missing_package_hint("fatal error: ffi.h: No such file\n", "host", site)
    assert "`apt install libffi-dev`" in said
    assert "{debian: bookworm}" in said
    assert missing_package_hint("fatal error: private.h: No such file\n", "debian", site) == ""
    assert missing_package_hint("it just failed\n", "debian", site) == ""


def test_where_it_cannot_be_asked_the_usual_ones_are_known():
    for output, package in (
        ("fatal error: ffi.h: No such file", "libffi-dev"),
        ("fatal error: Python.h: No such file", "python3-dev"),
        ("Error: pg_config executable not found.", "libpq-dev"),
        ("error: command 'gcc' failed: No such file", "build-essential"),
        ("error: can't find Rust compiler", "cargo"),
    ):
        assert f"`apt: [{package}]`" in missing_package_hint(output, "debian", MemorySite())


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("a.py:3: in f\nE   ModuleNotFoundError: No module named 'pydantic'\n", "no layer has a module `pydantic`: "),
        ("Traceback (most recent call last):\nModuleNotFoundError: No module named 'yaml'", "a module `yaml`: "),
        ("/opt/venv/bin/python: No module named trial\n", "a module `trial`: "),
        ("/usr/bin/python3.11: No module named trial\n", "a module `trial`: "),
        (
            "E   ModuleNotFoundError: No module named 'b'\nModuleNotFoundError: No module named 'a'\n",
            "modules `b`, `a`: ",
        ),
        (
            "".join(f"ModuleNotFoundError: No module named '{name}'\n" for name in "ababcd"),
            "modules `a`, `b`, `c`, …: ",
        ),
        ("ModuleNotFoundError: No module named 'numpy.core._x'\n", ""),  # a part of a package that is there
        ("ModuleNotFoundError: No module named 'tests'\n", ""),  # the project's own
        ("ModuleNotFoundError: No module named 'tkinter'\n", ""),  # no package of an index has it
        ("ModuleNotFoundError: No module named 'a; rm -rf'\n", ""),
        ("assert 'No module named x' in text\n", ""),
        ("", ""),
    ],
)
def test_a_module_that_a_task_misses(output, named):
    hint = missing_module_hint(output)
    assert named in hint
    assert bool(hint) == bool(named)
    assert "\n" not in hint

"""`language: cc` for real: this machine's own compiler and build tools."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("envtool_cc")
from envtool_cc.debian_packages import HEADERS

MISSING = [name for name in ("gcc", "cmake", "ctest", "make") if not shutil.which(name, path="/usr/bin:/bin")]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.one_caller,
    pytest.mark.skipif(bool(MISSING), reason=f"this machine's system has no {' and no '.join(MISSING)}"),
]

CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(sums VERSION 1.0 LANGUAGES C)
enable_testing()
add_executable(good good.c)
add_test(NAME good COMMAND good)
add_executable(wrong wrong.c)
add_test(NAME wrong COMMAND wrong)
install(TARGETS good DESTINATION bin)
"""
GOOD = "int main(void) { return 0; }\n"
# Reads behind an array: passes, unless the sanitizer looks.
WRONG = "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(4); char c = p[4]; free((void *)p); return c * 0; }\n"
SPEC = """\
envs:
  unit:
    matrix: {sanitizer: [none, address]}
    language: cc
    sanitize: "{{ matrix.sanitizer }}"
    tasks:
      test: [cmake -S . -B build, cmake --build build, ctest --test-dir build --output-on-failure --no-tests=error]
      build:
        run: [cmake -S . -B build -DCMAKE_INSTALL_PREFIX=/usr, cmake --build build, 'DESTDIR="$PWD/dist" cmake --install build']
        outputs: [dist/**]
"""


def project(place, spec=SPEC, **files):
    place.spec(spec)
    for name, text in {"CMakeLists.txt": CMAKE, "good.c": GOOD, "wrong.c": WRONG, **files}.items():
        place.write(name, text)


def test_sanitizers_in_a_matrix_find_what_the_plain_build_does_not(place):
    project(place)
    report = place.project / "report.md"
    done = place.envtool("test", "-v", "--report", f"markdown={report}")
    assert done.status == 1, done.said
    assert re.search(r"✓ unit\[none\] +test +2 passed", done.said), done.said
    assert re.search(r"✗ unit\[address\] +test +exit 8: 1 failed, 1 passed", done.said), done.said
    assert "heap-buffer-overflow" in done.said
    assert re.search(r"^- `wrong`", report.read_text(), re.MULTILINE), "the report names the test that failed"


def test_the_install_tree_is_an_output(place):
    project(place)
    done = place.envtool("build", "-e", "unit[none]")
    assert done.status == 0, done.said
    assert (place.project / "dist/usr/bin/good").stat().st_size > 1000
    assert not (place.project / "build").exists()


def test_a_header_that_is_missing_is_said_with_its_package(place):
    absent = next(name for name in sorted(HEADERS) if not [*Path("/usr/include").glob(f"**/{name}")] and "/" in name)
    project(place, **{"wrong.c": f"#include <{absent}>\n{GOOD}"})
    done = place.envtool("test", "-e", "unit[none]")
    assert done.status == 1, done.said
    assert f"`{absent}` is in the package {HEADERS[absent]}: `apt install" in " ".join(done.said.split()), done.said


@pytest.mark.parametrize(
    ("path", "old", "new"), [("CMakeLists.txt", "VERSION 1.0", "VERSION 2.0"), ("README", "a", "b")]
)
def test_an_edit_that_matters_to_no_layer_builds_none(place, path, old, new):
    spec = "envs: {unit: {language: cc, sanitize: undefined, tasks: {test: 'true'}}}\n"
    project(place, spec, README="a")
    assert place.envtool("test").status == 0
    text = (place.project / path).read_text()
    place.write(path, text.replace(old, new))
    done = place.envtool("test", "--expect-cached")
    assert done.status == 0, done.said

"""What `envtool init` makes of a project that has no spec: a task that can pass, or none."""

from __future__ import annotations

import pytest

from envtool.app.starting import built
from envtool.testing import MemoryProject

CARGO = '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n'
CMAKE = "project(a)\nadd_executable(t t.c)\n"


def one(files):
    (found,) = built(MemoryProject(files))
    return found


@pytest.mark.parametrize(
    ("files", "suite", "packages", "command"),
    [
        ({"Makefile": "all:\n\ttrue\ntest: all\n\t./t\n", "t.c": ""}, "bookworm", ["gcc"], "make test"),
        ({"Makefile": "check:\n\t./t\n"}, "bookworm", ["gcc", "make"], "make check"),
        ({"GNUmakefile": "test:\n\t./x\n", "Makefile": "check:\n"}, "bookworm", ["make"], "make test"),
        ({"makefile": "test :\n\t./x\n", "src/t.cpp": ""}, "bookworm", ["g++"], "make test"),
        ({"Makefile": "test: t\n\t@./t\nt: t.c\n\tclang -o t t.c\n"}, "bookworm", ["clang"], "make test"),
        ({"Makefile": "test:\n\tA=1 python3 -m unittest && echo yes\n"}, "bookworm", ["python3"], "make test"),
        ({"Makefile": "test: ; @$(CC) -o t t.c && ./t\n"}, "bookworm", ["gcc"], "make test"),
        (
            {"Makefile": "test:\n\tfor f in a b; do ./t $$f | diff - $$f.out || exit 1; done\n"},
            "bookworm",
            [],
            "make test",
        ),
        ({"Makefile": "lint:\n\tfrobnicate\ntest:\n\techo 'frobnicate'\n"}, "bookworm", [], "make test"),
        ({"CMakeLists.txt": CMAKE + "enable_testing()\n"}, "bookworm", ["cmake", "g++"], "ctest"),
        (
            {"CMakeLists.txt": CMAKE + "include(CTest)\nfind_package(Threads REQUIRED)\n"},
            "bookworm",
            ["cmake"],
            "ctest",
        ),
        ({"Cargo.toml": CARGO}, "bookworm", ["cargo"], "cargo test"),
        ({"Cargo.toml": CARGO.replace("2021", "2024")}, "trixie", ["cargo"], "cargo test"),
        ({"Cargo.toml": CARGO, "Makefile": "test:\n\tcargo test\n"}, "bookworm", ["cargo"], "cargo test"),
        (
            {
                "Cargo.toml": CARGO + "[dependencies]\nx = '1'\n",
                ".cargo/config.toml": "",
                "vendor/x/Cargo.toml": "",
            },
            "bookworm",
            ["cargo"],
            "cargo test",
        ),
        ({"go.mod": "module a\n\ngo 1.19\n"}, "bookworm", ["golang-go"], "go test ./..."),
        ({"go.mod": "module a\n\ngo 1.22.3\n"}, "trixie", ["golang-go"], "go test ./..."),
        ({"go.mod": "module a\ngo 1.19\nrequire x v1\n", "vendor/modules.txt": ""}, "bookworm", [], "go test"),
    ],
)
def test_a_build_system_with_debians_tools(files, suite, packages, command):
    found = one(files)
    assert found.tested
    assert found.env["base"] == {"debian": suite}
    assert {*packages} <= {*found.env["layers"][0]["apt"]}
    assert command in found.env["tasks"]["test"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"Makefile": "all:\n\ttrue\n"}, "neither a target `test` nor `check`"),
        ({"Makefile": "test:\n\tfrobnicate --all\n"}, "calls `frobnicate`: a layer has to bring it"),
        ({"Makefile": "test: x\nx:\n\t@docker build .\n"}, "calls `docker`"),
        ({"Makefile": "TEST := 1\ntest := x\n.PHONY: test\n"}, "neither"),
        ({"CMakeLists.txt": CMAKE}, "no tests"),
        ({"CMakeLists.txt": CMAKE + "enable_testing()\nfind_package(Boost REQUIRED)"}, "looks for Boost"),
        ({"Cargo.toml": CARGO + "[dependencies]\nserde = '1'\n"}, "cargo vendor"),
        ({"Cargo.toml": CARGO + "[dev-dependencies.serde]\n"}, "cargo vendor"),
        ({"Cargo.toml": CARGO + "[target.'cfg(unix)'.dependencies]\n"}, "cargo vendor"),
        ({"Cargo.toml": CARGO, "Cargo.lock": 'source = "registry+https://x"\n'}, "cargo vendor"),
        ({"go.mod": "module a\n\ngo 1.19\n\nrequire (\n\tx v1\n)\n"}, "go mod vendor"),
        ({"go.mod": "module a\n\ngo 1.99\n"}, "no release of Debian"),
    ],
)
def test_what_could_not_pass_is_not_written(files, why):
    found = one(files)
    assert not found.tested
    assert why in found.reason


def test_where_nothing_is_known_nothing_is_found():
    assert [*built(MemoryProject({"main.rkt": "", "README": "test:"}))] == []

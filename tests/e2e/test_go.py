"""`language: go` for real: Debian's Go, modules of this machine's proxy."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("envtool_go")
pytestmark = [pytest.mark.e2e, pytest.mark.network]

ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
# Its packages are those of tests/e2e/test_cache_toolchains.py. What `go generate` would run is never run.
SPEC = """\
envs:
  unit:
    base: {debian: bookworm}
    language: go
    cgo: false
    tasks: {test: go test -json ./...}
"""
DIFFLIB, SPEW = "github.com/pmezard/go-difflib", "github.com/davecgh/go-spew"
DIFFLIB_SUM = "h1:4DBwDE0NGyQoBHbLQYPwSUPoCMWR5BEzIk/f1lZbAQM="
SUMS = f"{DIFFLIB} v1.0.0 {DIFFLIB_SUM}\n{DIFFLIB} v1.0.0/go.mod h1:iKH77koFhYxTK1pcRnkKkqfTogsbg7gZNVY4sRDYZ/4=\n"
SPEW_SUMS = (
    f"{SPEW} v1.1.1 h1:vj9j/u1bqnvCEfJOwUhtlOARqs3+rkHYY13jYWTU97c=\n"
    f"{SPEW} v1.1.1/go.mod h1:J7Y8YcW2NihsgmVo/mv3lAwl/skON4iLHjSsI+c5H38=\n"
)
MOD = f"module example.org/app\n\ngo 1.19\n\nrequire {DIFFLIB} v1.0.0\n"
APP = """\
package app

import "github.com/pmezard/go-difflib/difflib"

//go:generate sh -c "touch /project/generated && false"

// Same says whether two texts are equal.
func Same(a, b string) bool {
	return difflib.NewMatcher(difflib.SplitLines(a), difflib.SplitLines(b)).Ratio() == 1
}
"""
TEST = """\
package app

import (
	"net"
	"os"
	"testing"
)

func TestSame(t *testing.T) {
	if !Same("a", "a") {
		t.Error("differs")
	}
}

func TestOffline(t *testing.T) {
	if _, err := net.Dial("tcp", "198.51.100.1:443"); err == nil {
		t.Fatal("connected")
	}
	if _, err := os.Stat("generated"); err == nil {
		t.Fatal("go generate ran")
	}
}
"""


@pytest.fixture
def project(common):
    common.spec(SPEC)
    for name, text in {"go.mod": MOD, "go.sum": SUMS, "app.go": APP, "app_test.go": TEST}.items():
        common.write(name, text)
    return common


@ONE
def test_modules_by_go_sum(project):
    """Tests are cases, and failures named; a release rebuilds nothing; one more module downloads its files alone."""
    first = project.envtool("test")
    assert first.status == 0, first.said
    assert "2 passed" in first.said
    assert project.envtool("lock").status == 0
    locked = (project.project / "envtool.lock").read_text()
    assert DIFFLIB in locked
    assert "://" not in locked, "a pin names a proxy"
    project.write("go.mod", "// Deprecated: no.\n" + MOD.replace("org/app", "org/renamed"))
    project.write("app_test.go", TEST.replace('"a", "a"', '"a", "b"'))
    failed = project.envtool("test", "--locked", "--report", "markdown=report.md")
    assert failed.status == 1, failed.said
    assert "built" not in failed.said
    assert "1 failed, 1 passed" in failed.said
    report = (project.project / "report.md").read_text()
    assert "example.org/renamed.TestSame" in report
    assert "app_test.go:11: differs" in report
    project.write("go.mod", f"{MOD}require {SPEW} v1.1.1\n")
    project.write("go.sum", SPEW_SUMS + SUMS)
    changed = project.envtool("fetch", "--json")
    assert changed.status == 0, changed.said
    (fetched,) = [event for event in map(json.loads, changed.out.splitlines()) if event.get("event") == "fetched"]
    names = {name for file in fetched["files"] for name in file["names"] if "go-" in name}
    assert names == {
        f"{module.replace('/', '+')}@{version}.{ending}"
        for module, version in ((DIFFLIB, "v1.0.0"), (SPEW, "v1.1.1"))
        for ending in ("zip", "mod")
    }


@ONE
def test_a_module_that_is_not_that_of_go_sum_is_refused(project):
    project.write("go.sum", SUMS.replace(DIFFLIB_SUM, f"h1:{'A' * 43}="))
    refused = project.envtool("test")
    assert refused.status != 0
    assert f"{DIFFLIB} v1.0.0: its zip has the hash {DIFFLIB_SUM}, and go.sum has h1:AAA" in refused.said

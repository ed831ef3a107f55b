"""`language: rust` for real: Debian's cargo, crates of cargo's registry, packages of a git server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess

import pytest

pytest.importorskip("envtool_rust")
pytestmark = [pytest.mark.e2e, pytest.mark.network]

ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
# Its cargo is the oldest that is supported: its packages are those of tests/e2e/test_cache_toolchains.py.
SPEC = 'envs:\n  unit: {base: {debian: bookworm}, language: rust, tasks: {test: "cargo test --offline"}}\n'
MANIFEST = (
    '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n\n[workspace]\nmembers = ["m"]\n\n[dependencies]\n'
)
MEMBER = '[package]\nname = "m"\nversion = "0.1.0"\nedition = "2021"\n'
# The build script says where it runs: never on this machine, and never while anything is resolved or built into a layer.
BUILD = 'fn main() { assert_eq!(std::env::current_dir().unwrap().to_str(), Some("/project")); println!("cargo:rustc-cfg=built"); }\n'
LIBRARY = """\
/// ```
/// assert_eq!(app::text(1), "2");
/// ```
pub fn text(n: u64) -> String { itoa::Buffer::new().format(n + m::ONE).to_string() }
#[test] fn works() { assert!(cfg!(built)); assert_eq!(text(1), "2"); }
#[test] fn is_offline() { assert!(std::net::TcpStream::connect("198.51.100.1:443").is_err()); }
"""


@pytest.fixture
def project(common):
    common.spec(SPEC)
    common.write("Cargo.toml", f'{MANIFEST}m = {{ path = "m" }}\nitoa = "=1.0.5"\n')
    common.write("m/Cargo.toml", MEMBER)
    common.write("m/src/lib.rs", "pub const ONE: u64 = 1;\n")
    common.write("build.rs", BUILD)
    common.write("src/lib.rs", LIBRARY)
    return common


@ONE
def test_a_project_without_a_lock_file(project):
    """cargo chooses once; tests that fail are named; a release of the project rebuilds nothing, and one changed
    dependency downloads one file."""
    first = project.envtool("test")
    assert first.status == 0, first.said
    assert "3 passed" in first.said  # a doctest among them
    assert project.envtool("lock").status == 0
    locked = (project.project / "envtool.lock").read_text()
    assert '"itoa"' in locked
    assert not re.search(r"://(?!github\.com/rust-lang/crates\.io-index)", locked), "a pin names a host"
    project.write("Cargo.toml", (project.project / "Cargo.toml").read_text().replace("0.1.0", "0.2.0"))
    project.write("src/lib.rs", LIBRARY.replace('assert_eq!(text(1), "2")', 'assert_eq!(text(1), "3")', 1))
    released = project.envtool("test", "--locked", "--report", "markdown=report.md")
    assert released.status == 1, released.said
    assert "built" not in released.said
    assert "src/lib.rs::works" in (project.project / "report.md").read_text()
    project.write("Cargo.toml", f'{MANIFEST}m = {{ path = "m" }}\nitoa = "=1.0.4"\n')
    changed = project.envtool("fetch", "--json")
    assert changed.status == 0, changed.said
    (fetched,) = [event for event in map(json.loads, changed.out.splitlines()) if event.get("event") == "fetched"]
    assert fetched["fetched"] == 1


@ONE
def test_packages_from_git_by_their_commit(project):
    """A git server on this machine's loopback, which is gone when the layer is built."""
    git = shutil.which("git", path="/usr/bin:/bin")
    if git is None:
        pytest.skip("this machine's system has no git")
    project.write("shared/Cargo.toml", f"[workspace]\nmembers = ['.']\n{MEMBER.replace('0.1.0', '3.0.0')}")
    project.write("shared/src/lib.rs", "pub const ONE: u64 = 1;\n")
    project.shell(
        f"cd shared && {git} init -q && {git} add -A && {git} -c user.name=a -c user.email=a@b commit -qm 1"
        " && mv .git ../../shared.git && cd .. && rm -r shared m"
    )
    port = free_port()
    serve = [git, "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}", f"--base-path={project.top}"]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as server:
        try:
            dependency = f'm = {{ git = "git://127.0.0.1:{port}/shared.git" }}\n'
            project.write(
                "Cargo.toml", MANIFEST.replace('[workspace]\nmembers = ["m"]\n', "") + dependency + 'itoa = "=1.0.5"\n'
            )
            locked = project.envtool("lock")
            assert locked.status == 0, locked.said
            first = project.envtool("fetch")
            assert first.status == 0, first.said
        finally:
            server.terminate()
    done = project.envtool("test")
    assert done.status == 0, done.said
    assert "3 passed" in done.said


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]

"""Suites of at least five seconds by `cargo test`, `go test`, `mvn test` and `python3 -m unittest`, beside the same
command on the bare machine with the same toolchain, both with warm caches.

Each suite is one file that computes for a few seconds, and is compiled before the rounds. envtool runs it with
`--again` on `base: host`; the Rust of this machine is not in its system, so it is a toolchain of the same version. The
rows "CPU" have the processor time of the same runs. With --tiny the suites take a moment, and only those of Python and
Go run, which download nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

from _bench import Failed, Table, cpu, options, run, seconds, workspace

TASK = "version: 1\nenvs: {{unit: {{base: host, {env}, tasks: {{test: {command}}}}}}}\n"
LOOP = "{x} = ({x} * 48271 + 11) % 2147483647"
PYTHON = f"""import unittest

class Suite(unittest.TestCase):
    def test_computes(self):
        x = 1
        for _ in range(COUNT):
            {LOOP.format(x="x")}
        self.assertGreater(x, 0)
"""
GO = f"""package suite

import "testing"

func TestComputes(t *testing.T) {{
    x := int64(1)
    for i := int64(0); i < COUNT; i++ {{
        {LOOP.format(x="x")}
    }}
    if x <= 0 {{
        t.Fatal(x)
    }}
}}
"""
RUST = f"""#[test]
fn computes() {{
    let mut x: i64 = 1;
    for _ in 0..COUNT {{
        {LOOP.format(x="x")};
    }}
    assert!(x > 0);
}}
"""
JAVA = f"""import org.junit.Assert;
import org.junit.Test;

public class SuiteTest {{
    @Test
    public void computes() {{
        long x = 1;
        for (long i = 0; i < COUNTL; i++) {{
            {LOOP.format(x="x")};
        }}
        Assert.assertTrue(x > 0);
    }}
}}
"""
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bench</groupId>
  <artifactId>suite</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.source>11</maven.compiler.source>
    <maven.compiler.target>11</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>4.13.2</version><scope>test</scope></dependency>
  </dependencies>
</project>
"""


class Suite:
    """One project: its files, the command that tests it, what it computes at full and at tiny size, and its env."""

    def __init__(self, command: str, env: str, files: dict[str, str], count: int, *, first: str = "") -> None:
        self.command, self.env, self.files, self.count = command, env, files, count
        self.first = first or command  # on the bare machine, before the rounds

    def write(self, directory: Path, count: int) -> None:
        """Make the project in a git repository."""
        for path, text in self.files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text.replace("COUNT", str(count)))
        (directory / "envtool.yaml").write_text(TASK.format(env=self.env, command=self.command))
        (directory / ".gitignore").write_text("target/\n__pycache__/\n.envtool/\n")
        subprocess.run(["git", "init", "-q", str(directory)], check=True)


def rust_version() -> str:
    """The version of the machine's Rust; "" if it has none."""
    if not shutil.which("rustc"):
        return ""
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False, cwd="/").stdout
    found = re.match(r"rustc (\d+\.\d+\.\d+) ", said)
    return found[1] if found else ""


def suites() -> dict[str, Suite]:
    """Name of the program -> its suite."""
    go = os.path.realpath(
        shutil.which("go") or "go"
    )  # it may stand beside the directories of PATH, as in /usr/local/go
    cargo = f'toolchain: {{rust: "{rust_version()}"}}, language: rust, caches: [target]'
    return {
        "python3": Suite("/usr/bin/python3 -m unittest -q", "layers: []", {"test_suite.py": PYTHON}, 90_000_000),
        "go": Suite(
            f"{go} test -count=1 ./...", "language: go, caches: [~/.cache/go-build]",
            {"go.mod": "module bench/suite\n\ngo 1.21\n", "suite_test.go": GO}, 1_600_000_000,
        ),
        "cargo": Suite(
            "cargo test --offline -q", cargo,
            {"Cargo.toml": '[package]\nname = "suite"\nversion = "1.0.0"\nedition = "2021"\n', "src/lib.rs": RUST},
            900_000_000,
        ),
        "mvn": Suite(
            "mvn -o -q -B test", "language: java, caches: [target]",
            {"pom.xml": POM, "src/test/java/SuiteTest.java": JAVA}, 1_600_000_000, first="mvn -q -B test",
        ),
    }  # fmt: skip


def measure(name: str, suite: Suite, asked: argparse.Namespace, work: Path, table: Table) -> None:
    """One suite by both. Raises Failed where the bare machine cannot run it."""
    places = {who: work / name / who for who in ("bare", "envtool")}
    for place in places.values():
        suite.write(place, suite.count // (1000 if asked.tiny else 1))
    seconds("sh", "-c", suite.first, cwd=places["bare"])
    commands = {
        "bare": ["sh", "-c", suite.command],
        "envtool test --again": [asked.envtool, "test", "--again"],
    }
    used: dict[str, list[float]] = {who: [] for who in commands}

    def start(who: str) -> float:
        spent: list[float] = []
        place = places["bare" if who == "bare" else "envtool"]
        used[who].append(cpu(lambda: spent.append(seconds(*commands[who], cwd=place))))
        return spent[0]

    what = " ".join([name, *suite.command.removesuffix(" ./...").split()[1:]])
    seconds(asked.envtool, "test", cwd=places["envtool"])  # resolves, fetches and builds; fills the caches
    table.measure(what, {who: lambda who=who: start(who) for who in commands}, asked.rounds, base="bare", warm=1)
    for who, times in used.items():
        for spent in times[-asked.rounds :]:
            table.add(f"{what}, CPU", who, spent, base="bare")


def main(asked: argparse.Namespace, table: Table) -> None:
    """One suite after the other."""
    if not table.installed("git"):
        return
    with workspace(asked.envtool) as work:
        for name, suite in suites().items():
            if (asked.tiny and name not in ("python3", "go")) or not table.installed(name):
                continue
            program = suite.command.partition(" ")[0]
            if name != "cargo" and not os.path.realpath(shutil.which(program) or "").startswith("/usr/"):
                table.leave_out(name, "in the directories of `base: host`: not installed")
                continue
            if name == "cargo" and not rust_version():
                table.leave_out(name, "its rustc says no version")
                continue
            try:
                measure(name, suite, asked, work, table)
            except Failed as failed:
                if asked.envtool in str(failed):
                    raise
                table.leave_out(name, failed.why)


if __name__ == "__main__":
    os.environ.pop("CARGO_TARGET_DIR", None)
    run(main, options(__doc__, rounds=5))

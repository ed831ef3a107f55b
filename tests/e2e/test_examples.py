"""The examples, each copied out and run as a reader would, on a store that has what other tests made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.dear(cases=1)]

EXAMPLES = Path(__file__).parents[2] / "examples"


def outcomes(done) -> dict[str, str]:
    """Env -> outcome, from `--json`."""
    events = [json.loads(line) for line in done.out.splitlines()]
    (result,) = [event for event in events if event.get("event") == "result"]
    return {each["env"]: each["outcome"] for each in result["results"]}


def test_quickstart(common):
    """It passes, builds nothing the second time, takes arguments, and can fail."""
    common.copy(EXAMPLES / "quickstart")
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "7 passed" in done.said
    again = common.envtool("test", "--", "-k", "cli")
    assert again.status == 0, again.said
    assert "2 passed" in again.said
    assert "built" not in again.said
    verified = common.envtool("verify")
    assert verified.status == 0, verified.said
    source = common.project / "src/wordcount/__init__.py"
    source.write_text(source.read_text().replace(".casefold()", ""))
    broken = common.envtool("test")
    assert broken.status == 1, broken.said
    assert "test_count" in broken.said
    assert "built" not in broken.said, "a change of the sources rebuilt the editable install"


def test_c_build(common):
    """The tests pass, and the build leaves a program that belongs to the caller, and nothing else."""
    common.copy(EXAMPLES / "c-build")
    before = {path.name for path in common.project.iterdir()}
    done = common.envtool("test")
    assert done.status == 0, done.said
    built = common.envtool("build")
    assert built.status == 0, built.said
    program = common.project / "dist/usr/bin/crcsum"
    assert program.read_bytes().startswith(b"\x7fELF")
    assert program.stat().st_uid == common.caller.uid
    assert program.stat().st_mode & 0o111 == 0o111
    assert {path.name for path in common.project.iterdir()} == before | {"dist", ".envtool"}
    same = common.envtool("verify", "--build")
    assert same.status == 0, same.said
    (common.project / "src/crcsum.c").write_text("int main(void) { return 0; }\n")
    assert common.envtool("test").status == 1


def test_suites(common):
    """An env for each suite, each on its own."""
    common.copy(EXAMPLES / "suites")
    done = common.envtool("test", "--json")
    assert done.status == 0, done.said
    suites = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
    assert outcomes(done) == {f"portable[{suite}]": "passed" for suite in suites}
    for suite, number in suites.items():
        shown = common.envtool("exec", f"portable[{suite}]", "--", "cat", "/etc/debian_version")
        assert shown.out.startswith(number), shown.err


def test_node(common):
    """Debian's own npm installs what is pinned; the bundle comes back, node_modules does not."""
    common.copy(EXAMPLES / "node")
    before = {path.name for path in common.project.iterdir()}
    done = common.envtool("test")
    assert done.status == 0, done.said
    built = common.envtool("build")
    assert built.status == 0, built.said
    assert "export{" in (common.project / "dist/page.js").read_text()
    assert {path.name for path in common.project.iterdir()} == before | {"dist", ".envtool"}
    source = common.project / "packages/words/words.js"
    source.write_text(source.read_text().replace("kebabCase(title)", "title"))
    broken = common.envtool("test")
    assert broken.status == 1, broken.said
    assert "a heading has an anchor" in broken.said
    assert "built" not in broken.said, "a change of the sources installed packages again"

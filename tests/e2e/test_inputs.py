"""What layers depend on, in real containers: what they read through links, and what is no input of theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace

import pytest

from tests.places import REPOSITORY

pytestmark = pytest.mark.e2e


def built(done) -> list[str]:
    assert done.status == 0, done.said
    return [event["name"] for event in done.finished("layer") if event["outcome"] == "built"]


LINKS = """\
layers:
  run: {run: "mkdir -p /opt/r && cat requirements.txt settings/sub/b > /opt/r/read", inputs: [requirements.txt, settings]}
  copy: {copy: {from: [requirements.txt, settings/sub], to: /opt/c}}
envs:
  unit: {layers: [run, copy], tasks: {test: "cat /opt/r/read /opt/c/requirements.txt /opt/c/b"}}
"""


@pytest.mark.one_caller
def test_what_is_read_through_a_link_is_built_again_when_it_changes(place):
    place.write("reqs/base.txt", "old\n")
    place.write("conf/sub/b", "old\n")
    os.symlink("chain.txt", place.project / "requirements.txt")
    os.symlink("reqs/base.txt", place.project / "chain.txt")
    os.symlink("conf", place.project / "settings")
    place.spec(LINKS)
    first = place.envtool("test", "-v", "--json")
    assert built(first) == ["run", "copy"]
    place.write("reqs/base.txt", "new\n")
    assert built(place.envtool("test", "--json")) == ["run", "copy"]
    place.write("conf/sub/b", "new\n")
    again = place.envtool("test", "-v")
    assert again.status == 0, again.said
    assert place.envtool("exec", "unit", "--", "cat", "/opt/r/read", "/opt/c/requirements.txt", "/opt/c/b").out == (
        "new\n" * 4
    )
    place.write("conf/other", "of one layer alone")
    assert built(place.envtool("test", "--json")) == ["run"]


@pytest.mark.one_caller
def test_our_own_files_are_no_inputs_of_a_layer_that_has_all(place):
    place.write("src/a.txt", "1")
    place.spec("""\
envs:
  unit:
    layers: [{run: "ls -A . > /opt/seen", inputs: [.]}, {copy: {from: ., to: /opt/all}}]
    tasks: {test: "cat /opt/seen && ls -A /opt/all"}
""")
    first = place.envtool("test", "-v", "--json")
    assert len(built(first)) == 2
    text = (place.project / "envtool.yaml").read_text()
    (place.project / "envtool.yaml").write_text("# a comment\n" + text.replace("cat /opt/seen", "head /opt/seen"))
    assert built(place.envtool("test", "--json")) == []
    assert place.envtool("lock").status == 0
    assert place.envtool("test", "--expect-cached").status == 0
    seen = place.envtool("exec", "unit", "--", "sh", "-c", "cat /opt/seen; ls -A /opt/all; ls -A").out.split()
    assert seen[:2] == ["src", "src"]
    assert {"envtool.yaml", "envtool.lock"} <= {*seen[2:]}, "tasks see the checkout"
    place.write("envtool.yaml", text.replace("inputs: [.]", "inputs: [., envtool.yaml]"))
    assert len(built(place.envtool("test", "--json"))) == 2, "the second stands on the first"
    with open(place.project / "envtool.yaml", "a") as file:
        file.write("# a comment\n")
    assert len(built(place.envtool("test", "--json"))) == 1


def test_an_installation_lies_where_its_containers_are_staged(place, tmp_path):
    """Below /tmp, over which the stage is mounted; and with files of several owners, which take a module of their own."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="envtool-installed-") as installed:
        os.chmod(installed, 0o755)
        shutil.copytree(REPOSITORY / "envtool", f"{installed}/envtool", ignore=shutil.ignore_patterns("__pycache__"))
        place.caller = replace(place.caller, path=f"{installed}:{place.caller.path}")
        place.task("echo x >> other.txt\ncat other.txt\n", options="outputs: [other.txt]")
        other = place.write("other.txt", "hi\n")
        if place.caller.uid == 0:
            os.chown(other, 4711, 4711)
        done = place.envtool("test", "-v")
        assert done.status == 0, done.said
        assert place.envtool("exec", "unit", "--", "cat", "other.txt").out == "hi\nx\n"
        assert place.envtool("exec", "unit", "--", "touch", "other.txt").status == 0


def test_without_git_nobody_sees_what_tools_made_unless_it_is_named(place):
    """Tasks, `exec`, both short ways and layers; what a task writes there is its own."""
    for path in (".venv/bin/x", "services/api/node_modules/a/i.js", "target/x.jar", "env9/pyvenv.cfg", "build/x"):
        place.write(path, "x")
    place.write("pom.xml", "")
    place.spec(
        "layers:\n  all: {run: 'find . -type f | sort > /opt/all', inputs: [.]}\n"
        "  jar: {run: 'find . -type f | sort > /opt/jar', inputs: [target]}\n"
        "envs: {unit: {layers: [all, jar], tasks: {test: 'mkdir target; echo ./target/x.jar | cmp /opt/jar;"
        " find . -type f | sort | grep -v jar; cat /opt/all'}}}\n"
    )
    seen = ["./build/x", "./envtool.yaml", "./pom.xml"]
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log().split() == seen + [path for path in seen if path != "./envtool.yaml"]
    for _ in range(2):
        found = place.envtool("exec", "unit", "--", "find", ".", "-type", "f")
        assert sorted(found.out.split()) == seen, found.said
    place.write(".venv/bin/y", "x")
    place.write("fresh/node_modules/b", "x")
    assert "unchanged" in place.envtool("test").err
    found = place.envtool("exec", "unit", "--", "find", ".", "-type", "f")
    assert sorted(found.out.split()) == seen, found.said

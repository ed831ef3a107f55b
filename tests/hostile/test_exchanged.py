"""A run that passed on other files than the project's is not remembered for them: directories that are exchanged while
a task runs, and put back before it ends, leave every file as it was. What we do ourselves (outputs of this task, and of
others beside it) and what touches no directory of the project keeps no result from being remembered.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.hostile.test_moved import during, ready
from tests.places import Place

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]


def prepared(place: Place, *, git: bool) -> None:
    for name, said in (("d/sub/x", "bad"), ("e/sub/x", "good"), ("other/y", "y")):
        place.write(name, f"{said}\n")
    place.task("echo ready; sleep 1; grep -r good d; r=$?; echo seen; sleep 1; exit $r")
    if git:
        place.shell("git init -q . && git add -A")


def swap(first: Path, second: Path) -> None:
    third = first.with_name(f"{first.name}.third")
    first.rename(third)
    second.rename(first)
    third.rename(second)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("git", [False, True])
@pytest.mark.parametrize(("first", "second"), [("d", "e"), ("d/sub", "e/sub"), ("d/sub/x", "e/sub/x")])
def test_what_is_exchanged_and_back(place, first, second, git):
    prepared(place, git=git)
    process = place.start("test", "--json", stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.decode())
        event = json.loads(line) if line.startswith(b"{") else {"event": ""}
        if event["event"] == "output" and {"ready", "seen"}.intersection(event["text"].split()):
            swap(place.project / first, place.project / second)
    assert process.wait(place.limit) == 0, said
    assert (place.project / "d/sub/x").read_text() == "bad\n"
    assert any("not remembered: " in each for each in said), said
    assert place.envtool("test", "--json").status == 1, "a false green"


def test_what_we_do_ourselves_keeps_nothing_from_being_remembered(place):
    """Tasks beside each other that put outputs into the same directories, which git ignores or lists."""
    place.write(".gitignore", "*.xml\n")
    place.write("dist/kept", "x\n")
    script = "echo $ENVTOOL_ENV > dist/$ENVTOOL_ENV.xml; echo > $ENVTOOL_ENV.xml; mkdir -p n/$ENVTOOL_ENV; echo > n/$ENVTOOL_ENV/y.xml; sleep 0.$n"
    envs = "".join(
        f"  u{n}: {{set: {{n: '{n}'}}, tasks: {{build: {{run: '{script}', outputs: ['dist/*.xml', '*.xml', n]}}}}}}\n"
        for n in range(3)
    )
    place.spec(f"envs:\n{envs}")
    place.shell("git init -q . && git add -A")
    for _ in range(2):
        assert place.envtool("build", "-j", "3", "--again").status == 0
    done = place.envtool("build", "--json")
    assert [each["outcome"] for each in done.events[-1]["results"]] == ["cached"] * 3, done.said


def test_the_times_of_what_is_no_directory_of_the_project_do_not_count(place):
    place.task("echo ready; sleep 0.5")
    place.write("a/b", "x\n")
    place.write(".gitignore", "made\n")
    place.write("made/x", "x\n")
    place.shell("git init -q . && git add -A")
    done = during(place, ("test",), ready, lambda: place.write("made/y", "y\n"))
    assert done.status == 0
    assert place.envtool("test", "--json").events[-1]["results"][0]["outcome"] == "cached"


def test_a_result_that_is_told_elsewhere_names_no_commit(place):
    """A test's result is told in every checkout with the same files; it was not of that checkout's commit."""
    place.spec("envs: {u: {tasks: {test: 'true', build: {run: 'echo x > out', outputs: [out]}}}}\n")
    place.write(".gitignore", "out\n")
    place.shell("git init -q . && git add -A && git -c user.name=a -c user.email=a@b.example commit -qm one")
    commit = place.shell("git rev-parse HEAD").strip()

    def said(verb: str, project: Path = place.project) -> list[dict]:
        assert place.envtool(verb, "-q", cwd=project).status == 0
        text = (project / f".envtool/last/u.{verb}.intoto.json").read_text()
        dependencies = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
        return [each for each in dependencies if each["name"] == "project"]

    for verb in ("test", "build"):
        (first,) = said(verb)
        assert first["digest"]["gitCommit"] == commit
    other = place.directory("other")
    place.shell(
        f"git clone -q . {other} && cd {other} && git -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m two"
    )
    (told,) = said("test", other)
    assert [*told["digest"]] == ["envtoolView"]
    assert told["digest"]["envtoolView"] == first["digest"]["envtoolView"] or "annotations" not in told
    (again,) = said("build")
    assert again["digest"]["gitCommit"] == commit, "the commit counts for outputs"

"""Released projects with their own tests under `inputs: observed`: pytest with the sdist of six, node with the npm
package mime, go with Debian's source of go-cmp. What was not read is edited, what was read is edited, a file is added,
and a wrong note of what was read is found by the audit."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from typing import NamedTuple

import pytest

from envtool import keys
from envtool.store import json_documents

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow]


class Project(NamedTuple):
    """A released project, and what its tests read."""

    fetch: Callable  # puts its files into the project of a place
    env: str  # the base, the layers
    task: str
    unread: tuple[str, ...]
    read: tuple[str, ...]
    comment: str  # a line of its language
    least: int  # number of its files


def _fetch_layer(layer: str, directory: str) -> Callable:
    """Returns what puts the files of a layer into the project of a place."""

    def fetch(place) -> None:
        place.spec(
            f"envs: {{source: {{base: {{debian: bookworm}}, layers: [{layer}], tasks: {{list: ls {directory}}}}}}}\n"
        )
        done = place.envtool("exec", "source", "--", "tar", "-C", directory, "-cf", "-", ".")
        assert done.status == 0, done.said[-3000:]
        _unpack(place, done.raw)

    return fetch


def _fetch_npm(place) -> None:
    if not shutil.which("node", path="/usr/bin:/bin"):
        pytest.skip("this machine's system has no node")
    place.shell("npm pack --silent mime@1.6.0", cwd=place.directory("tarball"))
    _unpack(place, (place.top / "tarball/mime-1.6.0.tgz").read_bytes(), "package/")


def _unpack(place, data: bytes, prefix: str = "./") -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isreg():
                place.write(member.name.removeprefix(prefix), archive.extractfile(member).read())


SIX = "{sdist: {name: six, version: 1.16.0, to: /src, sha256: 1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926}}"
PROJECTS = {
    "python": Project(
        fetch=_fetch_layer(SIX, "/src"),
        env="base: {debian: bookworm}, layers: [{apt: [python3-pytest]}]",
        task="python3 -m pytest -q -p no:cacheprovider test_six.py",
        unread=("documentation/index.rst", "LICENSE", "CHANGES"),
        read=("six.py", "test_six.py", "setup.cfg"),
        comment="# more\n",
        least=12,
    ),
    "node": Project(
        fetch=_fetch_npm,
        env="base: host",
        task="node src/test.js",
        unread=("src/build.js", "CHANGELOG.md", "cli.js"),
        read=("types.json", "mime.js"),
        comment="\n",
        least=9,
    ),
    "go": Project(
        fetch=_fetch_layer("{apt: [golang-github-google-go-cmp-dev]}", "/usr/share/gocode/src/github.com/google/go-cmp"),
        env="base: {debian: bookworm}, layers: [{apt: [golang-go]}]",
        task="CGO_ENABLED=0 go test -vet=off ./cmp/internal/diff ./cmp/internal/function",
        # go asks about every file of a package's directory, but only of those that the tested ones import
        unread=("cmp/compare.go", "cmp/internal/value/sort.go"),
        read=("cmp/internal/diff/diff.go", "cmp/internal/flags/flags.go", "go.mod"),
        comment="// more\n",
        least=40,
    ),
}  # fmt: skip


def run(place, *words: str) -> dict:
    done = place.envtool("test", "--json", *words)
    assert done.status == 0, done.said[-3000:]
    (result,) = done.events[-1]["results"]
    return result


def plant(place, path: str) -> None:
    """Writes into the results of the task that their runs did not read a file."""
    owner = keys.digest([str(place.project), "unit", "test"])[:32]
    for entry in (place.store / "results/of" / owner).iterdir():
        file = place.store / "results" / entry.name / "result.json"
        stored = json_documents.load(str(file))
        assert path not in stored["reads"]["unread"]
        stored["reads"]["unread"] = sorted([*stored["reads"]["unread"], path])
        place.write(file.name, json_documents.dumps(stored), at=file.parent)


@pytest.mark.dear
@pytest.mark.parametrize("name", PROJECTS)
def test_only_what_its_tests_read_runs_them(common, name):
    place, project = common, PROJECTS[name]
    project.fetch(place)
    if name == "go":
        place.write("go.mod", "module github.com/google/go-cmp\n\ngo 1.13\n")

    def edit(path: str) -> None:
        place.write(path, (place.project / path).read_text() + project.comment)

    place.spec(
        f"envs:\n  unit: {{{project.env}, inputs: observed, set: {{TOKEN: '{place.token}'}}, "
        f"tasks: {{test: '{project.task}'}}}}\n"
    )
    first = run(place)
    assert (first["outcome"], first["reads"]["reason"]) == ("passed", "")
    assert set(project.read) <= set(first["reads"]["files"])
    assert not set(project.unread) & set(first["reads"]["files"])
    assert first["reads"]["total"] >= project.least
    for path in project.unread:
        edit(path)
        assert run(place)["outcome"] == "cached", path
    for path in project.read[:2]:
        edit(path)
        assert run(place)["outcome"] == "passed", path
        assert run(place)["outcome"] == "cached", path
    place.write("added.txt", "")
    assert run(place)["outcome"] == "passed"
    edit(project.unread[0])
    assert run(place, "--audit", "100%")["outcome"] == "passed", "a skip that is right"

    plant(place, project.read[0])
    edit(project.read[0])
    assert run(place, "--audit", "0%")["outcome"] == "cached", "the wrong skip"
    edit(project.read[0])
    done = place.envtool("test", "--audit", "100%")
    assert done.status == 1, done.said
    assert f"that was wrong: this time it read `{project.read[0]}`, which changed since" in done.said
    edit(project.read[0])
    assert run(place)["outcome"] == "passed", "the wrong note is forgotten"

"""`lock --check`: what `envtool lock` would change, without asking anybody."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from envtool import api
from envtool.app import lock_file
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_project
from envtool.build import lock_platforms, locking
from envtool.build.scheduler import Scheduler
from envtool.cli.lock_check_text import check_json, format_check, mending_command
from envtool.errors import SpecError, UsageError
from envtool.lock.lock import lock_of, merge_locks
from envtool.net.oci import documents
from tests.unit.build.fakes import Fake, World, builds
from tests.unit.kinds.image.layouts import Layout
from tests.unit.store.archives import digest, member, tar

ENVS = {"e": ("base", (("one", None), ("two", ("one",))))}
OTHER = {"e": ("base", (("one", None),))}


@pytest.fixture
def locked(tmp_path):
    """A function that builds a spec, and returns its world and lock."""
    worlds = []

    def build(envs=ENVS, **more):
        world = World(tmp_path / str(len(worlds)), envs, **more)
        worlds.append(world)
        world.runner.behave = builds
        for env in envs:
            world.scheduler.stack(env)
        entries = locking.lock_entries(world.scheduler.graph(), world.scheduler.finished_layers())
        return world, lock_of(entries)

    yield build
    for world in worlds:
        world.close()


def faults(world, lock, arch="x86_64", **more):
    context = replace(world.context, lock=lock, arch=arch)
    return [
        (fault.state, fault.subject, fault.name, fault.platform)
        for fault in locking.find_lock_faults(world.graph, lock, context, "envtool.lock", **more)
    ]


def test_a_lock_that_was_just_written_has_no_fault(locked):
    world, lock = locked()
    assert len(lock.entries) == 3
    assert faults(world, lock) == []


class Writer(Fake):
    """Its layers are made of texts of the project."""

    def build(self, request, pins):
        return replace(super().build(request, pins), project_directory=True)


def test_a_lock_has_no_hash_of_a_layer_that_is_made_of_texts_of_the_project(locked):
    """The next edit of the project makes another one."""

    def hashed(**more):
        _, lock = locked(OTHER, **more)
        return {entry.question.name: bool(entry.key and entry.diff_id) for entry in lock.entries}

    assert hashed() == {"base": True, "one": True}
    assert hashed(layers=Writer) == {"base": True, "one": False}


@pytest.mark.parametrize("name", ["base", "one", "two"])
def test_an_entry_that_is_missing_is_named(locked, name):
    world, lock = locked()
    rest = lock_of(entry for entry in lock.entries if entry.question.name != name)
    subject = "base" if name == "base" else "layer"
    assert ("missing", subject, name, "x86_64") in faults(world, rest)
    assert not [fault for fault in faults(world, rest) if fault[0] == "unused"]


def test_what_nothing_asks_for_is_named_unless_some_envs_are_checked(locked):
    _, lock = locked()
    world, _ = locked(OTHER)
    assert faults(world, lock) == [("unused", "layer", "two", "x86_64")]
    assert faults(world, lock, whole=False) == []


def test_an_old_entry_beside_the_one_that_answers_is_unused(locked):
    world, lock = locked()
    old = replace(lock.entries[1], question=replace(lock.entries[1].question, asked={"options": "old"}))
    assert faults(world, lock_of([*lock.entries, old])) == [("unused", "layer", "one", "x86_64")]


def test_an_answer_on_other_pins_is_stale(locked):
    world, lock = locked()
    moved = [replace(entry, pins={"resolved": "another"}) if entry.question.subject == "base" else entry
             for entry in lock.entries]  # fmt: skip
    assert faults(world, lock_of(moved)) == [("stale", "layer", "one", "x86_64")]


def test_each_architecture_has_its_own_entries(locked):
    world, lock = locked()
    assert {fault[0] for fault in faults(world, lock, arch="aarch64")} == {"missing"}
    arm = [replace(entry, question=replace(entry.question, platform="aarch64")) for entry in lock.entries]
    both = merge_locks(lock, arm, platforms=frozenset({"aarch64"}))
    assert faults(world, both) == []
    assert faults(world, both, arch="aarch64") == []


class Pinned(Fake):
    """A kind whose options have all: nothing floats."""

    resolve = api.Kind.resolve


def test_files_that_the_spec_pins_belong_into_the_lock(locked):
    world, lock = locked(OTHER, fetch=("one",), layers=Pinned)
    (entry,) = (entry for entry in lock.entries if entry.question.subject == "layer")
    assert entry.files
    assert faults(world, lock) == []
    rest = [each for each in lock.entries if each is not entry]
    assert faults(world, lock_of(rest)) == [("missing", "layer", "one", "x86_64")]
    other = replace(entry, files=({**entry.files[0], "sha256": "0" * 64},))
    assert faults(world, lock_of([*rest, other])) == [("stale", "layer", "one", "x86_64")]


def test_platforms_that_a_lock_can_have():
    assert lock_platforms.machines_of(("linux/arm64", "linux/amd64", "linux/arm64")) == ("aarch64", "x86_64")
    with pytest.raises(UsageError, match="`--platform linux/riscv64` is none that a lock can have"):
        lock_platforms.machines_of(("linux/riscv64",))


# ---- a project -------------------------------------------------------------------------------------------------------

SPEC = """\
version: 1
envs:
  e:
    base: {tarball: {url: "https://host.example/a.tar", sha256: "HASH"}}
    layers:
      - fetch: {url: "https://host.example/a", sha256: "HASH", to: /a}
      - copy: {from: a.txt, to: /b}
    tasks: {test: "true"}
""".replace("HASH", "0" * 64)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CI", "true")
    root = tmp_path / "project"
    root.mkdir()
    (root / "a.txt").write_text("")
    (root / "envtool.yaml").write_text(SPEC)
    return root


def check(project):
    return lock_file.check_lock(CommandRequest(directory=str(project)))


def test_a_lock_that_does_not_exist_is_the_fault(project):
    found = check(project)
    assert [(fault.state, fault.name) for fault in found.faults] == [("missing", "envtool.lock")]
    assert found.faults[0].problem.message == "no envtool.lock beside envtool.yaml"


@pytest.mark.parametrize("text", ["{", '{"version": 9, "entries": []}', '{"version": 1, "entries": [1]}'])
def test_a_lock_that_cannot_be_read_is_the_fault(project, text):
    (project / "envtool.lock").write_text(text)
    found = check(project)
    assert [(fault.state, fault.name) for fault in found.faults] == [("broken", "envtool.lock")]


def test_a_platform_that_is_asked_for_has_to_be_there(project):
    (project / "envtool.lock").write_text('{"version": 1, "entries": []}')
    found = lock_file.check_lock(CommandRequest(directory=str(project)), ("linux/amd64", "linux/arm64"))
    assert {"x86_64", "aarch64"} <= {*found.platforms}
    assert {fault.platform for fault in found.faults} == {*found.platforms}
    assert len({fault.problem.message for fault in found.faults}) == 2, "the message names the platform"
    assert found.also


def test_each_platform_is_complete_or_has_its_faults(project):
    """The base of this project pins its files, so that nobody is asked."""
    (project / "envtool.lock").write_text('{"version": 1, "entries": []}')
    found = lock_file.check_lock(CommandRequest(directory=str(project)), ("linux/amd64", "linux/arm64"))
    (here, other) = found.platforms
    own = replace(found, faults=tuple(fault for fault in found.faults if fault.platform == other))
    assert check_json(own, "mend")["complete"] == [here]
    assert check_json(found, "mend")["complete"] == []
    assert format_check(own, "mend").splitlines()[1] == f"{here}: complete, {other}: {len(own.faults)} fault"
    assert format_check(replace(found, faults=()), "mend").endswith(f", complete for {here}, {other}")
    name = lock_platforms.platform_of(other)
    assert all(f"`envtool lock --platform {name}`" in fault.problem.hint for fault in own.faults)
    alone = replace(found, platforms=(here,))
    assert len(format_check(alone, "mend").splitlines()) == 2, "one platform needs no list"
    whole = found.faults[0]._replace(platform="", state="broken")
    assert check_json(replace(found, faults=(whole,)), "mend")["complete"] == []


def test_what_is_missing_is_named(project):
    (project / "envtool.lock").write_text('{"version": 1, "entries": []}')
    assert [(fault.state, fault.subject) for fault in check(project).faults] == [("missing", "base")]


def test_an_input_that_does_not_exist_is_an_error_and_no_green(project):
    (project / "a.txt").unlink()
    (project / "envtool.lock").write_text('{"version": 1, "entries": []}')
    with pytest.raises(SpecError):
        check(project)


def test_a_wrong_spec_is_an_error(project):
    (project / "envtool.yaml").write_text("version: 1\nenvs: {e: {bse: x}}\n")
    with pytest.raises(SpecError, match=r"1 error in envtool\.yaml"):
        check(project)


def test_nothing_is_written(project):
    before = sorted(project.rglob("*"))
    check(project)
    assert sorted(project.rglob("*")) == before


IMAGES = """\
version: 1
envs:
  image: {base: {image: "oci:img:v1"}, tasks: {test: "true"}}
  dockerfile: {base: {dockerfile: Dockerfile}, tasks: {test: "true"}}
"""


def test_images_of_another_platform(project):
    layout = Layout(project / "img")
    for architecture, content in (("amd64", b"one"), ("arm64", b"two")):
        layout.add(layout.image(tar(member("name", content)), architecture=architecture), architecture=architecture)
    both_images, layout.entries = layout.document(layout.index(), documents.OCI_INDEX), []
    layout.add(both_images, "v1")
    layout.write()
    (project / "envtool.yaml").write_text(IMAGES)
    (project / "Dockerfile").write_text("FROM oci:img:v1\nCOPY a.txt /a\n")
    opened = open_project(CommandRequest(directory=str(project)), parts=False)
    per_machine = {}
    for machine in ("x86_64", "aarch64"):
        whole = lock_platforms.PlatformLock(opened.graph, opened.context, machine)
        whole.resolve_without_stacks()
        entries = whole.entries(Scheduler(opened.graph, opened.context))
        assert [entry.question.kind for entry in entries] == ["image", "dockerfile"]
        assert {entry.question.platform for entry in entries} == {machine}
        per_machine[machine] = [json.dumps(entry.pins) for entry in entries]
    for content, machine, other in ((b"one", "x86_64", "aarch64"), (b"two", "aarch64", "x86_64")):
        layer = digest(tar(member("name", content)))
        assert all(layer in pins for pins in per_machine[machine])
        assert not any(layer in pins for pins in per_machine[other])


@pytest.mark.parametrize(
    ("called", "mend"),
    [
        ((("lock",), ("--check",)), "envtool lock"),
        ((("-C", "sub dir", "lock"), ("--check", "--json", "-e", "unit")), "envtool -C 'sub dir' lock -e unit"),
        (((), ()), "envtool lock"),
        ((("lock",), ("--check",), ["--platform=linux/arm64"]), "envtool lock --platform=linux/arm64"),
    ],
)
def test_the_command_that_mends(called, mend):
    assert mending_command(*called) == mend


PROJECT_LOCK = """\
lock-version = "1.0"
created-by = "x"
[[packages]]
name = "attrs"
version = "24.3.0"
"""


def test_a_lock_file_of_the_project_that_does_not_fit_it_is_a_fault(project):
    """`envtool lock` pins what is installed near such a file: nothing of envtool.lock is wrong, and it mends nothing."""
    pytest.importorskip("envtool_python")
    (project / "envtool.yaml").write_text(
        "version: 1\nenvs:\n  e: {base: {debian: bookworm}, language: python, tasks: {test: pytest}}\n"
    )
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["attrs<24"]\n')
    (project / "pylock.toml").write_text(PROJECT_LOCK)
    (project / "envtool.lock").write_text('{"version": 1, "entries": []}')
    (fault,) = [fault for fault in check(project).faults if fault.state == "project"]
    assert (fault.subject, fault.name, str(fault.problem.where)) == ("layer", "requirements", "envtool.yaml:3:43")
    assert fault.problem.message.startswith("pylock.toml does not satisfy `attrs<24`, which the project requires: ")
    alone = lock_file.LockCheck(file="envtool.lock", entries=2, platforms=("x86_64",), faults=(fault,))
    assert format_check(alone, "envtool lock") == (
        "envtool.lock fits the spec; the project's own lock file does not fit the project"
    )
    assert (check_json(alone, "envtool lock")["fits"], check_json(alone, "envtool lock")["mend"]) == (False, "")
    both = lock_file.LockCheck(file="envtool.lock", faults=(fault, fault._replace(state="missing")))
    assert format_check(both, "envtool lock") == (
        "envtool.lock does not fit the spec: 2 faults (1 of the project's own lock file, 1 missing)\n"
        "to mend it: envtool lock"
    )
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["attrs>=24"]\n')
    assert all(fault.state != "project" for fault in check(project).faults)

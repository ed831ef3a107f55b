"""git is asked once for the commit of all tasks of a run, and again after any change that decides it."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace

import pytest

from envtool.project import source_files
from envtool.run import provenance
from envtool.run.known_commit import CommitDescription
from envtool.run.prepared_task import take_snapshot
from tests.unit.run.fakes import World


class Place:
    def __init__(self, top):
        self.world = World(top)
        self.root, self.context = self.world.root, self.world.context
        self.git("add", "-A")
        self.git("commit", "-qm", "x")
        self.asked = 0

    def git(self, *words):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        done = subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True, env=clean)
        return done.stdout.decode().strip()

    def task(self, during=lambda: None):
        """What a task's statement says; `during` happens after git was asked, before the snapshot that confirms it."""
        before, found = self.snapshot(), self.repositories()
        description = CommitDescription(self.context)
        text = description.describe(before, found)
        during()
        description.confirm(self.snapshot(), found)
        return text

    def snapshot(self):
        return take_snapshot(self.context)

    def repositories(self):
        return source_files.list_repositories(str(self.root))

    def rest(self):
        """Until the times of all files prove something: the second snapshot has hashed none."""
        time.sleep(0.05)
        self.snapshot()
        assert not self.snapshot().hashes

    @property
    def head(self):
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def place(tmp_path, monkeypatch):
    place = Place(tmp_path)
    describe = provenance.describe_commit

    def counted(*arguments):
        place.asked += 1
        return describe(*arguments)

    monkeypatch.setattr(provenance, "describe_commit", counted)
    place.rest()
    yield place
    place.world.cancel.close()


def test_git_is_asked_once(place):
    assert [place.task() for _ in range(4)] == [place.head] * 4
    assert place.asked == 1


def _edit(place):
    (place.root / "file").write_text("two\n")
    return "-dirty"


def _edit_with_times(place):
    """Same size, same mtime: the ctime differs."""
    before = (place.root / "file").stat()
    (place.root / "file").write_text("two\n")
    os.utime(place.root / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    return "-dirty"


def _stage(place):
    place.git("rm", "-q", "--cached", "file")
    return "-dirty"


def _commit(place):
    place.git("commit", "-q", "--allow-empty", "-m", "y")
    return ""


def _make_executable(place):
    (place.root / "file").chmod(0o755)
    return "-dirty"


@pytest.mark.parametrize("change", [_edit, _edit_with_times, _stage, _commit, _make_executable])
def test_it_is_asked_again_after_a_change(place, change):
    assert place.task() == place.head
    ending = change(place)
    assert place.task() == place.head + ending
    assert place.asked == 2
    place.rest()
    assert [place.task(), place.task()] == [place.head + ending] * 2
    assert place.asked in (2, 3), "twice, if the change was old enough the first time"


@pytest.mark.parametrize("change", [_edit, _edit_with_times, _stage, _commit, _make_executable])
def test_what_changed_meanwhile_is_not_used(place, change):
    head, endings = place.head, list[str]()
    assert place.task(lambda: endings.append(change(place))) == head
    place.rest()
    assert place.task() == place.head + endings[0]
    assert place.asked == 2


def test_what_a_snapshot_does_not_cover(place):
    """A repository in the project, one above it, and files that the run writes: git is asked each time."""
    place.context = replace(place.context, logs=("report.xml",))
    assert [place.task(), place.task()] == [place.head] * 2
    assert place.asked == 2
    (place.root / "below").mkdir()
    (place.root / "below/file").write_text("")
    place.git("add", "-A")
    place.git("commit", "-qm", "y")
    place.rest()
    head = place.head
    place.context = replace(place.context, logs=(), root=str(place.root / "below"))
    place.root = place.root / "below"
    place.rest()
    assert [place.task(), place.task()] == [head] * 2
    assert place.asked == 4
    place.git("init", "-q", "inner")
    (place.root / "inner/x").write_text("")
    place.git("-C", "inner", "add", "x")
    place.git("-C", "inner", "commit", "-qm", "z")
    place.context = replace(place.context, root=str(place.root.parent))
    place.root = place.root.parent
    place.rest()
    assert [place.task(), place.task()] == [head] * 2
    assert place.asked == 6


def test_without_a_snapshot(place):
    description = CommitDescription(place.context)
    assert [description.describe(None, place.repositories()), description.describe(place.snapshot(), None)] == [
        place.head
    ] * 2
    assert place.asked == 2

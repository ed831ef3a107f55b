"""One look at the project serves tasks that begin within a second of it, and no task after a change that decides it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

import pytest

from envtool.project import source_files
from envtool.run import cached_task, project_look
from envtool.run.project_look import ProjectLooks
from envtool.run.record_queue import Moment, RecordQueue
from tests.unit.run.fakes import TASK, FakeStacks, stack_of
from tests.unit.run.test_known_commit import Place

MANY = 8  # tasks


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(project_look, "SECONDS", 600.0)
    place = Place(tmp_path)
    (place.root / "src").mkdir()
    (place.root / "src/a.py").write_text("a\n")
    (place.root / "empty").mkdir()
    (place.root / ".gitignore").write_text("*.log\n.gitignore\n")
    (place.root / ".git/info").mkdir(exist_ok=True)
    (place.root / ".git/info/exclude").write_text("*.o\n")
    place.git("add", "-A")
    place.git("commit", "-qm", "y")
    place.world.call()  # makes `.envtool`, as every run does first
    place.rest()
    yield place
    place.world.cancel.close()


@pytest.fixture
def listings(monkeypatch):
    """How often git listed what is ignored."""
    calls, list_hidden = [], source_files.list_hidden

    def counted(*arguments):
        calls.append(None)
        return list_hidden(*arguments)

    monkeypatch.setattr(source_files, "list_hidden", counted)
    return calls


def test_a_look_serves_all_tasks_while_nothing_changes(place, listings):
    looks = ProjectLooks(place.context)
    look = looks.find()
    assert all(looks.find() is look for _ in range(MANY))
    assert len(listings) == 1
    assert look.snapshot.digest == place.snapshot().digest
    assert look.git.hidden == source_files.list_hidden(str(place.root))
    assert (look.sees_git, [prefix for prefix, _ in look.git.repositories]) == (True, [""])
    assert "/project/.git/refs/heads" in look.git.directories


def test_a_look_is_taken_anew_after_a_second(place, monkeypatch):
    looks = ProjectLooks(place.context)
    look = looks.find()
    monkeypatch.setattr(project_look, "SECONDS", -1.0)
    assert looks.find() is not look


def _edit_in_place(place):
    with open(place.root / "src/a.py", "r+") as file:
        file.write("b")


def _edit_with_old_times(place):
    info = os.stat(path := place.root / "src/a.py")
    path.write_text("c\n")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _replace_directory(place):
    shutil.copytree(place.root / "src", place.root / ".git/other", copy_function=shutil.copy2)
    os.rename(place.root / "src", place.root / ".git/old")
    os.rename(place.root / ".git/other", place.root / "src")


CHANGES = {
    "a file in place": _edit_in_place,
    "a file, with its old times": _edit_with_old_times,
    "its permissions": lambda place: (place.root / "src/a.py").chmod(0o755),
    "a new file": lambda place: (place.root / "src/b.py").write_text(""),
    "a new file that git ignores": lambda place: (place.root / "src/b.log").write_text(""),
    "a file that is gone": lambda place: (place.root / "src/a.py").unlink(),
    "a directory that is replaced": _replace_directory,
    "a new directory": lambda place: (place.root / "new").mkdir(),
    "what git lists": lambda place: place.git("rm", "-q", "--cached", "src/a.py"),
    "a commit": lambda place: place.git("commit", "-qm", "z", "--allow-empty"),
    "a branch": lambda place: place.git("checkout", "-qb", "other"),
    "git's configuration": lambda place: place.git("config", "core.ignoreCase", "true"),
    "git's own rules": lambda place: (place.root / ".git/info/exclude").write_text("*.p\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_look_serves_after_a_change(place, change):
    looks = ProjectLooks(place.context)
    look = looks.find()
    assert looks.find() is look
    CHANGES[change](place)
    assert looks.find() is not look
    place.rest()
    (again := ProjectLooks(place.context)).find()
    assert again.find().snapshot.digest == place.snapshot().digest


def test_what_is_no_plain_repository_shares_no_look(place, listings):
    looks = ProjectLooks(replace(place.context, logs=(".envtool/log",)))
    assert looks.find() is None, "of files that this run writes"
    (place.root / "inner").mkdir()
    place.git("init", "-q", "inner")
    (place.root / "inner/file").write_text("")
    place.rest()
    looks = ProjectLooks(place.context)
    assert [looks.find() for _ in range(MANY)] == [None] * MANY, "a repository in it"
    assert not listings, "what is not shared is not read, either"
    shutil.rmtree(place.root / "inner")
    shutil.rmtree(place.root / ".git")
    assert ProjectLooks(place.context).find() is None


def test_files_that_changed_just_now_share_no_look(place):
    (place.root / "file").write_text("three\n")
    assert ProjectLooks(place.context).find() is None, "their times prove nothing yet"


def perform(place, records, looks, *, during=lambda: None):
    call = place.world.call()._replace(record_later=records.add, look=looks.find)
    run = place.world.runner(during=during)
    return cached_task.run_task_cached(call, FakeStacks(stack_of()), again=True, run=run)[0]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("empty/x.log", "empty, which git ignores, appeared while it ran"),
        ("empty/x.py", "empty/x.py was touched while it ran"),
    ],
)
@pytest.mark.parametrize("when", ["before", "while"])
def test_what_a_look_cannot_tell_is_seen_by_the_look_after_the_task(place, path, reason, when):
    """An `empty` directory has no file that counts, so nothing of it is compared before a task."""
    looks = ProjectLooks(place.context)
    assert looks.find() is not None

    def make():
        (place.root / path).write_text("")
        if path.endswith(".py"):
            time.sleep(0.05)

    if when == "before":
        make()
    kept = []
    records = RecordQueue(place.context, kept.append)
    assert perform(place, records, looks, during=make if when == "while" else lambda: None).outcome == "passed"
    records.finish()
    assert (kept, [*place.context.unremembered]) == ([], [reason])


def test_tasks_with_one_look_are_found_again(place, listings):
    looks, kept = ProjectLooks(place.context), []
    records = RecordQueue(place.context, kept.append)
    for number in range(MANY):
        call = place.world.call(task=replace(TASK, name=f"t{number}"))
        call = call._replace(record_later=records.add, look=looks.find)
        cached_task.run_task_cached(call, FakeStacks(stack_of()), again=True, run=place.world.runner())
    records.finish()
    assert len(kept) == MANY
    assert len(listings) <= 3, "one before all tasks, and one in each of two batches after them"
    for number in range(MANY):
        call = place.world.call(task=replace(TASK, name=f"t{number}"))
        assert cached_task.run_task_cached(call, FakeStacks(stack_of()), again=False)[0].outcome == "cached"


def test_what_git_ignores_below_a_hidden_directory_has_not_appeared(place):
    moment, hidden = Moment(place.context), source_files.list_hidden(str(place.root))
    (place.root / "src/x.log").write_text("")
    assert moment.appeared((*hidden, "src")) == ""
    assert moment.appeared((*hidden, "src/x")) == "src/x.log"

"""Every room that reads or writes in the project, when another directory stands at its path by now: none of them takes
that for the project, whatever it is asked for. Beside it the copy of a project, and exchanges while it is walked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envtool.container import project_copy
from envtool.container.outputs import OutputReceiver
from envtool.errors import EnvtoolError
from envtool.fs import beneath, caller_paths
from envtool.fs.beneath import DirectoryReplacedError
from envtool.fs.directory import OpenDirectory
from envtool.lock import file as lock_file
from envtool.lock.lock import Lock
from envtool.project import host_access, rundir, source_files
from envtool.project import snapshot as snapshot_module
from envtool.project.snapshot import SnapshotError
from envtool.run import provenance
from envtool.store import record_results
from tests import project_inputs
from tests.hostile.test_writing import snapshot

SECRET = "KEPT-APART"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("project", "theirs"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "key").write_text(SECRET if name == "theirs" else "ours")
        (tmp_path / name / "sub/key").write_text(SECRET if name == "theirs" else "ours")
    return tmp_path


def write(root: str) -> None:
    with caller_paths.atomic_write(f"{root}/sub/report", root) as file:
        file.write(b"x")


def write_by_a_link_of_the_callers(root: str) -> None:
    os.symlink(root, f"{root}-other")
    with caller_paths.atomic_write(f"{root}-other/sub/report", root) as file:
        file.write(b"x")


def evidence_of_a_run(root: str) -> None:
    run, note = rundir.open_run(root)
    rundir.close_run(root, run)
    raise DirectoryReplacedError(root) if note and not run.startswith(root) else AssertionError(run)


def see(root: str) -> None:
    snapshot_module.take_snapshot(root, f"{root}.record")


ROOMS: dict[str, Callable[[str], object]] = {
    "gate": lambda root: host_access.HostAccess(root).open("key").close(),
    "gate, absolute": lambda root: host_access.HostAccess(root).open_absolute(f"{root}/key").close(),
    "gate, a secret": lambda root: host_access.HostAccess(root).secret("s", "file:key"),
    "gate, a secret of the caller's": lambda root: host_access.HostAccess(
        root, host_access.HostPermissions(secrets={"s": "file:key"})
    ).secret("s", ""),
    "entries": lambda root: host_access.EntryOpener(root).open("key"),
    "entries below": lambda root: host_access.EntryOpener(root).open("sub/key"),
    "files": lambda root: source_files.ProjectFiles(root).read("key"),
    "names": source_files.list_files,
    "hidden": source_files.list_hidden,
    "history": source_files.git_history_digest,
    "tags": lambda root: source_files.list_tags(root) or raised(root),
    "sees git": source_files.sees_git,
    "mode": lambda root: source_files.mode_in_project(host_access.EntryOpener(root), "key"),
    "inputs": lambda root: project_inputs.find(root, ["key", "sub"]),
    "a view": see,
    "a report": write,
    "a report, by a link": write_by_a_link_of_the_callers,
    "evidence of a run": evidence_of_a_run,
    "the lock": lambda root: lock_file.write_lock(root, "envtool.yaml", Lock()),
    "outputs": lambda root: OutputReceiver(root, owned=True).link("new", "key"),
    "a remembered output": lambda root: record_results._copy_outputs(root, ["key"], f"{root}.taken", None),
    "an open directory": OpenDirectory.open,
    "a commit": lambda root: provenance.describe_commit(root) or raised(root),
}  # fmt: skip


def raised(root: str) -> None:
    raise DirectoryReplacedError(root)


@pytest.mark.parametrize("way", ["link", "directory", "nothing"])
@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_no_room_takes_another_directory_for_the_project(top, room, way):
    root = str(top / "project")
    beneath.hold_project(root)
    (top / "project").rename(top / "moved")
    if way == "link":
        (top / "project").symlink_to("theirs")
    elif way == "directory":
        (top / "theirs").rename(top / "project")
        (top / "theirs").mkdir()
    before = snapshot(top / ("project" if way == "directory" else "theirs"))
    with pytest.raises((OSError, EnvtoolError, SnapshotError)) as told:
        ROOMS[room](root)
    assert SECRET not in str(told.value)
    if way != "nothing":
        assert "moved or replaced meanwhile" in str(told.value), told.value
    assert snapshot(top / ("project" if way == "directory" else "theirs")) == before


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_each_room_takes_the_project_that_was_found(top, room):
    root = str(top / "project")
    beneath.hold_project(root)
    beneath.hold_project(root)
    os.makedirs(f"{root}.taken", exist_ok=True)
    expected = {"tags": DirectoryReplacedError, "a commit": DirectoryReplacedError, "evidence": AssertionError}.get(
        room.removesuffix(" of a run")
    )
    if expected:  # there are none; and it came to where it should
        with pytest.raises(expected, match=root):
            ROOMS[room](root)
    else:
        ROOMS[room](root)


def test_a_project_that_is_held_is_never_another_one(top):
    root = str(top / "project")
    beneath.hold_project(root)
    identity = beneath.project_identity(root)
    (top / "project").rename(top / "moved")
    for _ in range(3):  # no new directory gets the number of one that is open
        (top / "project").mkdir()
        with pytest.raises(DirectoryReplacedError):
            beneath.hold_project(root)
        assert beneath.project_identity(root) == identity
        (top / "project").rmdir()
    (top / "moved").rename(top / "project")
    beneath.hold_project(root)
    assert beneath.real_path(root) == root


def test_a_project_that_is_not_the_one_that_is_meant(top):
    with pytest.raises(DirectoryReplacedError):
        beneath.hold_project(str(top / "project"), (1, 2))
    assert beneath.project_identity(str(top / "project")) == ()


# ---- the copy of a project -------------------------------------------------------------------------------------------


def copied(top: Path, between: Callable[[str], None], hidden: frozenset[str] = frozenset()) -> Path:
    """The project copied; `between` is told of each entry before that is taken."""
    target = top / "copy"
    target.mkdir()
    source, place = (os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (top / "project", target))
    copy = project_copy._Copy(source, place, (-1, -1))
    try:
        for path, directory, state in copy.entries({*hidden}):
            between(path)
            copy.copy_entry(path, directory, state)
        copy.finish_directories()
    finally:
        os.close(source)
        os.close(place)
    return target


def test_a_copy_is_what_is_there(top):
    (top / "project/link").symlink_to("sub/key")
    (top / "project/tool").write_text("#!\n")
    (top / "project/tool").chmod(0o755)
    (top / "project/away").mkdir()
    (top / "project/away/x").write_text("hidden")
    os.mkfifo(top / "project/fifo")
    os.utime(top / "project/sub", (1, 1))
    target = copied(top, lambda path: None, frozenset({"away"}))
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "key", "link", "sub", "sub/key", "tool"
    ]  # fmt: skip
    assert (target / "tool").stat().st_mode & 0o777 == 0o755
    assert os.readlink(target / "link") == "sub/key"
    assert (target / "sub").stat().st_mtime == 1
    assert (target / "sub/key").read_text() == "ours"


def exchange(top: Path, name: str) -> None:
    (top / "project" / name).rename(top / f"{name.replace('/', '-')}.away")
    (top / "project" / name).symlink_to(top / "theirs" / name)


@pytest.mark.parametrize(("when", "what"), [("key", "key"), ("sub", "sub"), ("sub/key", "sub"), ("sub/key", "sub/key")])
def test_what_is_exchanged_for_a_link_is_not_followed(top, when, what):
    def between(path: str) -> None:
        if path == when:
            exchange(top, what)

    try:
        target = copied(top, between)
    except OSError:
        target = top / "copy"
    read = [path.read_text() for path in target.rglob("*") if path.is_file() and not path.is_symlink()]
    assert SECRET not in read


def test_what_is_exchanged_for_a_fifo_is_not_waited_for(top):
    def between(path: str) -> None:
        if path == "key":
            (top / "project/key").unlink()
            os.mkfifo(top / "project/key")

    assert not (copied(top, between) / "key").exists()


def test_what_is_gone_by_now_is_not_there(top):
    def between(path: str) -> None:
        if path == "key":
            (top / "project/key").unlink()

    assert not (copied(top, between) / "key").exists()


def test_holes_stay_holes_and_bytes_have_a_bound(top, monkeypatch):
    with open(top / "project/sparse", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 40)
        file.write(b"end")
    target = copied(top, lambda path: None)
    with open(target / "sparse", "rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(1 << 40)
        assert file.read() == b"end"
    assert (target / "sparse").stat().st_blocks <= 64
    monkeypatch.setattr(project_copy, "MAX_COPIED_BYTES", 2)
    target.rename(top / "first")
    with pytest.raises(OSError, match="more than"):
        copied(top, lambda path: None)

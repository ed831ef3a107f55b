from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import signal
import stat
import time

import pytest

from envtool.fs import caller_paths, directory
from envtool.fs.directory import OpenDirectory

ROOT = os.geteuid() == 0
OTHER = (4711, 4712)


@pytest.fixture
def top(tmp_path):
    """A project beside a directory that is nobody's business."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    project.mkdir()
    outside.mkdir()
    (outside / "file").write_text("theirs")
    return project


@pytest.fixture
def theirs(top):
    return top.parent / "outside"


def test_a_file_takes_its_place_whole(top):
    (top / "f").write_text("before")
    with OpenDirectory.open(str(top)) as at:
        with at.atomic_write("f", 0o644) as file:
            file.write(b"after")
            assert (top / "f").read_text() == "before"
    assert (top / "f").read_text() == "after"
    assert stat.S_IMODE((top / "f").stat().st_mode) == 0o644
    assert os.listdir(top) == ["f"]


def test_what_fails_leaves_nothing(top):
    with OpenDirectory.open(str(top)) as at, pytest.raises(ZeroDivisionError), at.atomic_write("f") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert os.listdir(top) == []


def test_a_directory_in_its_place_stays(top):
    (top / "f").mkdir()
    with OpenDirectory.open(str(top)) as at, pytest.raises(IsADirectoryError), at.atomic_write("f") as file:
        file.write(b"x")
    assert os.listdir(top) == ["f"]


@pytest.mark.parametrize("trap", ["link", "hard", "fifo", "dangling", "loop"])
@pytest.mark.parametrize("how", ["written", "create", "link"])
def test_what_stands_there_is_replaced_and_never_opened(top, theirs, trap, how):
    match trap:
        case "link":
            (top / "f").symlink_to(theirs / "file")
        case "hard":
            os.link(theirs / "file", top / "f")
        case "fifo":
            os.mkfifo(top / "f")
        case "dangling":
            (top / "f").symlink_to(theirs / "new")
        case "loop":
            (top / "f").symlink_to("f")
    before = (theirs / "file").stat()
    with OpenDirectory.open(str(top)) as at:
        if ROOT:
            at.owner = OTHER
        if how == "written":
            with at.atomic_write("f") as file:
                file.write(b"ours")
        elif how == "create":
            at.create("f").close()
        else:
            at.link("f", "elsewhere")
    after = (theirs / "file").stat()
    assert (theirs / "file").read_text() == "theirs"
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (after.st_mode, after.st_uid, after.st_mtime_ns)
    assert os.listdir(theirs) == ["file"]
    assert stat.S_IFMT((top / "f").lstat().st_mode) == (stat.S_IFLNK if how == "link" else stat.S_IFREG)
    if ROOT:
        assert ((top / "f").lstat().st_uid, (top / "f").lstat().st_gid) == OTHER


def test_replace_false_never_replaces(top):
    (top / "f").symlink_to("nothing")
    with (
        OpenDirectory.open(str(top)) as at,
        pytest.raises(FileExistsError),
        at.atomic_write("f", replace=False) as file,
    ):
        file.write(b"x")
    assert os.readlink(top / "f") == "nothing"
    with OpenDirectory.open(str(top)) as at, at.atomic_write("g", replace=False) as file:
        file.write(b"x")
    assert sorted(os.listdir(top)) == ["f", "g"]
    assert (top / "g").stat().st_nlink == 1


@pytest.mark.parametrize("path", ["../x", "..", "/etc", "a/../../x", "a//b", ".", "a/./b", "a\0b"])
def test_no_path_leaves(top, path):
    with OpenDirectory.open(str(top)) as at, pytest.raises((OSError, ValueError)):
        at.open_below(path, make=True)
    assert os.listdir(top.parent) in (["project", "outside"], ["outside", "project"])


def test_links_on_the_way_are_refused(top, theirs):
    (top / "d").symlink_to(theirs)
    with OpenDirectory.open(str(top)) as at:
        with pytest.raises(OSError, match="`d` in the way is not a directory"):
            at.open_below("d/e", make=True)
        with pytest.raises(OSError):
            at.read("d/file")
    assert os.listdir(theirs) == ["file"]


def test_directories_that_are_made(top):
    before = os.umask(0o077)
    try:
        with OpenDirectory.open(str(top)) as at:
            if ROOT:
                at.owner = OTHER
            at.open_below("a/b", make=True).close()
    finally:
        os.umask(before)
    for path in (top / "a", top / "a/b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        if ROOT:
            assert (path.stat().st_uid, path.stat().st_gid) == OTHER


def test_only_regular_files_are_read(top):
    os.mkfifo(top / "fifo")
    (top / "d").mkdir()
    with OpenDirectory.open(str(top)) as at:
        for name in ("fifo", "d", "none"):
            with pytest.raises(OSError):
                at.read(name)


def test_remove_follows_no_link(top, theirs):
    (top / "d/e").mkdir(parents=True)
    (top / "d/e/link").symlink_to(theirs)
    (top / "d/file").write_text("x")
    (top / "l").symlink_to(theirs)
    with OpenDirectory.open(str(top)) as at:
        at.remove("d")
        at.remove("l")
    assert os.listdir(top) == []
    assert os.listdir(theirs) == ["file"]


def test_remove_has_no_depth_at_which_it_ends(top):
    (top / "/".join("d" * 400)).mkdir(parents=True)
    with OpenDirectory.open(str(top)) as at:
        at.remove("d")
    assert os.listdir(top) == []


def test_sweep_takes_what_is_dead_and_ours(top, theirs):
    def name(number):
        return f".envtool-{number:016x}.tmp"

    (top / name(1)).write_text("of a killed one")
    (top / name(2)).mkdir()
    (top / name(3)).symlink_to(theirs / "file")  # young
    os.mkfifo(top / name(4))
    (top / ".envtool-1.tmp").write_text("not our form")
    (top / f"{name(5)}x").write_text("neither")
    living = os.open(top / name(6), os.O_CREAT | os.O_RDWR)
    fcntl.flock(living, fcntl.LOCK_EX)
    if ROOT:
        (top / name(7)).write_text("another's")
        os.chown(top / name(7), *OTHER)
    before = set(os.listdir(top))
    with OpenDirectory.open(str(top)) as at:
        at.sweep()
        assert before - set(os.listdir(top)) == {name(1)}
        os.close(living)
        at.sweep()
    assert before - set(os.listdir(top)) == {name(1), name(6)}
    assert os.listdir(theirs) == ["file"]


def test_a_draft_is_not_swept_while_it_lives(top):
    with OpenDirectory.open(str(top)) as at, at.atomic_write("f") as file:
        at.sweep()
        file.write(b"x")
    assert os.listdir(top) == ["f"]


def _begin(path):
    with OpenDirectory.open(path) as at, at.atomic_write("f") as file:
        file.write(b"x")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_kill_leaves_is_swept_by_the_next(top):
    process = multiprocessing.get_context("fork").Process(target=_begin, args=(str(top),))
    process.start()
    process.join()
    assert len(os.listdir(top)) == 1
    with OpenDirectory.open(str(top)) as at, at.atomic_write("g") as file:
        file.write(b"x")
    assert os.listdir(top) == ["g"]


# ---- paths that the caller named -------------------------------------------------------------------------------------


def test_the_callers_own_links_are_followed(top, theirs, tmp_path):
    (tmp_path / "mine").symlink_to(theirs)
    with caller_paths.atomic_write(str(tmp_path / "mine/deep/x"), str(top), make=True) as file:
        file.write(b"x")
    assert (theirs / "deep/x").read_text() == "x"


@pytest.mark.parametrize("by", ["path", "link"])
def test_links_of_the_project_are_not(top, theirs, tmp_path, by):
    (top / "reports").symlink_to(theirs)
    (tmp_path / "way").symlink_to(top)
    named = top if by == "path" else tmp_path / "way"
    for project in (top, tmp_path / "way"):
        with pytest.raises(OSError), caller_paths.atomic_write(str(named / "reports/x"), str(project)) as file:
            file.write(b"x")
    assert os.listdir(theirs) == ["file"]
    with caller_paths.atomic_write(str(named / "new/x"), str(top), make=True) as file:
        file.write(b"x")
    assert (top / "new/x").read_text() == "x"


def test_devices_stay_devices(capfd):
    for path in ("/dev/null", "/dev/stdout", "/dev/fd/1"):
        before = os.lstat(path).st_ino if path != "/dev/fd/1" else 0
        with caller_paths.atomic_write(path) as file:
            file.write(b"said\n")
        assert before in (0, os.lstat(path).st_ino)
    assert capfd.readouterr().out == "said\nsaid\n"


# ---- races -----------------------------------------------------------------------------------------------------------


def _swap(top, outside, end):
    """Put a link, a directory of root and one of ours in the place of `d`, as fast as can be."""
    while not end.is_set():
        for make in (lambda: os.symlink(outside, f"{top}/d"), lambda: os.mkdir(f"{top}/d")):
            try:
                make()
                os.rename(f"{top}/d", f"{top}/away")
                (os.rmdir if os.path.isdir(f"{top}/away") and not os.path.islink(f"{top}/away") else os.unlink)(
                    f"{top}/away"
                )
            except OSError:
                try:
                    os.rename(f"{top}/d", f"{top}/{time.monotonic_ns()}")
                except OSError:
                    continue


def test_a_directory_that_is_swapped_while_we_write(top, theirs, depth):
    fork = multiprocessing.get_context("fork")
    end = fork.Event()
    process = fork.Process(target=_swap, args=(str(top), str(theirs), end))
    process.start()
    went = 0
    try:
        for _ in depth.times(300, 20_000):
            try:
                with OpenDirectory.open(str(top)) as at, at.open_below("d/e", make=True) as inner:
                    with inner.atomic_write("f", sync=False) as file:
                        file.write(b"x")
                    inner.remove("f")
                went += 1
            except OSError:
                continue
    finally:
        end.set()
        process.join()
    assert os.listdir(theirs) == ["file"]
    assert went


@pytest.mark.skipif(not ROOT, reason="only root gives away")
def test_what_root_did_not_make_is_not_given_away(top, monkeypatch):
    """Somebody is faster: between mkdir and open, root's own directory is in the place of the new one."""
    secret = top / "secret"
    secret.mkdir(0o700)
    (secret / "key").write_text("root's")
    real = directory.open_beneath

    def swapped(at, name, *rest, **more):
        if name == "new" and os.path.isdir(top / "new") and secret.exists():
            os.rmdir(top / "new")
            os.rename(secret, top / "new")
        return real(at, name, *rest, **more)

    monkeypatch.setattr(directory, "open_beneath", swapped)
    with OpenDirectory.open(str(top)) as at:
        at.owner = OTHER
        at.make_directory("new").close()
    assert (top / "new/key").exists()
    assert ((top / "new").stat().st_uid, stat.S_IMODE((top / "new").stat().st_mode)) == (0, 0o700)


def test_what_was_not_written_is_not_written_into_another_file(top):
    """A buffer outlives its descriptor's number, which the next file gets."""
    with OpenDirectory.open(str(top)) as at:
        with pytest.raises(ZeroDivisionError), at.atomic_write("f") as file:
            file.write(b"half")
            raise ZeroDivisionError
        with open(top / "other", "w+b") as other:
            del file
            gc.collect()
            assert os.fstat(other.fileno()).st_size == 0

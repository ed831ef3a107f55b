import fcntl
import os
import shutil
import time

import pytest

from envtool.project import rundir


def test_each_run_has_its_directory_and_last_is_the_newest(tmp_path):
    first, _ = rundir.open_run(str(tmp_path))
    rundir.close_run(str(tmp_path), first)
    assert os.path.samefile(tmp_path / ".envtool/last", first)
    assert (tmp_path / ".envtool/.gitignore").read_text() == "*\n"


def test_old_runs_go(tmp_path):
    runs = tmp_path / ".envtool" / "runs"
    runs.mkdir(parents=True)
    for number in range(30):
        (runs / f"20200101T0000{number:02}-1").mkdir()
    newest, _ = rundir.open_run(str(tmp_path))
    rundir.close_run(str(tmp_path), newest)
    left = sorted(os.listdir(runs))
    assert len(left) == rundir.MAX_RUNS
    assert os.path.basename(newest) in left


def test_a_run_that_is_under_way_stays(tmp_path):
    """Twenty at once in one project: the first that ends must not take away what the others are about to write."""
    under_way, _ = rundir.open_run(str(tmp_path))
    for number in range(30):
        (tmp_path / f".envtool/runs/29990101T0000{number:02}-1").mkdir()
    with rundir.create_file(rundir.log_path(under_way, "unit", "test")) as file:
        file.write(b"x")
    other = tmp_path / ".envtool/runs/20200101T000000-1"
    other.mkdir()
    newest, _ = rundir.open_run(str(tmp_path))
    rundir.close_run(str(tmp_path), newest)
    assert os.path.isfile(f"{under_way}/unit.test.log")
    assert not other.exists()
    rundir.close_run(str(tmp_path), under_way)
    assert not os.path.exists(under_way)


def test_a_run_that_another_one_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Eleven begin in one second, and the newest that ends takes away those that sort before it."""
    lock, removed = fcntl.flock, []

    def too_late(descriptor, operation):
        if operation == fcntl.LOCK_SH and not removed:
            removed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.rmdir(removed[0])
        lock(descriptor, operation)

    monkeypatch.setattr(rundir.fcntl, "flock", too_late)
    run, note = rundir.open_run(str(tmp_path))
    assert (removed, note) == ([run], "")
    with rundir.create_file(rundir.log_path(run, "unit", "test")) as file:
        file.write(b"x")
    assert os.path.isfile(f"{run}/unit.test.log")
    rundir.close_run(str(tmp_path), run)


def test_names_of_envs_are_file_names(tmp_path):
    assert os.path.basename(rundir.log_path("/r", "unit[3.11,a/b]", "test it")) == "unit[3.11,a_b].test_it.log"


def test_a_project_that_cannot_be_written_has_its_evidence_elsewhere(tmp_path):
    (tmp_path / ".envtool").write_text("in the way")
    run, _ = rundir.open_run(str(tmp_path))
    assert os.path.isdir(run)
    assert not run.startswith(str(tmp_path))
    rundir.close_run(str(tmp_path), run)
    os.rmdir(run)


# ---- what came with the checkout --------------------------------------------------------------------------------------

ROOT = os.geteuid() == 0


def theirs(tmp_path):
    """Somebody's home, with directories that are called like runs; and the project beside it."""
    home, project = tmp_path / "home", tmp_path / "project"
    project.mkdir()
    for number in range(30):
        (home / f"20200101T0000{number:02}-1").mkdir(parents=True)
        (home / f"20200101T0000{number:02}-1" / "file").write_text("theirs")
    return home, project


def look(home):
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_uid) for path in home.rglob("*"))


def cycle(project):
    """A run from its beginning to its end; its note."""
    run, note = rundir.open_run(str(project))
    log = rundir.log_path(run, "unit", "test")
    with rundir.create_file(log) as file:
        file.write(b"said")
    with rundir.open_file(log) as file:
        assert file.read() == b"said"
    rundir.close_run(str(project), run)
    assert run.startswith(str(project)) == (not note)
    if note:
        shutil.rmtree(run)
    return note


@pytest.mark.parametrize("at", [".envtool", ".envtool/runs"])
@pytest.mark.parametrize("trap", ["link", "relative", "dangling", "loop", "file", "fifo"])
def test_a_clone_deletes_nothing(tmp_path, at, trap):
    home, project = theirs(tmp_path)
    place = project / at
    place.parent.mkdir(exist_ok=True)
    match trap:
        case "link":
            place.symlink_to(home)
        case "relative":
            place.symlink_to(os.path.relpath(home, place.parent))
        case "dangling":
            place.symlink_to(home / "new")
        case "loop":
            place.symlink_to(place.name)
        case "file":
            place.write_text("in the way")
        case "fifo":
            os.mkfifo(place)
    before = look(home)
    note = cycle(project)
    assert look(home) == before
    assert note.startswith("the logs of this run are in /")
    assert place.name in note


def test_links_among_the_runs_are_taken_away_and_not_followed(tmp_path):
    home, project = theirs(tmp_path)
    runs = project / ".envtool/runs"
    runs.mkdir(parents=True)
    for number in range(12):
        (runs / f"20200101T0000{number:02}-1").symlink_to(home)
    (runs / "20200101T000030-1/deep").mkdir(parents=True)
    (runs / "20200101T000030-1/deep/link").symlink_to(home)
    (runs / "0-theirs").mkdir()
    (runs / "20200101T000000-x").mkdir()
    before = look(home)
    assert not cycle(project)
    for _ in range(rundir.MAX_RUNS):
        time.sleep(0)
        assert not cycle(project)
    assert look(home) == before
    left = {*os.listdir(runs)}
    assert {"0-theirs", "20200101T000000-x"} <= left
    assert len(left) == rundir.MAX_RUNS + 2


@pytest.mark.parametrize("trap", ["directory", "full", "file", "link", "fifo"])
def test_whatever_last_is(tmp_path, trap):
    home, project = theirs(tmp_path)
    last = project / ".envtool/last"
    last.parent.mkdir()
    match trap:
        case "directory":
            last.mkdir()
        case "full":
            (last / "file").mkdir(parents=True)
        case "file":
            last.write_text("x")
        case "link":
            last.symlink_to(home)
        case "fifo":
            os.mkfifo(last)
    before = look(home)
    assert not cycle(project)
    assert look(home) == before
    assert last.is_symlink() == (trap not in ("directory", "full"))
    assert {*os.listdir(last.parent)} == {".gitignore", "last", "runs"}


def test_a_run_that_was_guessed_is_not_used(tmp_path, monkeypatch):
    home, project = theirs(tmp_path)
    monkeypatch.setattr(rundir.time, "strftime", lambda *_: "20261126T131235")
    runs = project / ".envtool/runs"
    runs.mkdir(parents=True)
    (runs / f"20261126T131235-{os.getpid()}").symlink_to(home)
    before = look(home)
    assert not cycle(project)
    assert look(home) == before
    assert len(os.listdir(runs)) == 2


def test_a_log_is_not_read_through_a_link(tmp_path):
    home, project = theirs(tmp_path)
    run, _ = rundir.open_run(str(project))
    rundir.close_run(str(project), run)
    os.symlink(home / "20200101T000000-1/file", f"{run}/unit.test.log")
    with pytest.raises(OSError):
        rundir.open_file(f"{run}/unit.test.log")
    os.rename(run, f"{run}.away")
    os.symlink(f"{run}.away", run)
    with pytest.raises(OSError):
        rundir.open_file(f"{run}/unit.test.log")


@pytest.mark.skipif(not ROOT, reason="only root can give away")
def test_what_is_not_new_is_not_given_away(tmp_path):
    """root in another's checkout: what is there keeps its owner, what is made is the other's."""
    home, project = theirs(tmp_path)
    top = project / ".envtool"
    top.mkdir()
    os.link(home / "20200101T000000-1/file", top / ".gitignore")
    for path in (project, top):
        os.chown(path, 4711, 4711)
    before = look(home)
    assert not cycle(project)
    assert look(home) == before
    for path in (top / "runs", *(top / "runs").rglob("*"), top / "last"):
        assert path.lstat().st_uid == 4711, path


@pytest.mark.skipif(not ROOT, reason="only root can give away")
@pytest.mark.parametrize("at", [".envtool", ".envtool/runs"])
def test_anothers_directory_is_not_used(tmp_path, at):
    _, project = theirs(tmp_path)
    (project / at).mkdir(parents=True)
    os.chown(project / at, 4712, 4712)
    os.chown(project, 4711, 4711)
    assert "belongs to another user" in cycle(project)
    assert (project / at).stat().st_uid == 4712
    assert not [*(project / at).rglob("*")] or at == ".envtool"

"""Which files of a project changed, and what appears in a checkout that containers write to."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time

import pytest

from envtool.errors import SandboxError, UsageError
from envtool.services.up import tree_watch
from envtool.services.up.project_watch import ProjectWatch
from envtool.services.up.tree_watch import TreeWatch
from envtool.services.up.watched_changes import AFTER_SECONDS, TIMES, WatchedChanges
from envtool.services.up.writable_checkout import Checkout, CheckoutGuard

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    shell(
        root,
        "git init -q . && echo 'ign/\n*.log' > .gitignore && mkdir -p sub ign && echo a > a.py && echo b > sub/b.py",
    )
    shell(root, "echo spec > envtool.yaml; echo lock > envtool.lock; git add .")
    return root


def shell(root, line: str) -> None:
    subprocess.run(["/bin/sh", "-ec", line], cwd=root, check=True)


@contextlib.contextmanager
def running(work):
    """Calls `work(descriptor)` in a thread, until the context ends."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=work, args=(reader,))
    thread.start()
    try:
        yield
    finally:
        os.close(writer)
        thread.join(10)
        os.close(reader)
        assert not thread.is_alive()


@contextlib.contextmanager
def guarded(project):
    """A guard of the project's checkout that runs, and the paths that it reports."""
    found: list[str] = []
    reader, writer = os.pipe()
    guard = CheckoutGuard(checkout(project), reader, found.append)
    guard.start()
    with running(lambda _: guard.run()):
        try:
            yield guard, found
        finally:
            os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("name", ["..git", "..", "sub/..x"])
def test_the_directory_that_a_git_file_names(project, name):
    """A name may begin with two points and be in the checkout."""
    shell(project, f"mkdir -p sub {name}; touch {name}/config; echo 'gitdir: ../{name}' > sub/.git")
    paths = {item.path for item in Checkout(str(project), ()).protected()}
    assert (name in paths) == (name != "..")


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("echo 2 > a.py", {"a.py"}),
        ("echo 2 > new; mv new a.py", {"a.py"}),
        ("chmod +x a.py", {"a.py"}),
        ("mkdir -p x/y/z; echo 1 > x/y/z/q", {"x/y/z/q"}),
        ("mkdir x; sleep 0.4; echo 1 > x/q", {"x/q"}),
        ("mv sub moved", {"sub/b.py", "moved/b.py"}),
        ("rm -r sub", {"sub/b.py"}),
        ("ln -s a.py link", {"link"}),
        ("touch a.py; echo a > a.py; echo x > ign/x; echo x > y.log; mkdir empty; echo 2 > sub/b.py", {"sub/b.py"}),
    ],
)
def test_what_changed(project, tmp_path, line, changed):
    found: set[str] = set()
    ready = threading.Event()

    def work(stop: int) -> None:
        watch = ProjectWatch(str(project), str(tmp_path / "record"), stop, found.update, errors.append)
        look = watch._look

        def noted(inotify):
            entries = look(inotify)
            ready.set()
            return entries

        watch._look = noted
        watch.run()

    errors: list[object] = []
    with running(work):
        assert ready.wait(10)
        shell(project, line)
        until(lambda: found == changed)
        time.sleep(0.3)
    assert found == changed
    assert not errors


def test_what_changes_after_each_restart_counts_no_more():
    now = [0.0]
    changes = WatchedChanges(lambda: now[0])

    def select(*paths, after):
        now[0] += after
        result = changes.select({*paths})
        changes.note_restart(result[0])
        return result

    for _ in range(TIMES):
        assert select("log", after=1) == ({"log"}, set())
    assert select("log", "other", after=1) == ({"other"}, {"log"})
    assert select("log", after=1) == (set(), set())
    changes.forget()
    for _ in range(3 * TIMES):
        assert select("log", after=AFTER_SECONDS + 1) == ({"log"}, set()), "somebody edits it"
    for number in range(3 * TIMES):
        assert select(f"{number}", after=1) == ({f"{number}"}, set())
    for number in range(3 * TIMES):
        assert select("log" if number % TIMES else "other", after=1)[1] == set(), "not so often in a row"


def test_the_limit_of_watches_is_named(project, monkeypatch):
    def refuse(name, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree_watch.syscalls, "syscall", refuse)
    with pytest.raises(SandboxError, match="max_user_instances"):
        TreeWatch(str(project))
    monkeypatch.undo()
    with TreeWatch(str(project)) as watch:
        monkeypatch.setattr(tree_watch.syscalls, "syscall", refuse)
        with pytest.raises(SandboxError, match="max_user_watches"):
            watch.add("")


# ---- the guard -------------------------------------------------------------------------------------------------------


def checkout(root) -> Checkout:
    found = Checkout(str(root), ("envtool.yaml", "envtool.lock", "specs/more.yaml"))
    (root / "specs").mkdir(exist_ok=True)
    (root / "specs/more.yaml").write_text("more")
    found.prepare()
    return found


def test_what_is_protected(project):
    shell(
        project,
        "git init -q sub/inner; git init -q --bare bare; mkdir -p ign/deep/.GIT real w; echo gitdir: ../real > w/.git",
    )
    shell(project, "echo x > sub/envtool.yaml; mkdir -p x/objects x/refs; echo ref > y")
    paths = [item.path for item in checkout(project).protected()]
    assert paths == [
        ".envtool", ".git", "bare", "envtool.lock", "envtool.yaml", "ign/deep/.GIT", "real", "specs/more.yaml",
        "sub/envtool.yaml", "sub/inner/.git", "w/.git",
    ]  # fmt: skip
    assert (project / ".envtool/.gitignore").read_text() == "*\n"


def test_a_link_and_a_missing_file_are_refused(project):
    made = checkout(project)
    os.symlink("/tmp", project / "sub/.git")
    with pytest.raises(UsageError, match=r"`sub/\.git` is a link"):
        made.protected()
    (project / "envtool.lock").unlink()
    with pytest.raises(UsageError, match=r"needs `envtool\.lock`"):
        made.prepare()


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("mkdir -p q/w && git init -q q/w", "q/w/.git"),
        ("git init -q --bare q", "q"),
        ("echo x > n; mv n envtool.yaml", "envtool.yaml"),
        ("echo x > n; mv n specs/more.yaml", "specs/more.yaml"),
        ("mkdir -p ign/x/.Git", "ign/x/.Git"),
        ("ln -s /tmp sub/.git", "sub/.git"),
        ("rm -rf .git; mkdir .git", ".git"),
        ("mkdir envtool.vendor", "envtool.vendor"),
        ("mv outside inside", "inside/.git"),
    ],
)
def test_what_the_guard_reports(project, tmp_path, line, path):
    made = checkout(project)
    if "outside" in line:
        line = f"mv {tmp_path}/outside inside"
        shell(tmp_path, "git init -q outside")
    found: list[str] = []
    reader, writer = os.pipe()
    guard = CheckoutGuard(made, reader, found.append)
    guard.start()
    with running(lambda _: guard.run()):
        try:
            shell(project, line)
            until(lambda: found)
            with pytest.raises(UsageError):
                guard.protected()
        finally:
            os.close(writer)
    os.close(reader)
    assert {*found} == {path}


def test_the_guard_outlives_what_vanishes(project):
    """Files that come and go while it looks, as git's own do, do not end it."""
    with guarded(project) as (_, found):
        shell(
            project,
            "for i in $(seq 150); do mkdir -p t/objects t/refs; echo > t/HEAD.lock; rm -r t; mkdir objects refs;"
            " echo > x; mv x y; rm -r objects refs y; done",
        )
        assert not found
        shell(project, "git init -q --bare last")
        until(lambda: found)
    assert {*found} == {"last"}


def test_what_cannot_be_watched_any_more_is_reported(project, monkeypatch):
    made = checkout(project)
    found: list[str] = []
    reader, writer = os.pipe()
    guard = CheckoutGuard(made, reader, found.append)
    guard.start()

    def refuse(self, directory):
        raise SandboxError("no more watches", code="watch-limit")

    monkeypatch.setattr(TreeWatch, "add", refuse)
    with running(lambda _: guard.run()):
        shell(project, "mkdir new")
        until(lambda: found)
        os.close(writer)
    os.close(reader)
    assert found == [""]


def test_what_the_guard_lets_pass(project):
    shell(project, "git init -q sub/inner")
    with guarded(project) as (guard, found):
        shell(
            project,
            "mkdir -p objects refs; echo 1 > HEADS; echo 2 > a.py; rm -r ign; mv sub other; touch .gitignore; echo 1 > .git/x",
        )
        time.sleep(0.3)
        assert "other/inner/.git" in [item.path for item in guard.protected()]
    assert not found

"""What a container never looked up of its project: the kernel's own word for it, in real containers.

A file that counts as unread was neither opened nor asked about. What was read in a way that leaves no name counts as
read.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from envtool.container import looked_up_names
from tests.e2e import test_container as container_tests
from tests.e2e.test_container import go, project, tree

pytestmark = pytest.mark.e2e
__all__ = ["project", "tree"]
ALL = {"a.txt", "src", "junk", "secret"}


def unread(tree: str, project: Path, script: str, **options: object) -> set[str]:
    """The names that a script never looked up."""
    result = go(tree, f"cd /project; {script}", project=project, observe="/project", **options)
    assert result.status == 0, result.out
    assert result.exit.unread_reason == ""
    assert result.exit.unread is not None
    return {*result.exit.unread}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("true", ALL),
        ("cat a.txt", ALL - {"a.txt"}),
        ("cd src; cat ../a.txt", ALL - {"a.txt", "src"} | {"src/b.txt", "src/c.pyc"}),
        ("cat /proc/self/cwd/a.txt", ALL - {"a.txt"}),
        ("stat a.txt", ALL - {"a.txt"}),
        ("test -x a.txt || true", ALL - {"a.txt"}),
        ("test -e src/b.txt", ALL - {"src"} | {"src/c.pyc"}),
        ("readlink a.txt || true", ALL - {"a.txt"}),
        ("./a.txt || true", ALL - {"a.txt"}),
        ("ls -1 . src junk", {"a.txt", "src/b.txt", "src/c.pyc", "junk/deep", "secret"}),
        ("ls -l .", set()),  # it asks about each
        ("test -e missing || true", ALL),
    ],
)
def test_what_was_opened_or_asked_about(tree, project, script, expected):
    names = unread(tree, project, script)
    if script == "ls -l .":
        assert not names & {"a.txt", "src", "junk", "secret"}
    else:
        assert names == expected


@pytest.mark.parametrize(
    ("script", "read"),
    [
        ("ln a.txt x; cat x; rm x a.txt", "a.txt"),  # by another name, and then all names go
        ("ln a.txt /project/src/x; cat src/x", "a.txt"),
        ("mv a.txt src/x; cat src/x", "a.txt"),
        ("cp -r src src2; rm -r src; mv src2 src", "src/b.txt"),
        ("cat src/b.txt; rm -r src; mkdir src; touch src/b.txt", "src/b.txt"),
        ("cat src/b.txt; rm -r src", "src/b.txt"),
        ("cat src/b.txt; mv src old; cp -r old src", "src/b.txt"),
        ("cat a.txt; mv secret a.txt", "a.txt"),
        ("cat a.txt; mv a.txt secret", "a.txt"),
        ("truncate -s 0 a.txt", "a.txt"),
        ("exec 3< a.txt; rm a.txt; cat <&3; touch a.txt", "a.txt"),
    ],
)
def test_what_was_moved_linked_or_removed_counts_as_read(tree, project, script, read):
    """What is unread is listed at the end, by its own name, and was never looked up."""
    names = unread(tree, project, script)
    parts = read.split("/")
    assert not names & {"/".join(parts[: number + 1]) for number in range(len(parts))}


def test_what_the_container_wrote_counts_as_read(tree, project):
    assert unread(tree, project, "touch src/new; ls src") == ALL - {"src"} | {"src/b.txt", "src/c.pyc"}


def test_hidden_files_are_not_there(tree, project):
    assert unread(tree, project, "ls junk", hidden=("junk/deep", "secret")) == {"a.txt", "src"}


def test_names_that_are_no_utf_8(tree, project):
    name = os.fsdecode(b"\xff\n")
    (project / name).write_text("")
    assert unread(tree, project, "cat a.txt") == ALL - {"a.txt"} | {name}


def test_a_step_that_fails_is_recorded_too(tree, project):
    result = go(tree, "cd /project; cat a.txt; exit 3", project=project, observe="/project")
    assert (result.status, {*result.exit.unread}) == (3, ALL - {"a.txt"})


def test_nothing_is_recorded_unless_asked_for(tree, project):
    result = go(tree, "true", project=project)
    assert (result.exit.unread, result.exit.unread_reason) == (None, "")


def test_names_that_the_kernel_dropped_are_not_known(tree, project, monkeypatch):
    """Memory that runs short looks like this: names that were looked up are gone, and the canaries, the oldest,
    first."""
    monkeypatch.setattr(looked_up_names.LookupRecord, "begin", lambda self: None)
    result = go(tree, "cd /project; cat a.txt", project=project, observe="/project")
    assert result.exit.unread is None
    assert result.exit.unread_reason == looked_up_names.MEMORY_SHORT


def test_a_machine_with_several_nodes_of_memory(tree, project, monkeypatch):
    """Each node has its own list of names, and the canaries are in one: any search for memory to free counts."""
    monkeypatch.setattr(looked_up_names, "_has_several_nodes", lambda: True)
    result = go(tree, "cd /project; cat a.txt", project=project, observe="/project")
    assert result.exit.unread is None or {*result.exit.unread} == ALL - {"a.txt"}
    counts = iter([b"slabs_scanned 1", b"slabs_scanned 2"])
    monkeypatch.setattr(looked_up_names.LookupRecord, "_scanned_slabs", lambda self: next(counts))
    result = go(tree, "cd /project; cat a.txt", project=project, observe="/project")
    assert (result.exit.unread, result.exit.unread_reason) == (None, looked_up_names.MEMORY_SHORT)


def test_a_kernel_that_does_not_say(tree, project, monkeypatch):
    """Each name of a directory appears unread, also one that was just looked up."""
    real, asked = looked_up_names.syscalls.open_looked_up, list[str]()

    def ask(directory: int, name: str) -> int:
        asked.append(name)
        return real(directory, name) if len(asked) <= 16 else -errno.EAGAIN

    monkeypatch.setattr(looked_up_names.syscalls, "open_looked_up", ask)
    result = go(tree, "cd /project; cat a.txt", project=project, observe="/project")
    assert (result.exit.unread, result.exit.unread_reason) == (None, looked_up_names.NO_KERNEL)


def test_too_many_names(tree, project, monkeypatch):
    monkeypatch.setattr(looked_up_names, "MAX_NAMES", 2)
    result = go(tree, "cd /project; cat a.txt", project=project, observe="/project")
    assert (result.exit.unread, result.exit.unread_reason) == (None, looked_up_names.TOO_MANY)


def _users() -> list[str]:
    """An ordinary user with a range of ids, and one without."""
    return container_tests._users()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("name", _users() if os.geteuid() == 0 and os.path.exists("/etc/subuid") else [])
def test_again_as_an_ordinary_user(name, tmp_path_factory):
    container_tests.run_again_as(name, __file__)

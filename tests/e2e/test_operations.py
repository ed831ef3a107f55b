"""`envtool -vv exec` prints the operations that make its container, and the container is as they say."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.one_caller]

MOUNTS = ("proc", "sysfs", "dev", "empty", "devpts", "mqueue", "project", "bind", "hosts", "account", "file")
OTHERS = ("root", "device", "symlink", "mask", "readonly")
# The mount of the file that is seen at each path, then all mounts: another one where a later mount covers a path.
LOOK = 'for path; do exec 3<"$path"; sed -n "s/^mnt_id:[[:space:]]*//p" /proc/self/fdinfo/3; done; cat /proc/self/mountinfo'


def printed(done, first="root "):
    """The lines of the operations: (kind, target)."""
    lines = done.err[done.err.index(first) :].splitlines()
    return [tuple(line.split()[:2]) for line in lines]


def test_the_operations_of_exec_are_printed_and_none_is_covered(place):
    place.task("true")
    place.write("data.txt", "data\n")
    done = place.envtool("-vv", "exec", "unit", "--", "true")
    assert done.status == 0, done.said
    rows = printed(done)
    assert {kind for kind, _ in rows} <= {*MOUNTS, *OTHERS}
    assert rows[0] == ("root", "/")
    assert ("project", "/project") in rows
    assert done.out == ""
    targets = [target for kind, target in rows if kind in MOUNTS]
    seen = place.envtool("exec", "-v", "unit", "--", "sh", "-c", LOOK, "sh", *targets)
    lines = seen.out.splitlines()
    places = {fields[0]: fields[4] for fields in map(str.split, lines[len(targets) :])}
    assert [places[number] for number in lines[: len(targets)]] == targets
    links = [target for kind, target in rows if kind == "symlink"]
    read = place.envtool("exec", "unit", "--", "sh", "-c", "for path; do readlink $path; done", "sh", *links)
    assert len(read.out.split()) == len(links) == 5
    assert "root " not in seen.err
    assert "root " not in read.err


@pytest.mark.parametrize("words", [("-vv", "exec"), ("-v", "exec", "-v"), ("exec", "-vv"), ("exec", "-v", "--verbose")])
def test_verbose_counts_wherever_it_is(place, words):
    place.task("true")
    done = place.envtool(*words, "unit", "--", "true")
    assert printed(done)[0] == ("root", "/")

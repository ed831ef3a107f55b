"""fs/changes.py: what a directory went through by us alone."""

from __future__ import annotations

import os
import threading

from hypothesis import given
from hypothesis import strategies as st

from envtool.fs.changes import DirectoryChanges, directory_state
from envtool.fs.directory import OpenDirectory


def states(directory):
    return directory_state(os.fstat(directory.fd))


def write(directory, name):
    with directory.atomic_write(name, sync=False) as file:
        file.write(b"x")


def opened(path, changes):
    directory = OpenDirectory.open(str(path))
    directory.changes = changes
    return directory


def test_what_we_do_is_ours_alone(tmp_path):
    changes = DirectoryChanges()
    with opened(tmp_path, changes) as directory:
        before = states(directory)
        write(directory, "a")
        directory.link("b", "a")
        directory.open_below("c/d", make=True).close()
        directory.discard("a")
        with directory.open_below("c") as inner:
            assert inner.changes is changes
        assert states(directory) != before
        assert changes.only_ours(before, states(directory))


def test_what_others_do_is_not(tmp_path):
    changes = DirectoryChanges()
    with opened(tmp_path, changes) as directory:
        write(directory, "a")
        before = states(directory)
        os.utime(tmp_path, (1, 1))
        write(directory, "b")
        assert not changes.only_ours(before, states(directory))
        assert changes.only_ours(states(directory), states(directory))


def test_many_threads_are_one_of_us(tmp_path):
    changes = DirectoryChanges()
    with opened(tmp_path, changes) as directory:
        before = states(directory)
        threads = [threading.Thread(target=write, args=(directory, str(number))) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert changes.only_ours(before, states(directory))


@given(st.lists(st.booleans(), max_size=30), st.data())
def test_a_chain_breaks_where_somebody_else_came_between(ours, data):
    changes = DirectoryChanges()
    row = [(1, 1, number, number) for number in range(len(ours) + 1)]
    for number, own in enumerate(ours):
        if own:
            changes.note(row[number], row[number + 1])
    first = data.draw(st.integers(0, len(ours)))
    last = data.draw(st.integers(first, len(ours)))
    assert changes.only_ours(row[first], row[last]) == all(ours[first:last])

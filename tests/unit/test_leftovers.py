"""What a test leaves fails it (tests/leftovers.py), and nothing else does."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from tests import leftovers
from tests.leftovers import descriptors, mounts, nothing_left, processes, threads


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(leftovers, "SECONDS", 0.2)


def test_a_descriptor_that_is_left(at_once, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(AssertionError, match=rf"left behind: descriptor \d+: {file}$"), nothing_left(descriptors):
        number = os.open(file, os.O_RDONLY)
    os.close(number)


def test_one_that_has_the_number_of_one_that_went(at_once, tmp_path):
    reader, writer = os.pipe()
    file = tmp_path / "file"
    file.touch()
    other = os.open(file, os.O_RDONLY)
    with pytest.raises(AssertionError, match=f"left behind: descriptor {reader}: {file}"), nothing_left(descriptors):
        os.dup2(other, reader)
    for number in (reader, writer, other):
        os.close(number)


def test_a_thread_that_is_left(at_once):
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="never ends")
    with pytest.raises(AssertionError, match=r"left behind: thread \d+: never ends"), nothing_left(threads):
        thread.start()
    end.set()
    thread.join()


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_process_that_is_left(at_once, has_ended):
    with pytest.raises(AssertionError, match=r"left behind: process \d+: (cat )?$"), nothing_left(processes):
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        if has_ended:  # and nobody waits for it
            process.stdin.close()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.communicate()


def test_a_mount_that_is_left(at_once, monkeypatch):
    rows = [{}, {"row": "mount 31 28 0:27 / /left"}]
    monkeypatch.setattr(leftovers, "mounts", lambda: rows.pop(0) if len(rows) > 1 else rows[0])
    with pytest.raises(AssertionError, match=r"left behind: mount 31 28 0:27 / /left"), nothing_left(leftovers.mounts):
        pass
    assert any(" / / " in name for name in mounts().values())


def test_what_ends_a_little_later_is_not_left():
    reader, writer = os.pipe()
    with nothing_left(descriptors, threads):
        copy = os.dup(writer)
        threading.Timer(0.1, os.close, (copy,)).start()
    os.close(reader)
    os.close(writer)


def test_what_has_another_name_is_the_same(at_once, tmp_path):
    with open(tmp_path / "file", "w"), nothing_left(descriptors):
        (tmp_path / "file").unlink()


def test_what_was_there_may_go():
    reader, writer = os.pipe()
    with nothing_left(descriptors):
        os.close(reader)
        os.close(writer)


def test_what_begins_after_the_body_is_anothers(monkeypatch):
    """A server of another test answers one request after the other."""
    numbers = iter(range(100))

    def look():
        return {number: str(number) for number in [next(numbers)]}

    monkeypatch.setattr(leftovers, "SECONDS", 60.0)
    with nothing_left(look):
        pass
    assert next(numbers) < 10

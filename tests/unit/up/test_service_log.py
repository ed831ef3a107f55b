"""The log of all services of a project."""

from __future__ import annotations

import errno
import os

import pytest

from envtool.services.up import service_log
from envtool.services.up.service_log import LOG, MAX_LINE, OLD, LogReader, ServiceLog


@pytest.fixture
def log(tmp_path):
    log = ServiceLog(str(tmp_path))
    yield log
    log.close()


def texts(directory, names=(), count=None):
    return [(line.replica, line.text) for line in LogReader(str(directory), names).last(count)]


def test_lines_of_several_replicas(log, tmp_path):
    log.feed("api-1", b"one\ntw")
    log.feed("api-2", b"other\r\n")
    log.feed("api-1", b"o\n\nlast")
    log.note("a note\nof two lines")
    log.end("api-1")
    log.end("api-1")
    assert texts(tmp_path) == [
        ("api-1", "one"), ("api-2", "other"), ("api-1", "two"), ("api-1", ""),
        ("envtool", "a note"), ("envtool", "of two lines"), ("api-1", "last"),
    ]  # fmt: skip
    assert texts(tmp_path, ["api-2"]) == [("api-2", "other")]
    assert len(texts(tmp_path, ["api"])) == 5
    assert texts(tmp_path, (), 2) == [("envtool", "of two lines"), ("api-1", "last")]
    assert texts(tmp_path, (), 0) == []


def test_how_a_replica_ended_is_in_its_log(log, tmp_path):
    log.feed("api-1", b"boom\n")
    log.note("api-1 ended with 1, and starts again (1)")
    log.note("api-1 is ready")
    log.note("db-1 did not end within its grace, and was killed")
    log.note("stopped")
    assert texts(tmp_path, ["api"]) == [("api-1", "boom"), ("envtool", "api-1 ended with 1, and starts again (1)")]
    assert texts(tmp_path, ["api-1"]) == texts(tmp_path, ["api"])
    assert texts(tmp_path, ["db"]) == [("envtool", "db-1 did not end within its grace, and was killed")]


def test_long_lines_are_several(log, tmp_path):
    log.feed("a-1", b"x" * (2 * MAX_LINE + 5))
    log.feed("a-1", b"y\n")
    assert [len(text) for _, text in texts(tmp_path)] == [MAX_LINE, MAX_LINE, 6]


def test_bytes_that_are_no_text(log, tmp_path):
    log.feed("a-1", b"\xff \x1b[31mred\x1b[0m \x00\n")
    assert texts(tmp_path) == [("a-1", "� \x1b[31mred\x1b[0m \x00")]


def test_follow_over_new_files(log, tmp_path, monkeypatch):
    monkeypatch.setattr(service_log, "LIMIT", 200)
    reader = LogReader(str(tmp_path))
    assert reader.last(None) == []
    found = []
    for number in range(30):
        log.feed("a-1", b"line %d\n" % number)
        if number % 2:
            found += [line.text for line in reader.new()]
    assert found == [f"line {number}" for number in range(30)]
    assert (tmp_path / OLD).exists()
    assert os.path.getsize(tmp_path / LOG) <= 200
    last = [text for _, text in texts(tmp_path)]
    assert last == [f"line {number}" for number in range(30 - len(last), 30)]
    reader.close()


def test_a_new_file_that_cannot_be_made(log, tmp_path, monkeypatch):
    """The log writes to no other file, whoever gets the number of its closed descriptor."""
    monkeypatch.setattr(service_log, "LIMIT", 100)
    log.feed("a-1", b"x" * 90 + b"\n")
    opened = []

    def refuse(*_, **__):
        opened.append(os.open(tmp_path / "another", os.O_RDWR | os.O_CREAT))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "_open", refuse)
    for _ in range(3):
        log.feed("a-1", b"y" * 90 + b"\n")
    assert (tmp_path / "another").read_bytes() == b""
    monkeypatch.undo()
    log.feed("a-1", b"z\n")
    assert texts(tmp_path)[-1] == ("a-1", "z")
    for descriptor in opened:
        os.close(descriptor)


def test_half_a_line_of_a_full_disk(tmp_path):
    (tmp_path / LOG).write_bytes(b"12.5 a-1 whole\n13.0\nx y z\n12.5 b\xff-1 z\n14.0 a-1 more\n")
    assert texts(tmp_path) == [("a-1", "whole"), ("a-1", "more")]


def test_a_closed_log_takes_no_more(log, tmp_path):
    log.close()
    log.note("too late")
    assert texts(tmp_path) == []

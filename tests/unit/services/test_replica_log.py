"""What replicas print: a file that stays small, last lines in memory, one thread for all."""

from __future__ import annotations

import os
import tempfile
import threading

import pytest

from envtool.fs.masking import SecretForms
from envtool.services import replica_log
from envtool.services.replica_log import LogPump, ReplicaLog
from tests.leftovers import descriptors, nothing_left, threads


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as opened:
        yield opened


def content(file):
    return os.pread(file.fileno(), 1 << 20, 0)


def test_a_file_stays_small(file, monkeypatch):
    monkeypatch.setattr(replica_log, "LIMIT", 1000)
    monkeypatch.setattr(replica_log, "KEPT", 100)
    log, total = ReplicaLog(file), 0
    for number in range(500):
        line = f"line {number}\n".encode()
        log.feed(line)
        total += len(line)
        assert len(content(file)) <= 1000 + len(line)
    note, _, rest = content(file).partition(b"\n")
    lost = int(note.split()[1])
    everything = b"".join(f"line {number}\n".encode() for number in range(500))
    assert note == b"[envtool: %d bytes before this were left out]" % lost
    assert everything.endswith(rest)
    assert log.tail(2) == "line 498\nline 499"
    assert len(rest) >= 100


def test_the_tail_is_bounded_and_decodes_anything(file):
    log = ReplicaLog(file)
    log.feed(b"\xff" * (replica_log.TAIL * 3))
    log.feed(b"\nlast")
    assert log.tail(1) == "last"
    assert len(log.tail()) <= replica_log.TAIL
    log.close()
    log.feed(b" one")
    assert log.tail(1) == "last one"


def test_a_full_disk_ends_nothing():
    with open("/dev/full", "wb+", buffering=0) as full:
        log = ReplicaLog(full)
        log.feed(b"x" * (1 << 20))
        log.feed(b"last")
        assert log.tail(1).endswith("last")


def test_a_listener_gets_nothing_of_an_earlier_start(file):
    """A check of the log would take a service for ready because it was so before it was started again."""
    log, got = ReplicaLog(file), []
    log.feed(b"ready to accept connections\n")
    log.begin(100)
    log.feed(b"starting\n")
    assert log.listen(got.append) == b"starting\n"
    log.feed(b"ready")
    assert got == [b"ready"]
    assert log.tail() == "ready to accept connections\nstarting\nready"
    assert content(file) == b"ready to accept connections\nstarting\nready"


def test_listeners_get_what_comes(file):
    log, got = ReplicaLog(file), []
    log.begin(100)
    log.feed(b"before")
    assert log.listen(got.append) == b"before"
    log.feed(b"one")
    assert got == [b"one"]


def test_what_is_kept_for_listeners_is_bounded(file):
    log = ReplicaLog(file)
    log.feed(b"nobody will look")
    assert log.listen(print) == b""
    log.begin(10)
    for piece in (b"1234", b"5678", b"9", b"a"):
        log.feed(piece)
    assert log.listen(print) == b"123456789a"
    log.feed(b"b")
    assert log.listen(print) == b"56789ab"
    log.begin()
    assert log.listen(print) == b""
    log.feed(b"c")
    assert log.listen(print) == b""


def test_one_thread_reads_for_all():
    with nothing_left(descriptors, threads):
        check_one_thread_reads_for_all()


def check_one_thread_reads_for_all():
    began = {*threading.enumerate()}
    got: dict[int, bytes] = {}
    with LogPump() as pump:
        writers = []
        for number in range(20):
            got[number] = b""

            def feed(data, number=number):
                got[number] += data

            writers.append(pump.open(feed))
        seen = threading.Event()
        reader, writer = os.pipe()
        pump.watch(reader, seen.set)
        assert [thread.name for thread in {*threading.enumerate()} - began] == ["service-logs"]
        for number, (descriptor, done) in enumerate(writers):
            os.write(descriptor, f"says {number}".encode())
            os.close(descriptor)
            assert done.wait(10)
        os.write(writer, b"x")
        assert seen.wait(10)
        left, _ = pump.open(lambda data: None)
    assert got == {number: f"says {number}".encode() for number in range(20)}
    for descriptor in (left, reader, writer):
        os.close(descriptor)


def test_what_is_handed_on_has_no_secret():
    """Neither where it is split, nor what is held back when a replica ends, nor in the output of `ready:` commands, which
    comes by another pipe."""
    forms, got = SecretForms([b"hunter2-hunter2"]), []
    with LogPump(lambda: forms) as pump:
        for pieces in ([b"a hunter2-", b"hunter2 b\n"], [b"c hunter2-hunt"]):
            writer, done = pump.open(got.append)
            for piece in pieces:
                os.write(writer, piece)
                threading.Event().wait(0.05)
            os.close(writer)
            assert done.wait(10)
    assert b"".join(got) == b"a *** b\nc hunter2-hunt"

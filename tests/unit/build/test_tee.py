"""What is printed is kept, whole where it can be, and never more than a log may have."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.build import tee
from envtool.fs.masking import SecretForms
from envtool.store import record_results
from tests.depth import examples
from tests.leftovers import descriptors, nothing_left


def kept(pieces, tmp_path):
    with open(tmp_path / "log", "w+b") as file, tee.Tee(file, lambda _: None, "x") as out:
        for piece in pieces:
            os.write(out.writer, piece)
        out.close()
        text = out.text(20)
    return (tmp_path / "log").read_bytes(), text


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(tee, "HEAD", 10)
    monkeypatch.setattr(tee, "TAIL", 7)


@settings(max_examples=examples(50, 2000), deadline=None)
@given(pieces=st.lists(st.binary(min_size=1, max_size=25), max_size=6))
def test_beginning_and_end_stay(tmp_path_factory, pieces):
    log, text = kept(pieces, tmp_path_factory.mktemp("tee"))
    whole = b"".join(pieces)
    if len(whole) <= 17:
        assert log == whole
    else:
        assert log.startswith(whole[:10] + b"\n[envtool: ")
        assert log.endswith(b"stay]\n" + whole[-7:])
        assert f"{len(whole) - 17} B left out".encode() in log
    assert text == log[-20:].decode(errors="replace")


def test_what_is_kept_can_be_remembered(monkeypatch):
    monkeypatch.undo()
    assert tee.HEAD + tee.TAIL + 200 <= record_results.MAX_LOG_SIZE


def test_secrets_are_in_neither_log_nor_event_however_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tee, "HEAD", 1000)
    monkeypatch.setattr(tee, "TAIL", 1000)
    events = []
    forms = SecretForms([b"hunter2-hunter2"])
    with open(tmp_path / "log", "w+b") as file, tee.Tee(file, events.append, "x", forms) as out:
        for byte in b"is hunter2-hunter2\nand hun":
            os.write(out.writer, bytes([byte]))
            time.sleep(0.001)
        out.close()
        assert out.text() == "is ***\nand hun"
    assert "".join(event.text for event in events) == "is ***\nand hun"
    assert (tmp_path / "log").read_bytes() == b"is ***\nand hun"


def receiving() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "output"]


def test_many_tees_have_one_thread_and_do_not_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.undo()
    events = []
    with ExitStack() as stack:
        files = [stack.enter_context(open(tmp_path / f"log{n}", "w+b")) for n in range(20)]
        tees = [stack.enter_context(tee.Tee(file, events.append, str(n))) for n, file in enumerate(files)]
        for out in tees[::2]:
            os.write(out.writer, b"first ")
        end = time.monotonic() + 10
        while len(events) < 10:  # it is emitted while the tees are open
            assert time.monotonic() < end
            time.sleep(0.005)
        assert receiving() == ["output"]
        held = os.dup(tees[0].writer)  # by a process that goes on
        closing = threading.Thread(target=tees[0].close)
        closing.start()
        for out in tees[1:]:
            os.write(out.writer, b"last")
            out.close()
        assert closing.is_alive()
        os.write(held, b"late")
        os.close(held)
        closing.join(10)
        assert not closing.is_alive()
    texts = [(tmp_path / f"log{n}").read_bytes() for n in range(20)]
    assert texts == [b"first late", *[b"last", b"first last"] * 9, b"last"]
    assert "".join(event.text for event in events if event.id == "2") == "first last"


def test_the_thread_ends_with_the_last_tee_and_another_one_begins(tmp_path):
    for _ in range(3):
        with nothing_left(descriptors):
            assert kept([b"text"], tmp_path) == (b"text", "text")
            assert not receiving()


def test_what_cannot_be_kept_ends_the_output(tmp_path, monkeypatch):
    """As on a full disk: who writes is told so, and nobody waits."""
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with open(tmp_path / "log", "w+b") as file, tee.Tee(file, lambda _: None, "x") as out:
        monkeypatch.setattr(out, "_keep", lambda chunk: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        os.write(out.writer, b"text")
        end = time.monotonic() + 10
        while not failures:
            assert time.monotonic() < end
            time.sleep(0.005)
        with pytest.raises(BrokenPipeError):
            os.write(out.writer, b"more")
        out.close()
    assert [failure.exc_type for failure in failures] == [OSError]

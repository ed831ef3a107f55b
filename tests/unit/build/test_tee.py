"""What is printed is kept, whole where it can be, and never more than a log may have."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.build import tee
from envtool.fs.masking import SecretForms
from envtool.store import record_results
from tests.depth import examples


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

"""A scan of this machine in a process of its own: it finds what a scan in this process finds, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from envtool.kinds import early_scan, host, host_files
from tests.leftovers import descriptors, nothing_left


@pytest.fixture(autouse=True)
def ended():
    """No test leaves a scan to the next."""
    yield
    early_scan.end()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small system, for scans that take no time; two processors, whatever this machine has."""
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/tool").write_text("one\n")
    (tmp_path / "etc").mkdir()
    name = os.fsencode(tmp_path) + b"/usr/local/bin/\xff"  # no text
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    monkeypatch.setattr(host_files, "SYSTEM_TOPS", (f"{tmp_path}/usr",))
    monkeypatch.setattr(host_files, "DEEP_DIRECTORIES", (f"{tmp_path}/usr/local",))
    monkeypatch.setattr(host_files, "COMMANDS", ())
    monkeypatch.setattr(host_files, "ETC", f"{tmp_path}/etc")
    monkeypatch.setattr(host_files, "ALTERNATIVES", f"{tmp_path}/etc/alternatives")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return tmp_path


def fields(found):
    return found.digest, found.etc, found.states, found.trees, found.unseen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("envs: {e: {base: host, tasks: {test: 'true'}}}", True),
        ("envs:\n  e:\n    base: host\n", True),
        ("envs:\n  e:\n    base:\n      host: {}\n", True),
        ('envs: {e: {"base": "host"}}', False),  # read later, by this process
        ("envs: {e: {base: {host: }}}", True),
        ("envs: {e: {base: 'host'}}", True),
        ("envs: {e: {base: hostile}}", False),
        ("envs: {e: {base: host-like}}", False),
        ("envs: {e: {base: host_like}}", False),
        ("envs: {e: {base: {image: host}}}", False),
        ("hosts: base\nenvs: {e: {base: {debian: trixie}}}", False),
        ("base:", False),
        ("", False),
    ],
)
def test_which_specs_it_begins_for(text, expected):
    assert early_scan.is_expected(text.encode()) is expected


def test_it_finds_what_a_scan_here_finds(small):
    expected = fields(host_files.scan_host(host_files.LEFT_OUT))
    early_scan.begin()
    found = early_scan.take()
    assert found is not None
    assert fields(found) == expected
    assert any("\udcff" in path for path in found.states)
    assert early_scan.take() is None, "it answers one question"


def test_the_kind_asks_it_once(small):
    kind = host.Host()
    early_scan.begin()
    (small / "usr/local/bin/late").write_text("after it began, or before: the pins are of one of the two\n")
    first = kind._identity()
    (small / "usr/local/bin/tool").write_text("two!\n")
    assert kind._identity() != first, "the second question is answered by another scan"


def test_it_answers_no_late_question(small, monkeypatch):
    early_scan.begin()
    monkeypatch.setattr(early_scan, "_VALID_SECONDS", -1.0)
    assert early_scan.take() is None
    monkeypatch.undo()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_one_that_fails_answers_nothing(small, monkeypatch):
    monkeypatch.setattr(host_files, "scan_host", lambda _: 1 / 0)
    early_scan.begin()
    assert early_scan.take() is None


def test_with_one_processor_there_is_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    early_scan.begin()
    assert early_scan.take() is None


def test_it_begins_once_and_leaves_no_descriptor(small):
    with nothing_left(descriptors):
        early_scan.begin()
        (child, *_) = early_scan._begun[0]
        early_scan.begin()
        assert [scan[0] for scan in early_scan._begun] == [child]
        early_scan.end()
        early_scan.end()  # there is none: nothing happens
    assert not os.path.exists(f"/proc/{child}")


SLOW = """
import os, sys, time
os.sched_getaffinity = lambda _: {0, 1}
from envtool.kinds import early_scan, host_files
host_files.scan_host = lambda _: time.sleep(600)
early_scan.begin()
print(early_scan._begun[0][0], flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_it_ends_with_a_run_that_is_killed_and_holds_no_output(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", SLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(run.stdout.readline())
    try:
        assert os.path.exists(f"/proc/{child}")
        run.stdin.close()
        assert run.stdout.read() == "", "the end of the output, which the scan would keep from coming for 600 s"
        assert run.wait() == -9
        end = time.monotonic() + 60
        while _runs(child) and time.monotonic() < end:
            time.sleep(0.01)
        assert not _runs(child)
    finally:
        run.stdout.close()
        if _runs(child):
            os.kill(child, 9)


def _runs(child):
    try:
        with open(f"/proc/{child}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False

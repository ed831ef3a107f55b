"""The lock and the record of a project's services."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from envtool.errors import StoreError
from envtool.services.up import control_client
from envtool.services.up.project_state import LOCK, RECORD, ProjectState, StateRecord, claimed, list_states, project_key
from envtool.store import locks


@pytest.fixture
def state(tmp_path):
    os.makedirs(tmp_path / "up")
    (tmp_path / "project").mkdir()
    return ProjectState.of(str(tmp_path), str(tmp_path / "project"), "envtool.yaml")


def test_one_holds_it(state):
    first = state.claim()
    assert first is not None
    assert state.is_running()
    assert os.stat(state.path).st_mode & 0o777 == 0o700
    assert state.claim() is None
    with pytest.raises(StoreError, match="being started or stopped"), claimed(state):
        pass
    assert not state.forget()
    first.release()
    assert not state.is_running()
    second = state.claim()
    assert second is not None
    second.remove()
    assert not os.path.exists(state.path)
    assert state.forget()


def test_two_that_look_at_once_do_not_take_each_other_for_the_holder(state, monkeypatch):
    state.claim().release()
    looks, lock = [], locks.try_lock

    def looking(*words):
        taken = lock(*words)
        monkeypatch.setattr(locks, "try_lock", lock)
        looks.append(state.is_running())  # the other process looks while this one has the lock
        return taken

    monkeypatch.setattr(locks, "try_lock", looking)
    looks.append(state.is_running())
    assert looks == [False, False]
    claim = state.claim()
    assert state.is_running()
    claim.release()


def test_down_does_not_wait_for_the_next_up(state):
    """Another `up` may take the lock the moment that the former manager releases it."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    claim = state.claim()
    former = StateRecord("/p", "envtool.yaml", pid=11, started=1.0)
    claim.write_record(former)
    far.close()
    waiting = threading.Thread(target=control_client.wait_until_ended, args=(state, near, former), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive(), "the former manager still has the lock"
    claim.sweep()
    claim.write_record(StateRecord("/p", "envtool.yaml", pid=12, started=2.0))
    waiting.join(60)
    assert not waiting.is_alive()
    assert state.has_another_holder(former)
    claim.remove()
    near.close()


def test_a_killed_holder_leaves_a_free_lock(state, tmp_path):
    code = (
        "import os, sys; from envtool.services.up.project_state import *; s = ProjectState(sys.argv[1], sys.argv[2])\n"
    )
    code += "c = s.claim(); c.write_record(StateRecord('/p', 'envtool.yaml', pid=os.getpid(), started=1.0))\n"
    code += "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), state.key], stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert state.is_running()
        process.kill()
    assert not state.is_running()
    record = state.read_record()
    assert (record.root, record.ended, record.reason) == ("/p", 0.0, "")
    assert record.seen > 1_000_000_000
    claim = state.claim()
    assert os.listdir(state.path) == [LOCK]  # what it left is swept
    claim.remove()


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 2, "root": "/", "spec": ""}', b"[" * 99999]
)
def test_a_record_that_cannot_be_read(state, text):
    with claimed(state):
        with open(state.join(RECORD), "wb") as file:
            file.write(text)
        assert state.read_record() is None


def test_keys(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    key = project_key(str(tmp_path / "a"), "envtool.yaml")
    os.symlink("a", tmp_path / "link")
    assert project_key(str(tmp_path / "link"), "envtool.yaml") == key
    assert project_key(str(tmp_path / "a"), "other.yaml") != key
    assert project_key(str(tmp_path / "b"), "envtool.yaml") != key
    os.rename(tmp_path / "a", tmp_path / "c")
    os.mkdir(tmp_path / "a")  # another directory in the place of the first
    assert project_key(str(tmp_path / "a"), "envtool.yaml") != key


def test_list(tmp_path, state):
    assert list_states(str(tmp_path / "none")) == []
    with claimed(state) as claim:
        claim.write_record(StateRecord("/p", "envtool.yaml"))
        os.mkdir(tmp_path / "up" / "foreign")
        assert [found.key for found in list_states(str(tmp_path))] == [state.key]

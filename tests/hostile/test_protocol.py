"""What a container says to its supervisor, by processes that say anything: never a hang, a crash, a process that is left
or a false success. The container's part is played by two processes, as in a real start (start.py).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.container import messages, syscalls, userns
from envtool.container import supervisor as supervisor_module
from envtool.errors import SandboxError
from tests.depth import examples
from tests.leftovers import descriptors, nothing_left
from tests.load import allowed

PID = b"<pid>"  # in its place: the number of the second process
PROGRAM = {"terminal": False, "timeout": 0.5, "grace": 0.1, "user": "user", "network": False, "steps": ()}
HELPER = [messages.pack("maps"), PID]
PID1 = [messages.pack("up"), messages.pack("end", 0, 0, 0, 0), messages.pack("done")]
FALSE = [
    messages.pack("pid", 1),
    messages.pack("pid", os.getpid()),
    messages.pack("pid", -1),
    messages.pack("pid", 1 << 40),
    messages.pack("pid", "1"),
    messages.pack("pid"),
    messages.pack("end", -1, 0, 0, 0),
    messages.pack("end", 256, 0, 0, 0),
    messages.pack("end", "0", 0, 0, 0),
    messages.pack("end", 0, 0, 0, -1),
    messages.pack("end", 0),
    messages.pack("pty"),
    messages.pack("raised", "text"),
    messages.pack("error", "mounts", 1, "text"),
    messages.pack("error", "nonsense", 1 << 62, "text"),
    messages.pack("error", 1, 1, 1),
    messages.pack("unheard of"),
    messages.pack(1),
    messages.pack(),
    b"",
    b"m",
    b"\xe3" + bytes(40),
    bytes(70000),
]


def play(helper: list[bytes], pid1: list[bytes], *, stay: bool = False, rights: bool = False) -> messages.Exit:
    """Let two processes say these things; what the supervisor makes of it."""
    supervisor = supervisor_module._Supervisor(PROGRAM, userns.caller_ids(), -1, None)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    supervisor.sock = near
    supervisor.helper = os.fork()
    if supervisor.helper == 0:
        try:
            near.close()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            _say(far, [message for message in helper if message != PID], rights)
            if PID in helper:
                child = syscalls.clone(syscalls.CLONE_PARENT)
                if child == 0:
                    if far.recv(1) == b"g":
                        _say(far, pid1, rights)
                    while stay:
                        signal.pause()
                    os._exit(0)
                far.send(messages.pack("pid", child))
        finally:
            os._exit(0)
    far.close()
    try:
        with patch.object(supervisor_module.userns, "write_maps", lambda *_, **__: None):
            supervisor.supervise()
    finally:
        supervisor.close()
    return supervisor.result


def play_alone(pid1: list[bytes], *, stay: bool = False, rights: bool = False) -> messages.Exit:
    """As `play`, of a pid 1 that was made without a helper (fork_server.py)."""
    supervisor = supervisor_module._Supervisor(PROGRAM, userns.caller_ids(), -1, None)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    supervisor.sock = near
    supervisor.pid1 = os.fork()
    if supervisor.pid1 == 0:
        try:
            near.close()
            _say(far, pid1, rights)
            while stay:
                signal.pause()
        finally:
            os._exit(0)
    far.close()
    try:
        with patch.object(supervisor_module.userns, "write_maps", lambda *_, **__: None):
            supervisor.supervise()
    finally:
        supervisor.close()
    return supervisor.result


def _say(sock: socket.socket, messages: list[bytes], rights: bool) -> None:
    for message in messages:
        try:
            if rights:
                socket.send_fds(sock, [message], [2, 2, 2])
            else:
                sock.send(message)
        except OSError:
            return
        if message == HELPER[0] and sock.recv(1) != b"k":
            return


def outcome(helper: list[bytes] | None, pid1: list[bytes], **more) -> messages.Exit | None:
    """None where it was refused; checks that it ended, in time, and left nothing. Without a `helper`, pid 1 is alone."""
    with nothing_left(descriptors):
        began, said = time.monotonic(), ""
        try:
            return play(helper, pid1, **more) if helper is not None else play_alone(pid1, **more)
        except SandboxError as error:
            said = error.message
            return None
        finally:
            assert not re.search(r"Error|Traceback", said), said
            assert time.monotonic() - began < allowed(10)


def children() -> set[int]:
    """Processes that we started: also those of other tests' fixtures."""
    found = Path("/proc/self/task").glob("*/children")
    return {int(number) for path in found for number in path.read_text().split()}


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    end = time.monotonic() + 30
    for child in children() - before:  # but one that nobody was told of, and that has ended
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            assert time.monotonic() < end, f"{child} runs on"
            time.sleep(0.01)


def test_a_container_that_says_what_it_should():
    found = outcome(HELPER, PID1)
    assert found is not None
    assert (found.status, found.error) == (0, "")
    found = outcome(HELPER, [PID1[0], messages.pack("raised", "it"), messages.pack("end", 3, 0, 0, 0), PID1[2]])
    assert (found.status, found.error) == (3, "it")


def test_a_pid_1_without_a_helper():
    alone = [HELPER[0], *PID1]
    assert outcome(None, alone).status == 0
    assert outcome(None, alone, rights=True).status == 0
    assert outcome(None, alone[:-1]) is None, "it ended before it was done"
    assert outcome(None, alone[:2]).status == 137
    assert outcome(None, alone[:2], stay=True).status == 124
    assert outcome(None, PID1) is None, "its maps were not written"
    assert outcome(None, [alone[0], *alone]) is None, "it asks for them twice"
    assert outcome(None, [alone[0], messages.pack("pid", os.getpid()), *PID1]) is None, "only a helper has another"


@pytest.mark.parametrize("false", FALSE, ids=range(len(FALSE)))
def test_a_false_message_of_a_pid_1_without_a_helper(false):
    alone = [HELPER[0], *PID1]
    for at in range(len(alone)):
        found = outcome(None, [*alone[:at], false, *alone[at:]])
        if found is not None and false == messages.pack("raised", "text"):
            assert found.error == "text"
        else:
            assert found is None or found.status, at


def test_one_that_stays_when_it_is_done_is_ended():
    with patch.dict(PROGRAM, timeout=60.0):  # `outcome` waits for 10 s at most: its own limit is not what ends it
        assert outcome(HELPER, PID1, stay=True).status == 0


def test_one_that_ends_before_it_is_done_has_failed():
    assert outcome(HELPER, PID1[:2]) is None
    assert outcome(HELPER, PID1[:1]).status == 137
    assert outcome(HELPER, []).status == 137
    assert outcome(HELPER, PID1[:1], stay=True).status == 124


@pytest.mark.parametrize("false", FALSE, ids=range(len(FALSE)))
def test_a_false_message_anywhere(false, depth):
    """Instead of each message of the two, and before it; what comes after the last is not heard."""
    places = [(side, at, more) for side in (0, 1) for at in range(len((HELPER, PID1)[side])) for more in (0, 1)]
    for side, at, more in depth.sample(places, 3):
        said = [[*HELPER], [*PID1]]
        said[side][at : at + more] = [false]
        found = outcome(*said)
        if found is not None and false == messages.pack("raised", "text"):
            assert found.error == "text"
        else:
            assert found is None or found.status, said


@pytest.mark.parametrize("message", [*HELPER[:1], *PID1], ids=lambda message: messages.unpack(message)[0])
def test_each_message_once_and_from_whom_it_has_to_come(message):
    assert outcome([*HELPER[:1], message, PID], PID1) is None
    if message in PID1[1:]:
        found = outcome([*HELPER[:1], PID], [message, *PID1])
        assert found is None or found.status
    repeated = [each for own in PID1 for each in ([own, own] if own == message else [own])]
    if repeated != PID1 and message != PID1[-1]:
        assert outcome(HELPER, repeated) is None


def test_descriptors_that_nobody_asked_for_are_closed():
    assert outcome(HELPER, PID1, rights=True).status == 0


MESSAGES = st.sampled_from([*HELPER, *PID1, *FALSE[:-1]]) | st.binary(max_size=64)


@st.composite
def altered(draw):
    """A true message with a byte that is not its own."""
    message = bytearray(draw(st.sampled_from([HELPER[0], *PID1])))
    message[draw(st.integers(0, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message)


@settings(max_examples=examples(25, 2000), deadline=None)
@given(
    st.permutations(HELPER) | st.lists(MESSAGES | altered(), max_size=5),
    st.permutations(PID1) | st.lists(MESSAGES | altered(), max_size=6),
    st.booleans(),
)
@example(HELPER, [*PID1, *PID1], False)
@example([b""], [], True)
def test_anything_at_all(helper, pid1, rights):
    found = outcome(
        [each for n, each in enumerate(helper) if each != PID or PID not in helper[:n]], pid1, rights=rights
    )
    if found is not None and found.status == 0:
        said = [messages.unpack(message) for message in pid1]
        assert next(each for each in helper if each != PID) == HELPER[0]
        assert [row[0] for row in said if row and row[0] != "raised"][:3] == ["up", "end", "done"], said

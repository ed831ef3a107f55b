"""What a service manager does with messages that no verb of ours sends: it answers with an error, keeps no descriptor,
and goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading

import pytest

from envtool.errors import UsageError
from envtool.services.up import control_client, control_protocol
from envtool.services.up.control_protocol import COMMANDS, VERSION, ControlError, check_request
from envtool.services.up.control_server import ControlServer
from envtool.services.up.project_state import SOCKET, ProjectState
from tests.leftovers import descriptors, nothing_left

GOOD = {
    "status": {},
    "follow": {},
    "up": {"request": {"directory": "/p"}, "services": ["db"], "watch": False, "writable": True},
    "scale": {"counts": {"api": 3}},
    "stop": {"services": []},
    "fresh": {"services": ["db"]},
    "exec": {"service": "db", "argv": ["psql"], "terminal": True, "window": 80, "variables": {"TERM": "xterm"}},
}
VALUES = (None, True, -2, 1.5, 1 << 40, "", "\0", "x" * 70_000, [], [1], ["\0"], {}, {"a": -1}, {"a": 1001}, [[[]]], [""] * 5000)  # fmt: skip


@pytest.fixture
def state(tmp_path):
    """A project whose manager answers each request with its own fields."""
    state = ProjectState(str(tmp_path), "k" * 32)
    os.makedirs(state.path)
    with ControlServer(state.path, SOCKET, lambda request, reply: reply.send({"asked": request.command})):
        yield state


def good(command: str) -> dict:
    return {"version": VERSION, "command": command, **GOOD[command]}


def connect(state: ProjectState) -> socket.socket:
    connection = control_client.connect(state)
    assert connection is not None
    connection.settimeout(10)
    return connection


def answers(state: ProjectState, data: bytes, descriptors: tuple[int, ...] = ()) -> list[dict]:
    found = []
    with connect(state) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        socket.send_fds(connection, [data], list(descriptors))
        while data := connection.recv(1 << 18):
            found.append(json.loads(data))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_answered(state, command):
    assert answers(state, json.dumps(good(command)).encode()) == [{"asked": command}, {"end": True}]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_other_value_of_a_field_is_refused(command):
    for name in ("version", "command", *COMMANDS[command]):
        kind = COMMANDS[command].get(name)
        for value in VALUES:
            fields = {**good(command), name: value}
            allowed = kind is not None and control_protocol._CHECKS[kind](value)
            if allowed:
                check_request(json.dumps(fields).encode())
                continue
            with pytest.raises(ControlError):
                check_request(json.dumps(fields).encode())
        missing = {key: value for key, value in good(command).items() if key != name}
        with pytest.raises(ControlError):
            check_request(json.dumps(missing).encode())
    with pytest.raises(ControlError):
        check_request(json.dumps({**good(command), "more": 1}).encode())


@pytest.mark.parametrize("data", [b"x", b"[" * 60_000, b"{}", b"[]", b"1" * 5000, b'"' + b"\xff" * 10 + b'"', b"{" + b'"a":' * 30_000])  # fmt: skip
def test_what_is_no_request(state, data):
    (answer,) = answers(state, data)
    assert answer["error"]["code"] == "up-protocol"
    assert answers(state, json.dumps(good("status")).encode())[-1] == {"end": True}


def test_random_messages_end_nothing_and_leave_no_descriptor(state, depth):
    reader, writer = os.pipe()
    with nothing_left(descriptors):
        send_random_messages(state, depth, reader)
    assert answers(state, json.dumps(good("status")).encode())[-1] == {"end": True}
    os.close(reader)
    os.close(writer)


def send_random_messages(state, depth, descriptor):
    draw: random.Random = depth.random
    for _ in depth.times(60, 3000):
        data = bytearray(json.dumps(good(draw.choice([*COMMANDS]))).encode())
        for _ in range(draw.randint(0, 4)):
            at = draw.randrange(len(data))
            match draw.randrange(3):
                case 0:
                    data[at] = draw.randrange(256)
                case 1:
                    del data[at : at + draw.randint(1, 9)]
                case _:
                    data[at:at] = draw.randbytes(draw.randint(1, 9))
            data = data or bytearray(b"x")
        count = draw.choice([0, 0, 1, 3, 4, 9])
        found = answers(state, bytes(data), (descriptor,) * count)
        assert found == [] or found[-1]["end"] is True


@pytest.mark.parametrize("character", ["x", "\x1b", "\ufffd", "\U0001f600"])
def test_an_error_of_any_length_fits_into_a_message(tmp_path, character):
    """What a service printed is in it: JSON may need twelve bytes for a character."""
    state = ProjectState(str(tmp_path), "k" * 32)
    os.makedirs(state.path)
    text = character * 20_000

    def refuse(request, reply):
        error = UsageError(text, code="c", hint=text)
        error.output = text
        raise error

    with ControlServer(state.path, SOCKET, refuse):
        (answer,) = answers(state, json.dumps(good("status")).encode())
    assert answer["error"]["code"] == "c"
    assert min(len(answer["error"][name]) for name in ("message", "hint", "output")) > 1000


def test_one_that_says_nothing_hinders_nobody(state):
    silent = [connect(state) for _ in range(20)]
    assert answers(state, json.dumps(good("status")).encode())[-1] == {"end": True}
    for connection in silent:
        connection.close()


def test_more_connections_than_are_served(state):
    from envtool.services.up.control_server import MAX_CONNECTIONS

    silent = [connect(state) for _ in range(MAX_CONNECTIONS)]
    assert answers(state, json.dumps(good("status")).encode()) == []
    for connection in silent:
        connection.close()
    for _ in range(200):
        if found := answers(state, json.dumps(good("status")).encode()):
            break
        threading.Event().wait(0.02)
    assert found[-1] == {"end": True}


def test_another_user_is_not_answered(state, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        directory = os.open(state.path, os.O_PATH)
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")  # the path may be too long for a socket
        os.close(directory)
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"[]", b'{"end": 1', b'{"end": true, "error": {"message": "no", "exit_status": 2, "code": "c"}}'],
)
def test_a_manager_that_answers_wrongly(tmp_path, data):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if data:
        far.send(data)
    far.close()
    with control_client.ManagerAnswer(near) as answer:
        if b"error" in data:
            with pytest.raises(UsageError, match="no"):
                list(answer.messages())
        else:
            with pytest.raises(Exception, match="does not answer"):
                list(answer.messages())

"""The loop of a pod's processes, with sockets and pipes of this process."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import pytest

from envtool.container import event_loop
from envtool.container.event_loop import READ, WRITE, EventLoop


@pytest.fixture
def loop():
    with contextlib.closing(EventLoop()) as loop:
        yield loop


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_functions_are_called_while_a_descriptor_is_ready(loop, pair):
    near, far = pair
    heard = []
    loop.register(near, READ, lambda: heard.append(near.recv(1)))
    assert loop.run_once(0) == 0
    far.send(b"ab")
    assert [loop.run_once(1), loop.run_once(1), loop.run_once(0)] == [1, 1, 0]
    assert heard == [b"a", b"b"]
    loop.modify(near, READ | WRITE, lambda: heard.append("either"))
    assert (loop.run_once(1), heard[-1], len(loop)) == (1, "either", 1)
    loop.unregister(near)
    far.send(b"c")
    assert (loop.run_once(0), len(loop)) == (0, 0)
    with pytest.raises(KeyError):
        loop.unregister(near)


def test_one_that_is_unregistered_in_the_same_round_is_not_called(loop):
    pipes = [os.pipe(), os.pipe()]
    heard = []

    def end(number):
        heard.append(number)
        for read, _ in pipes:
            loop.unregister(read)

    for number, (read, write) in enumerate(pipes):
        loop.register(read, READ, lambda number=number: end(number))
        os.write(write, b"x")
    assert loop.run_once(1) == 1
    assert len(heard) == 1
    for descriptor in (*pipes[0], *pipes[1]):
        os.close(descriptor)


def test_the_end_of_the_other_side_counts_as_ready(loop, pair):
    near, far = pair
    heard = []
    loop.register(near, WRITE, lambda: heard.append(1))
    far.close()
    assert loop.run_once(1) == 1
    read, write = os.pipe()
    loop.unregister(near)
    loop.register(read, READ, lambda: heard.append(2))
    os.close(write)
    assert (loop.run_once(1), heard) == (1, [1, 2])
    os.close(read)


def test_it_waits_as_long_as_it_is_told(loop):
    began = time.monotonic()
    assert loop.run_once(0.05) == 0
    assert time.monotonic() - began >= 0.05


def test_accept_is_that_of_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, address = event_loop.accept(listener)
        assert address == client.getsockname()
        assert not os.get_inheritable(accepted.fileno())
        accepted.send(b"x")
        assert client.recv(1) == b"x"
        accepted.close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            event_loop.accept(listener)

"""Connections to published ports, in one process: its "members" are servers on addresses of loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from envtool.container.dns import DnsResolver
from envtool.container.event_loop import READ, EventLoop
from envtool.container.name_server import NameServer
from envtool.container.publish import Publisher
from envtool.container.service_table import ServiceTable
from tests.leftovers import descriptors, nothing_left
from tests.unit.container.test_dns import query, read


class Loop:
    """A publisher of service `s`, and its loop in a thread."""

    def __init__(self, limit: int = 100) -> None:
        self.loop, self.table = EventLoop(), ServiceTable()
        self.publisher = Publisher(self.loop, self.table, limit)
        self.servers: list[socket.socket] = []
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = listener.getsockname()
        probe = socket.create_server(("127.0.0.2", 0))
        self.port = probe.getsockname()[1]
        probe.close()
        self.listener = listener
        self.read, self.write = os.pipe()
        self.ended = False
        self.loop.register(self.read, READ, lambda: None)
        self.thread = threading.Thread(target=self.run)

    def member(self, number: int, *, listen: bool = True) -> socket.socket | None:
        """Add a member that is ready."""
        address = f"127.0.0.{number}"
        self.table.add(f"s-{number}", "s", address)
        self.table.set_ready(f"s-{number}", ready=True)
        if not listen:
            return None
        self.servers.append(socket.create_server((address, self.port), backlog=64))
        self.servers[-1].settimeout(10)
        return self.servers[-1]

    def run(self) -> None:
        while not self.ended:
            self.loop.run_once()

    def __enter__(self) -> Loop:
        self.publisher.add(1, self.listener, "s", self.port)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended = True
        os.write(self.write, b"x")
        self.thread.join()
        self.listener.close()
        for each in self.servers:
            each.close()
        for connection in [*self.publisher._connections]:
            connection.close()
        os.close(self.read)
        os.close(self.write)
        self.loop.close()

    def client(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def settle(self, count: int) -> None:
        """Wait until that many connections are open."""
        deadline = time.monotonic() + 10
        while self.publisher.connections != count:
            assert time.monotonic() < deadline, self.publisher.connections
            time.sleep(0.005)


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


@pytest.mark.parametrize("first", ["client", "server"])
def test_one_side_may_end_before_the_other(first):
    """What was asked may end, and the answer still come: as with a request that its end delimits."""
    loop = Loop()
    server = loop.member(2)
    with loop, loop.client() as client:
        with server.accept()[0] as inner:
            inner.settimeout(10)
            sides = (client, inner) if first == "client" else (inner, client)
            sides[0].sendall(b"question")
            sides[0].shutdown(socket.SHUT_WR)
            assert everything(sides[1]) == b"question"
            time.sleep(0.02)
            sides[1].sendall(b"answer" * 100_000)
            sides[1].shutdown(socket.SHUT_WR)
            assert everything(sides[0]) == b"answer" * 100_000
            loop.settle(0)


def test_who_does_not_read_stops_who_writes():
    loop = Loop()
    server = loop.member(2)
    with loop, loop.client() as client, server.accept()[0] as inner:
        client.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += client.send(bytes(1 << 16))
                assert sent < 64 << 20, "nothing stops it"
        client.settimeout(10)
        sender = threading.Thread(target=lambda: (client.sendall(b"end"), client.shutdown(socket.SHUT_WR)))
        sender.start()
        inner.settimeout(10)
        assert len(everything(inner)) == sent + 3
        sender.join()


def test_a_slow_client_does_not_hold_up_others():
    loop = Loop()
    server = loop.member(2)
    with loop, loop.client() as slow, server.accept()[0] as full:
        full.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                full.send(bytes(1 << 16))
                time.sleep(0.001)
        with loop.client() as quick, server.accept()[0] as inner:
            inner.sendall(b"quick")
            assert quick.recv(5) == b"quick"
        slow.close()


@pytest.mark.parametrize("broken", ["client", "server"])
def test_a_connection_that_breaks_is_broken_on_both_sides(broken):
    """A reset never looks like an orderly end, which would make half an answer a whole one."""
    loop = Loop()
    server = loop.member(2)
    with loop, nothing_left(descriptors):
        client = loop.client()
        inner = server.accept()[0]
        inner.settimeout(10)
        loop.settle(1)
        sides = (client, inner) if broken == "client" else (inner, client)
        sides[0].sendall(b"half")
        assert sides[1].recv(4) == b"half"
        sides[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sides[0].close()
        with pytest.raises(ConnectionResetError):
            everything(sides[1])
        sides[1].close()
        loop.settle(0)


def test_members_that_do_not_listen_are_skipped():
    loop = Loop()
    loop.member(2, listen=False)
    third = loop.member(3)
    loop.member(4, listen=False)
    with loop:
        for _ in range(9):
            with loop.client() as client, third.accept()[0] as inner:
                inner.sendall(b"3")
                assert client.recv(1) == b"3"


def test_no_member_at_all_is_refused_at_once():
    loop = Loop()
    loop.member(2, listen=False)
    with loop, socket.socket() as client:
        client.settimeout(10)
        with pytest.raises(ConnectionError):
            client.connect(loop.address)
            everything(client)


def test_more_than_the_limit_wait():
    loop = Loop(limit=2)
    server = loop.member(2)
    server.settimeout(0.3)
    with loop:
        clients = [loop.client() for _ in range(5)]
        inner = [server.accept()[0] for _ in range(2)]
        with pytest.raises(TimeoutError):
            server.accept()
        assert loop.publisher.connections == 2
        server.settimeout(10)
        for each in (*clients[:2], *inner):
            each.close()
        more = [server.accept()[0] for _ in range(2)]
        for each in (*clients[2:4], *more):
            each.close()
        with server.accept()[0]:
            clients[4].close()
        loop.settle(0)


def test_a_removed_port_accepts_no_more_and_goes_on():
    loop = Loop()
    server = loop.member(2)
    with loop, loop.client() as client, server.accept()[0] as inner:
        loop.settle(1)
        loop.publisher.remove(1)
        with pytest.raises(ConnectionRefusedError):
            loop.client()
        inner.sendall(b"on")
        assert client.recv(2) == b"on"
        with pytest.raises(KeyError):
            loop.publisher.remove(1)


def test_what_is_sent_with_the_connection_is_not_lost():
    loop = Loop()
    server = loop.member(2)
    with loop:
        for _ in range(20):
            client = loop.client()
            client.sendall(b"all")
            client.close()
            with server.accept()[0] as inner:
                inner.settimeout(10)
                assert everything(inner) == b"all"


@pytest.fixture
def names(monkeypatch):
    """A name server on a free port of loopback, and its address; its loop runs in a thread."""
    with socket.create_server(("127.0.0.9", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setattr("envtool.container.name_server.PORT", port)
    loop = Loop()
    loop.table.add("api-1", "api", "10.64.0.2")
    loop.table.set_ready("api-1", ready=True)
    server = NameServer(loop.loop, DnsResolver(loop.table), "127.0.0.9")
    with loop:
        yield server, ("127.0.0.9", port)
    for each in (*server._streams, server._packets, server._listener):
        each.close()


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


def test_names_over_tcp(names):
    _, address = names
    with socket.create_connection(address, timeout=10) as stream:
        for part in (framed(query("api")) * 2)[:5], (framed(query("api")) * 2)[5:]:  # two queries, in two parts
            stream.sendall(part)
            time.sleep(0.01)
        for _ in range(2):
            size = int.from_bytes(stream.recv(2), "big")
            assert read(stream.recv(size)) == (0, ["10.64.0.2"])


@pytest.mark.parametrize(
    "data", [b"\xff\xff" + bytes(600), framed(b"short"), framed(b"")], ids=["long", "short", "empty"]
)
def test_a_stream_of_something_else_is_closed(names, data):
    _, address = names
    with socket.create_connection(address, timeout=10) as stream:
        stream.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert everything(stream) == b""


def test_streams_are_bounded(names):
    server, address = names
    streams = [socket.create_connection(address, timeout=10) for _ in range(60)]
    try:
        streams[-1].sendall(framed(query("api")))
        assert streams[-1].recv(2)
        assert streams[0].recv(1) == b""
        assert len(server._streams) <= 32
    finally:
        for each in streams:
            each.close()

"""How the gateway of a pod connects, in one process: its "outside" are servers on addresses of loopback, and its
resolver a table.
"""

from __future__ import annotations

import errno
import heapq
import socket
import threading
import time
from contextlib import closing

import pytest

from envtool.container import gateway_dial, gateway_link, messages
from envtool.container.event_loop import EventLoop
from envtool.container.gateway_dial import Dial
from envtool.container.gateway_link import GatewayLink
from envtool.container.host_resolver import HostResolver
from envtool.container.network_policy import NetworkPolicy
from envtool.net.host_config import TunnelProxy, bypasses_proxy

EVERY_LOOPBACK = [f"127.0.0.{number}:{{port}}" for number in range(1, 20)]


class Table:
    """A resolver that has a table."""

    def __init__(self, table) -> None:
        self.table = table

    def look_up(self, name, then) -> None:
        then([(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in self.table.get(name, ())], "no such name")


class Caller:
    """What a dial needs, and its loop."""

    def __init__(self, port=0, table=(), proxy=None, rules=()) -> None:
        self.loop, self.resolver, self.proxy = EventLoop(), Table(dict(table)), proxy
        rules = [*rules, *[rule.format(port=port) for rule in EVERY_LOOPBACK if port]]
        self.policy = NetworkPolicy([*[f"{name}:{port}" for name in self.resolver.table], *rules])
        self.timers: list[list] = []
        self.result: tuple | None = None

    def uses_proxy(self, host, port) -> bool:
        return self.proxy is not None and not bypasses_proxy(host, port, self.proxy.exceptions)

    def call_later(self, seconds, function):
        timer = [time.monotonic() + seconds, len(self.timers), function]
        heapq.heappush(self.timers, timer)
        return timer

    def turn(self, seconds=0.02) -> None:
        self.loop.run_once(seconds)
        while self.timers and self.timers[0][0] <= time.monotonic():
            if (function := heapq.heappop(self.timers)[-1]) is not None:
                function()

    def dial(self, host, port):
        """-> (socket or None, error, reason) of one dial."""
        results = []
        Dial(self, host, port, lambda *result: results.append(result)).start()
        deadline = time.monotonic() + 10
        while not results:
            assert time.monotonic() < deadline
            self.turn()
        self.turn(0)
        assert len(results) == 1
        assert len(self.loop) == 0, "a socket of it is watched still"
        return results[0]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Silent:
    """An address that never answers: its queue of connections is full."""

    def __init__(self, address, port) -> None:
        self.listener = socket.create_server((address, port), backlog=0)
        self.fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((address, port))
            self.fillers.append(filler)
        time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


def test_each_address_of_a_name_is_tried():
    port = free_port()
    caller = Caller(port, {"many.example": ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]})
    with socket.create_server(("127.0.0.4", port)):
        sock, *rest = caller.dial("many.example", port)
        assert rest == [0, ""]
        with sock:
            assert sock.getpeername() == ("127.0.0.4", port)


def test_an_address_that_does_not_answer_costs_a_moment():
    port = free_port()
    caller = Caller(port, {"half.example": ["127.0.0.2", "127.0.0.3"]})
    with Silent("127.0.0.2", port), socket.create_server(("127.0.0.3", port)):
        began = time.monotonic()
        with caller.dial("half.example", port)[0] as sock:
            assert sock.getpeername() == ("127.0.0.3", port)
        assert 0.2 < time.monotonic() - began < 15, "half of what a whole attempt may take"


def test_the_first_that_answers_wins_and_others_are_closed(monkeypatch):
    monkeypatch.setattr(gateway_dial, "_STAGGER", 0.0)
    port = free_port()
    caller = Caller(port, {"both.example": ["127.0.0.2", "127.0.0.3"]})
    with socket.create_server(("127.0.0.2", port)) as first, socket.create_server(("127.0.0.3", port)) as second:
        for _ in range(20):
            sock, *rest = caller.dial("both.example", port)
            assert rest == [0, ""]
            sock.close()
        first.setblocking(False)
        second.setblocking(False)
        for listener in (first, second):
            while True:
                try:
                    with listener.accept()[0] as inner:
                        inner.settimeout(5)
                        assert inner.recv(1) == b""
                except ConnectionResetError:
                    continue
                except BlockingIOError:
                    break


def test_families_take_turns():
    four, six = socket.AF_INET, socket.AF_INET6
    addresses = [(six, "a"), (six, "b"), (six, "c"), (four, "1"), (four, "2")]
    assert [a for _, a in gateway_dial._interleave(addresses)] == ["a", "1", "b", "2", "c"]
    assert gateway_dial._interleave([]) == []


def test_ipv6():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        port = server.getsockname()[1]
        caller = Caller(port, {"six.example": ["::1"]}, rules=[f"[::1]:{port}"])
        with caller.dial("six.example", port)[0] as sock:
            assert sock.family == socket.AF_INET6


def test_what_refuses_is_refused():
    port = free_port()
    caller = Caller(port, {"down.example": ["127.0.0.2", "127.0.0.3"]})
    assert caller.dial("down.example", port) == (None, errno.ECONNREFUSED, "connection refused")


def test_what_never_answers_ends(monkeypatch):
    monkeypatch.setattr(gateway_dial, "_SECONDS", 0.6)
    port = free_port()
    caller = Caller(port, {"silent.example": ["127.0.0.2"]})
    with Silent("127.0.0.2", port):
        assert caller.dial("silent.example", port) == (None, errno.ETIMEDOUT, "connection timed out")


def test_a_name_without_an_address():
    caller = Caller(443, {"none.example": []})
    error, reason = caller.dial("none.example", 443)[1:]
    assert (error, reason) == (errno.EHOSTUNREACH, "its name has no address: no such name")


def test_a_name_may_not_lead_to_this_machine():
    """Though a server listens there; among several addresses only the others are tried."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        caller = Caller(443, {"rebound.example": ["127.0.0.1", "169.254.169.254"]})
        caller.policy = NetworkPolicy([f"rebound.example:{port}"])
        sock, error, reason = caller.dial("rebound.example", port)
        assert (sock, error) == (None, errno.EHOSTUNREACH)
        assert reason == f"its address is one of this machine or its link: allow `127.0.0.1:{port}` too"
        caller.resolver.table["rebound.example"] = ["127.0.0.1", "127.0.0.3"]
        caller.policy = NetworkPolicy([f"rebound.example:{port}", f"127.0.0.3:{port}"])
        assert caller.dial("rebound.example", port)[1] == errno.ECONNREFUSED
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_policy_counts_here_too():
    """A holder that a member had got hold of cannot have the gateway connect elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = Caller(443, {"a.example": ["127.0.0.1"]})
        for host in ("a.example", "127.0.0.1", "other.example"):
            error, reason = caller.dial(host, server.getsockname()[1])[1:]
            assert (error, reason) == (errno.EACCES, "the policy does not allow it")


# ---- this machine's proxy


class Proxy:
    """An HTTP proxy for one connection, which answers with `parts`, a moment apart; what it was asked is in `request`."""

    def __init__(self, *parts: bytes, authorization="", exceptions="") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.parts, self.request = parts, b""
        self.settings = TunnelProxy("127.0.0.1", self.listener.getsockname()[1], authorization, exceptions)
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        with self.listener.accept()[0] as sock:
            while b"\r\n\r\n" not in self.request:
                self.request += sock.recv(1000)
            for part in self.parts:
                sock.sendall(part)
                time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.thread.join(10)
        self.listener.close()


def test_a_proxy_is_asked_by_connect():
    """It looks the name up, and what follows its answer is the destination's, however it is cut."""
    answer = b"HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\nhello, I speak first"
    for cut in (1, 9, 40, 57, len(answer) - 1):
        with Proxy(answer[:cut], answer[cut:], authorization="Basic dTpw") as proxy:
            caller = Caller(5432, {"db.example": []}, proxy.settings)
            with caller.dial("db.example", 5432)[0] as sock:
                sock.settimeout(5)
                assert b"".join(iter(lambda sock=sock: sock.recv(5), b"")) == b"hello, I speak first"
        assert proxy.request == (
            b"CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\x1b[31m\r\n\r\n", "this machine's proxy refuses it: 403 Forbidden[31m"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "this machine's proxy refuses it: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 200 OK\r\n", "this machine's proxy gave no answer"),
        (b"HTTP/1.1 200 " + b"x" * 9000, "this machine's proxy gave no answer"),
        (b"SSH-2.0-x\r\n\r\n", "this machine's proxy gave an answer that is not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "this machine's proxy gave an answer that is not HTTP"),
        (b"", "this machine's proxy gave no answer"),
    ],
)  # fmt: skip
def test_a_proxy_that_does_not_connect(answer, reason):
    with Proxy(answer) as proxy:
        assert Caller(443, {"a.example": []}, proxy.settings).dial("a.example", 443) == (
            None,
            errno.ECONNREFUSED,
            reason,
        )


def test_a_proxy_that_is_not_there():
    port = free_port()
    caller = Caller(443, {"a.example": []}, TunnelProxy("127.0.0.1", port, "", ""))
    assert caller.dial("a.example", 443)[1:] == (errno.ECONNREFUSED, "this machine's proxy: connection refused")
    caller = Caller(443, {"a.example": []}, TunnelProxy("proxy.example", port, "", ""))
    assert caller.dial("a.example", 443)[1:] == (errno.EHOSTUNREACH, "the proxy's name has no address: no such name")


@pytest.mark.parametrize(
    ("exceptions", "bypassed"),
    [
        ("", False),
        ("*", True),
        ("in.example", True),
        (".in.example", True),
        ("other.example", False),
        ("a.in.example,b", True),
    ],
)
def test_hosts_that_need_no_proxy(exceptions, bypassed):
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        caller = Caller(port, {"a.in.example": ["127.0.0.2"]}, TunnelProxy("127.0.0.1", free_port(), "", exceptions))
        sock, error, _ = caller.dial("a.in.example", port)
        if bypassed:
            sock.close()
        assert (sock is not None, error) == (bypassed, 0 if bypassed else errno.ECONNREFUSED)


# ---- the resolver's threads, and messages


def test_names_are_looked_up_beside_the_loop(monkeypatch):
    """Queries for one name share an answer while it is looked up, and no answer is kept."""
    began, go, calls = threading.Semaphore(0), threading.Semaphore(0), []

    def getaddrinfo(name, *_, **__):
        calls.append(name)
        began.release()
        go.acquire()
        if name == b"none.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if name == b"odd.example":
            raise UnicodeError("odd")
        return [(socket.AF_INET, 1, 6, "", ("203.0.113.1", 0))] * 2 + [
            (socket.AF_INET6, 1, 6, "", ("2001:db8::1", 0, 0, 0))
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with closing(EventLoop()) as loop:
        resolver, heard = HostResolver(loop), []
        for name in ("a.example", "a.example", "a.example", "none.example", "odd.example"):
            resolver.look_up(name, lambda *answer, name=name: heard.append((name, *answer)))
        for _ in range(3):
            assert began.acquire(timeout=60)
        assert loop.run_once(0.05) == 0
        go.release(3)
        deadline = time.monotonic() + 60
        while len(heard) < 5:
            assert time.monotonic() < deadline
            loop.run_once(0.1)
        assert len(calls) == 3
        found = [(socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1")]
        assert heard.count(("a.example", found, "")) == 3
        assert ("none.example", [], "Name or service not known") in heard
        assert ("odd.example", [], "UnicodeError: odd") in heard
        resolver.look_up("a.example", lambda *_: None)
        go.release()
        assert began.acquire(timeout=60)


def test_messages_wait_until_the_other_process_reads():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(EventLoop()) as loop, closing(EventLoop()) as other:
        heard, ended = [], []
        link = GatewayLink(loop, near, lambda *_: None, lambda: None)
        reader = GatewayLink(
            other, far, lambda message, fds: heard.append((message, len(fds))), lambda: ended.append(1)
        )
        assert reader
        count = 0
        while True:
            passed = socket.socket() if count % 3 == 0 else None
            if not link.send("dial", count, "a.example", 443, passed=passed):
                break
            count += 1
            assert count < 20000, "nothing bounds it"
        if passed is not None:
            passed.close()
        assert count >= gateway_link._MAX_QUEUED
        deadline = time.monotonic() + 10
        while len(heard) < count:
            assert time.monotonic() < deadline
            for each in (other, loop):
                each.run_once(0)
        assert heard == [(("dial", number, "a.example", 443), int(number % 3 == 0)) for number in range(count)]
        near.close()
        other.run_once(1)
        assert ended == [1]
        far.close()


@pytest.mark.parametrize("data", [b"\xff", b"x" * 5000])
def test_a_message_that_is_none_ends_the_process(data):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far, closing(EventLoop()) as loop:
        ended = []
        GatewayLink(loop, far, lambda *_: None, lambda: ended.append(1))
        near.send(data)
        if len(data) == 1:
            with pytest.raises(ValueError, match="not a message"):
                loop.run_once(1)
        else:
            assert loop.run_once(1) == 1
            assert ended == [1]
        assert messages.pack("up")

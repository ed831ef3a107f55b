"""The probes of `ready:`: when they succeed, and what they say when they do not."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest

from envtool.container.started import ESTABLISHED, LISTENING, TcpSocket
from envtool.services import ready_probes
from envtool.services.ready_probes import ProbeTarget, make_probe
from envtool.services.replica_log import LogPump, ReplicaLog
from envtool.services.service_request import ReadyProbe


class Pod:
    """Connects to a function that answers, or refuses."""

    def __init__(self, answer=None):
        self.answer = answer

    def connect(self, address, port, *, seconds):
        if self.answer is None:
            raise ConnectionRefusedError(111, "Connection refused")
        if isinstance(self.answer, OSError):
            raise self.answer
        near, far = socket.socketpair()
        near.settimeout(seconds)
        threading.Thread(target=self._serve, args=(far,), daemon=True).start()
        return near

    def _serve(self, far):
        with far:
            self.request = far.recv(4096)
            for piece in self.answer:
                try:
                    far.sendall(piece)
                except OSError:
                    return
                time.sleep(0.001)


class Container:
    def __init__(self, *sockets, files=()):
        self.sockets, self.files = sockets, files

    def tcp_sockets(self):
        return self.sockets

    def has_file(self, path):
        return path in self.files


@pytest.fixture
def probe():
    opened = []
    with tempfile.TemporaryFile() as file, LogPump() as pump:
        log = ReplicaLog(file)
        log.begin(1000)

        def make(how, *, pod=None, container=None, **more):
            target = ProbeTarget("db-1", "10.64.0.2", container or Container(), pod or Pod(), log, pump)
            made = make_probe(ReadyProbe(how, **more), target)
            opened.append(made)
            return made

        make.log, make.pump = log, pump
        yield make
        for each in opened:
            each.close()


def attempt(made, seconds=2.0, until=60.0):
    end = time.monotonic() + until
    while time.monotonic() < end:
        if made.attempt(seconds):
            return True
    return False


def test_a_port_that_accepts(probe):
    assert probe("tcp", port=80, pod=Pod([])).attempt(1.0)


@pytest.mark.parametrize(
    ("sockets", "reason"),
    [
        ((), "nothing listens on port 80, nor on any other"),
        ((("0.0.0.0", 8000),), "nothing listens on port 80; it listens on 0.0.0.0:8000"),
        ((("::", 81), ("10.64.0.2", 82)), "nothing listens on port 80; it listens on 10.64.0.2:82, [::]:81"),
        ((("127.0.0.1", 80),), "it listens on port 80 of its own loopback only: let it bind 0.0.0.0"),
        ((("::1", 80),), "it listens on port 80 of its own loopback only: let it bind 0.0.0.0"),
    ],
)
def test_a_port_that_nothing_listens_on(probe, sockets, reason):
    listening = [TcpSocket(address, port, LISTENING, 1) for address, port in sockets]
    made = probe("tcp", port=80, container=Container(*listening, TcpSocket("10.64.0.2", 80, ESTABLISHED, 2)))
    assert not made.attempt(1.0)
    assert made.reason() == reason


def test_a_long_list_is_cut(probe):
    listening = [TcpSocket("0.0.0.0", port, LISTENING, 1) for port in range(1000, 1030)]
    made = probe("tcp", port=80, container=Container(*listening))
    assert not made.attempt(1.0)
    assert made.reason().endswith(" and 22 more")


def test_a_port_that_does_not_answer(probe):
    made = probe("tcp", port=80, pod=Pod(TimeoutError(110, "timed out")))
    assert not made.attempt(1.0)
    assert made.reason() == "port 80 does not answer (timed out)"


@pytest.mark.parametrize("status", [200, 204, 301, 399])
def test_http(probe, status):
    pod = Pod([b"HTTP/1.1 %d OK\r\n" % status, b"\r\n"])
    assert probe("http", port=80, text="/health", pod=pod).attempt(1.0)
    assert pod.request.startswith(b"GET /health HTTP/1.1\r\nHost: db-1:80\r\n")
    assert pod.request.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ([b"HTTP/1.1 503 Busy\r\n\r\n"], "`HTTP/1.1 503 Busy`"),
        ([b"HTTP/1.1 404 Not", b" Found\r\n"], "`HTTP/1.1 404 Not Found`"),
        ([b"SSH-2.0-x\r\n"], "`SSH-2.0-x`"),
        ([], "`nothing`"),
        ([b"HTTP/1.1 200000 OK\r\n"], "`HTTP/1.1 200000 OK`"),
        ([b"\x1b[31mHTTP/1.1 500\r\n"], "`HTTP/1.1 500`"),
    ],
)
def test_http_that_is_not_well(probe, answer, shown):
    made = probe("http", port=80, text="/", pod=Pod(answer))
    assert not made.attempt(30.0)
    assert made.reason() == f"GET / on port 80 answered {shown}"


def test_http_without_an_end(probe):
    made = probe("http", port=80, text="/", pod=Pod([b"x" * 1000] * 100))
    assert not made.attempt(1.0)
    assert len(made.reason()) < 300
    slow = probe("http", port=80, text="/", pod=Pod(itertools.repeat(b"x")))
    began = time.monotonic()
    assert not slow.attempt(0.2)
    assert time.monotonic() - began < 30


def test_a_file(probe):
    assert probe("file", text="/run/x", container=Container(files={"/run/x"})).attempt(1.0)
    made = probe("file", text="/run/x")
    assert not made.attempt(1.0)
    assert made.reason() == "there is no /run/x in it"


class Leaving(Container):
    """Its command leaves a process in the background, which keeps the command's output open."""

    def __init__(self):
        super().__init__()
        self.left = []

    @contextlib.contextmanager
    def exec(self, argv, *, stdout, **_):
        self.left.append(os.dup(stdout))
        os.write(stdout, b"not yet\n")
        yield SimpleNamespace(wait=lambda: SimpleNamespace(status=1, timed_out=False))


def test_a_command_that_leaves_a_process_keeps_no_pipe(probe):
    container = Leaving()
    made = probe("command", command=("x",), container=container)
    for _ in range(5):
        assert not made.attempt(1.0)
    assert made.reason() == "`x` has not succeeded (exit 1: not yet)"
    end = time.monotonic() + 60
    while probe.pump._readers:  # its thread closes them
        assert time.monotonic() < end
        time.sleep(0.01)
    for descriptor in container.left:
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, b"late\n")
        os.close(descriptor)


def test_an_answer_that_never_comes_is_asked_for_again(probe, monkeypatch):
    """A server that is still starting may take a connection and forget it."""
    monkeypatch.setattr(ready_probes, "ATTEMPT_SECONDS", 0.05)
    pod = Silent()
    made = probe("http", port=80, text="/", pod=pod)
    began = time.monotonic()
    assert not made.attempt(60.0)
    assert time.monotonic() - began < 30
    assert made.reason() == "port 80 does not answer (timed out)"
    pod.answer = [b"HTTP/1.1 200 OK\r\n"]
    assert made.attempt(60.0)
    pod.far.close()


class Silent(Pod):
    """Takes a connection, and says nothing until it has an answer."""

    def connect(self, address, port, *, seconds):
        if self.answer is not None:
            return super().connect(address, port, seconds=seconds)
        near, self.far = socket.socketpair()
        near.settimeout(seconds)
        return near


def test_a_line(probe):
    probe.log.feed(b"starting\nlisten")
    made = probe("log", text=r"^listening on \d+$")
    assert not made.attempt(1.0)
    assert made.reason() == r"it has printed no line that matches `^listening on \d+$`"
    probe.log.feed(b"ing on 80")
    assert not made.attempt(1.0)
    probe.log.feed(b"\r\nmore\n")
    assert attempt(made)


def test_a_line_that_was_printed_before(probe):
    probe.log.feed(b"ready\n")
    assert attempt(probe("log", text="ready"))


def test_of_a_long_line_the_beginning_is_compared(probe):
    made = probe("log", text="needle")
    probe.log.feed(b"x" * ready_probes.MAX_LINE + b"needle\n")
    assert not attempt(made, until=0.3)
    probe.log.feed(b"x" * (ready_probes.MAX_LINE - 6) + b"needle and more\n")
    assert attempt(made)


def test_an_expression_that_takes_for_ever(probe):
    """It runs in a process of its own, which ends with the probe: the others go on."""
    made = probe("log", text=r"(a+)+$")
    probe.log.feed(b"a" * 200 + b"!\n")
    assert not attempt(made, until=0.3)
    for _ in range(400):
        probe.log.feed(b"more\n" * 10_000)
    assert not made.attempt(1.0)
    assert made.reason() == "`(a+)+$` takes too long to compare with what it prints"
    process = made._process
    assert os.path.exists(f"/proc/{process}")
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 60
    assert not os.path.exists(f"/proc/{process}")
    made.close = lambda: None


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_expression_of_which_python_warns(probe):
    made = probe("log", text="[[a]b]")
    probe.log.feed(b"[b]\nab]\n")
    assert attempt(made)


def test_what_is_printed_fast_is_all_compared(probe):
    made = probe("log", text="^needle$")
    for number in range(200):
        probe.log.feed(b"hay\n" * 10_000 + (b"needle\n" if number == 60 else b""))
    assert attempt(made, until=20)


def test_what_is_printed_after_the_end_goes_nowhere(probe):
    """The descriptor may be another file's by then."""
    made = probe("log", text="x")
    made.close()
    made.close = lambda: None
    with tempfile.TemporaryFile() as other:
        assert other.fileno() >= 0
        made._feed(b"x\n")
        assert os.fstat(other.fileno()).st_size == 0

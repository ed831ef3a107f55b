"""What the network of one run costs: the holder's start, members, names, packets, published ports, what a policy lets
out, many runs at once.

A member's process is a plain child that joins the pod's user namespace and the member's network.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from _bench import Failed, Table, options, run, seconds

from envtool.container import syscalls
from envtool.container.pod import RESOLVER, Member, Pod

IMPORT = "import time; b = time.perf_counter(); import pyroute2; print(time.perf_counter() - b)"
ONE_POD = """
import sys
from envtool.container.pod import Pod
with Pod(spare=3) as pod:
    for number in range(3):
        pod.add_member(f"db-{number}", "db")
    pod.publish("db", 5432)
"""
QUERY = b"\0\7\1\0\0\1\0\0\0\0\0\0\3api\0\0\1\0\1"
with socket.create_server(("127.0.0.1", 0)) as _probe:  # free on the host, where loopback is measured
    PORT = _probe.getsockname()[1]


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """Another process, until it is not needed any more."""
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield process
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def enter(pod: Pod, member: Member | None) -> None:
    """Join a member's network; None is the host's, for comparison."""
    if member is not None:
        syscalls.syscall("setns", pod.user_namespace, syscalls.CLONE_NEWUSER)
        syscalls.syscall("setns", member.namespace, syscalls.CLONE_NEWNET)


def inside(pod: Pod, member: Member | None, work: Callable[[], float]) -> float:
    """What a function returns that runs in a member."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            enter(pod, member)
            os.write(write, str(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as file:
        text = file.read()
    os.waitpid(process, 0)
    if not text:
        raise Failed("a member's process failed")
    return float(text)


def echo(pod: Pod, member: Member | None, address: str, ready: int) -> None:
    """Serve one connection after the other: what comes goes back, but a block that begins with 0 ends there."""
    enter(pod, member)
    listener = socket.create_server((address, PORT), backlog=256)
    os.write(ready, b"k")
    buffer = bytearray(1 << 18)
    while True:
        with listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while size := connection.recv_into(buffer):
                if buffer[0]:
                    connection.sendall(buffer[:size])


def ping(address: tuple[str, int], count: int) -> float:
    """Seconds of one byte there and back."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for _ in range(count):
            connection.send(b"x")
            connection.recv(1)
        return (time.perf_counter() - began) / count


def connect(address: tuple[str, int], count: int) -> float:
    """Seconds of connecting, one byte there and back, and closing."""
    began = time.perf_counter()
    for _ in range(count):
        with socket.create_connection(address, timeout=10) as connection:
            connection.send(b"x")
            connection.recv(1)
    return (time.perf_counter() - began) / count


def send(address: tuple[str, int], megabytes: int) -> float:
    """Seconds for 100 MB."""
    with socket.create_connection(address, timeout=10) as connection:
        block, left = bytes(1 << 18), megabytes * 1_000_000
        began = time.perf_counter()
        while left > 0:
            left -= connection.send(block)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return (time.perf_counter() - began) / megabytes * 100


def resolve(count: int) -> float:
    """Seconds of one query for a service's name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((RESOLVER, 53))
        began = time.perf_counter()
        for _ in range(count):
            client.send(QUERY)
            client.recv(512)
        return (time.perf_counter() - began) / count


def look_up(name: str) -> str:
    """The address of a name outside of the pod, or of a service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((RESOLVER, 53))
        client.send(QUERY[:12] + bytes((len(name),)) + name.encode() + QUERY[16:])
        return socket.inet_ntoa(client.recv(512)[-4:])


def start(other_work: float, allow: tuple[str, ...] = ()) -> float:
    """Seconds that a run waits for its first member, after so many seconds of other work."""
    with Pod(spare=1, allow=allow) as pod:
        time.sleep(other_work)
        began = time.perf_counter()
        pod.add_member("one")
        return time.perf_counter() - began


def members(count: int, *, spare: bool) -> float:
    """Seconds of adding members to a pod that runs; `spare` ones were made before."""
    with Pod(spare=count if spare else 0) as pod:
        pod.add_member("task")
        time.sleep(0.02 * count if spare else 0)
        began = time.perf_counter()
        for number in range(count):
            pod.add_member(f"api-{number}", "api")
        return time.perf_counter() - began


def many(count: int) -> float:
    """Seconds of that many runs at once, each with a holder, three members and a published port."""
    began = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", ONE_POD]) for _ in range(count)]
    if [process.wait() for process in running] != [0] * count:
        raise Failed("a run failed")
    return time.perf_counter() - began


def measure_traffic(asked: argparse.Namespace, table: Table) -> None:
    """Names, packets between members, and published ports, beside loopback."""
    rounds, count = asked.rounds, 20 if asked.tiny else 1000
    with Pod(spare=2) as pod:
        api, task = pod.add_member("api-1", "api"), pod.add_member("task")
        pod.set_ready("api-1", ready=True)
        _, port = pod.publish("api", PORT)
        ready, told = os.pipe()
        with (
            child(lambda: echo(pod, api, "0.0.0.0", told)),
            child(lambda: echo(pod, None, "127.0.0.1", told)),
        ):
            got = os.read(ready, 1) + os.read(ready, 1)
            assert got == b"kk"
            ways = {
                "envtool: between members": lambda work: inside(pod, task, lambda: work((api.address, PORT))),
                "envtool: published": lambda work: work(("127.0.0.1", port)),
                "loopback": lambda work: work(("127.0.0.1", PORT)),
            }
            measure_ways(asked, table, ways, count, base="loopback")
            table.measure("a query for a name", {"envtool": lambda: inside(pod, task, lambda: resolve(count))}, rounds)
        os.close(ready)
        os.close(told)


def measure_ways(
    asked: argparse.Namespace, table: Table, ways: dict[str, Any], count: int, *, base: str, before: str = ""
) -> None:
    """The same work by each of some ways to a server. A way calls the work with the server's address."""
    works = {
        "a byte there and back": lambda address: ping(address, 10 * count),
        "connect, a byte there and back": lambda address: connect(address, count),
        "send 100 MB": lambda address: send(address, 1 if asked.tiny else 300),
    }
    for what, work in works.items():
        contenders = {who: lambda way=way, work=work: way(work) for who, way in ways.items()}
        table.measure(f"{before}{what}", contenders, asked.rounds, base=base)


def measure_policy(asked: argparse.Namespace, table: Table) -> None:
    """Connections through the gateway to a server of this machine, by its name and by its loopback, beside direct."""
    count = 20 if asked.tiny else 1000
    with Pod(spare=1, allow=(f"localhost:{PORT}", f"127.0.0.1:{PORT}")) as pod:
        task = pod.add_member("task")
        ready, told = os.pipe()
        with child(lambda: echo(pod, None, "127.0.0.1", told)):
            assert os.read(ready, 1) == b"k"
            ways = {
                "envtool: an allowed name": lambda work: inside(pod, task, lambda: work((look_up("localhost"), PORT))),
                "envtool: an allowed address of loopback": lambda work: inside(
                    pod, task, lambda: work(("127.0.0.1", PORT))
                ),
                "direct": lambda work: work(("127.0.0.1", PORT)),
            }
            measure_ways(asked, table, ways, count, base="direct", before="policy: ")
        os.close(ready)
        os.close(told)


def main(asked: argparse.Namespace, table: Table) -> None:
    """All of it; nothing is left of any pod."""
    rounds = asked.rounds
    imports = {"python": lambda: float(subprocess.check_output([sys.executable, "-I", "-c", IMPORT]))}
    table.measure("import pyroute2", imports, rounds)
    for other in (0.0, 0.3):
        table.measure(
            f"first member, after {1000 * other:.0f} ms of other work", {"envtool": lambda o=other: start(o)}, rounds
        )
    for count in (2,) if asked.tiny else (1, 5, 20, 50):
        contenders = {
            f"envtool: {who}": lambda c=count, s=spare: members(c, spare=s)
            for who, spare in (("made ahead", True), ("made then", False))
        }
        table.measure(f"{count} more members", contenders, rounds)
    policies = {
        "envtool": lambda: start(0.3),
        "envtool, with a policy": lambda: start(0.3, ("a.example:443",)),
    }
    table.measure("first member, after 300 ms, with a gateway", policies, rounds, base="envtool")
    measure_traffic(asked, table)
    measure_policy(asked, table)
    for count in (2,) if asked.tiny else (1, 10, 50):
        table.measure(f"{count} runs at once", {"envtool": lambda c=count: many(c)}, min(rounds, 3))
    table.measure("python -c pass", {"python": lambda: seconds(sys.executable, "-c", "pass")}, rounds)


if __name__ == "__main__":
    run(main, options(__doc__, rounds=7), unit="ms")

"""What members of a pod reach outside of it by a policy, in all modes of ids. The machine that they are on is a world of
the test's own (pods/world.py), with names, networks and servers; members are plain children (pods/inside.py).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from envtool.container.pod import Pod, resolv_conf
from envtool.container.program import ContainerStep, Program, Root, TextMount
from envtool.container.supervisor import Container
from tests.e2e.test_container import tree  # noqa: F401 - a fixture
from tests.e2e.test_pods import PREAMBLE, namespaces_in_use, wait_for_end
from tests.places import SOURCES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give each caller a network and names of its own"),
]

HERE = Path(__file__).parent / "pods"
SERVERS = '''
HOSTS = sys.argv[1]

def listen(address, port, backlog=1024):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=backlog)

def outside(address, port, work):
    """A server of the machine's: each connection gets a thread."""
    listener = listen(address, port)
    def accept():
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=work, args=(connection,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener

def texts(address, port, text):
    def work(connection):
        with connection:
            connection.sendall(text.encode())
    return outside(address, port, work)

def memory(process):
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

def refused(pod):
    return sorted([a.protocol, a.host, a.port, a.reason] for a in pod.attempts()[0])

def fetch_all(*places):
    return [fetch(host, port) for host, port in places]
'''
HOSTS = """
127.0.0.1 localhost loop.example.org
203.0.113.10 one.example.org two.example.org deep.a.example.org example.org pypi.example
2001:db8::10 six.example.org
169.254.169.254 meta.example.org
203.0.114.1 away.example.org
198.51.100.1 silent.example.org
"""


def spawn(caller, tmp_path, body: str, *words: str, environment=(), hosts=HOSTS) -> subprocess.Popen:
    """Start a script as the caller, in a world of its own."""
    places = tmp_path / f"world-{caller.mode}-{time.monotonic_ns()}"
    places.mkdir()
    (places / "hosts").write_text(hosts)
    for path in (places, places / "hosts"):
        os.chown(path, caller.uid, caller.gid)
    for path in (*places.parents, places):
        if path.stat().st_uid == 0 and path != Path("/") and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o111)
    script = PREAMBLE + SERVERS + textwrap.dedent(body)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": caller.path,
        "HOME": caller.home,
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict(environment),
    }
    world = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {[str(path) for path in SOURCES]!r}\n" + (HERE / "world.py").read_text(),
    ]
    owner = [str(caller.uid), str(caller.gid), str(places / "hosts")]
    return subprocess.Popen(
        [*world, *owner, caller.command[0], "-c", script, str(places / "hosts"), *words], cwd="/", env=variables,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def run(caller, tmp_path):
    """What a script said."""

    def run(body: str, *words: str, timeout=90, **more) -> dict:
        process = spawn(caller, tmp_path, body, *words, **more)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        assert process.returncode == 0, out + err
        assert not err, err
        return json.loads(out)

    return run


@pytest.mark.parametrize("kind", ["bridge", "routed"])
def test_what_is_allowed_is_reached_and_nothing_else(run, kind):
    said = run(
        """
        texts("203.0.113.10", 443, "ten")
        texts("2001:db8::10", 443, "six")
        texts("192.0.2.7", 5432, "by its address")
        texts("127.0.0.1", 8080, "this machine")
        PLACES = [("one.example.org", 443), ("DEEP.a.Example.org", 443), ("pypi.example", 443), ("six.example.org", 443),
                  ("192.0.2.7", 5432), ("loop.example.org", 8080), ("127.0.0.1", 8080),
                  ("pypi.example", 80), ("one.example.org", 8443), ("example.org", 443), ("other.example", 443), ("192.0.2.7", 443),
                  ("198.51.100.7", 443), ("198.18.9.9", 443), ("127.0.0.1", 443), ("10.64.0.1", 443), ("one.example.org", 9), ("away.example.org", 443),
                  ("loop.example.org", 443), ("meta.example.org", 80), ("unknown.example.org", 443)]
        allow = ("pypi.example:443", "*.example.org:443", "*.example.org:8080", "*.example.org:9", "meta.example.org:80",
                 "192.0.2.7:5432", "127.0.0.1:8080")
        with Pod(kind=sys.argv[2], allow=allow) as pod:
            task, other = pod.add_member("task"), pod.add_member("other")
            took = []
            def reach():
                answers = []
                for place in PLACES:
                    began = time.perf_counter()
                    answers.append(fetch(*place))
                    took.append(time.perf_counter() - began)
                return answers, max(took)
            answers, longest = inside(pod, task, reach, names=True)
            again = inside(pod, other, lambda: fetch_all(*PLACES[:7]), names=True)
            say(kind=pod.kind, answers=answers, longest=longest, again=again, refused=refused(pod), passed=pod.passed())
        """,
        kind,
    )
    assert said["kind"] == kind
    reached = ["ten", "ten", "ten", "six", "by its address", "this machine", "this machine"]
    assert said["answers"][:7] == said["again"] == reached
    unknown = "[Errno -2] Name or service not known"
    assert said["answers"][7:] == [
        "ECONNREFUSED", "ECONNREFUSED", unknown, unknown, "ECONNREFUSED",
        "ENETUNREACH", "ENETUNREACH", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED", "ENETUNREACH",
        "EHOSTUNREACH", "EHOSTUNREACH", "EHOSTUNREACH",
    ]  # fmt: skip
    assert said["longest"] < 0.9 or os.getloadavg()[0] > 2  # no packet was lost, and sent again after a second
    own = "its address is one of this machine or its link: allow `{}` too"
    assert [each for each in said["refused"] if each[1] != "unknown.example.org"] == [
        ["name", "example.org", 0, ""],
        ["name", "other.example", 0, ""],
        ["tcp", "192.0.2.7", 443, ""],
        ["tcp", "198.18.9.9", 443, ""],
        ["tcp", "198.51.100.7", 443, ""],
        ["tcp", "away.example.org", 443, "network is unreachable"],
        ["tcp", "loop.example.org", 443, own.format("127.0.0.1:443")],
        ["tcp", "meta.example.org", 80, own.format("169.254.169.254:80")],
        ["tcp", "one.example.org", 9, "connection refused"],
        ["tcp", "one.example.org", 8443, ""],
        ["tcp", "pypi.example", 80, ""],
    ]
    assert [each[3][:24] for each in said["refused"] if each[1] == "unknown.example.org"] == [
        "its name has no address: "[:24]
    ]
    assert [":".join(map(str, pair)) for pair in said["passed"]] == [
        "127.0.0.1:8080", "192.0.2.7:5432", "deep.a.example.org:443", "loop.example.org:8080", "one.example.org:443",
        "pypi.example:443", "six.example.org:443",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["bridge", "routed"])
def test_a_pod_that_learns_says_the_smallest_policy(run, kind):
    """Any port of any name, and addresses; what it says, as a policy, allows the same."""
    said = run(
        """
        for port in (22, 443, 5432, 40000):
            texts("203.0.113.10", port, str(port))
        texts("192.0.2.7", 5432, "by its address")
        texts("127.0.0.1", 8080, "this machine")
        PLACES = [("one.example.org", 22), ("one.example.org", 443), ("two.example.org", 5432), ("pypi.example", 40000), ("192.0.2.7", 5432)]
        MORE = [("one.example.org", 23), ("loop.example.org", 8080), ("127.0.0.1", 8080), ("169.254.169.254", 80), ("unknown.example", 443)]
        with Pod(kind=sys.argv[2], learn=True) as pod:
            task = pod.add_member("task")
            answers = inside(pod, task, lambda: fetch_all(*PLACES, *MORE, *PLACES), names=True)
            passed, failed = pod.passed(), refused(pod)
        allow = [f"{host}:{port}" for host, port in passed]
        with Pod(kind=sys.argv[2], allow=allow) as pod:
            task = pod.add_member("task")
            again = inside(pod, task, lambda: fetch_all(*PLACES), names=True)
            say(answers=answers, passed=allow, failed=failed, again=again, refused=refused(pod))
        """,
        kind,
    )
    reached = ["22", "443", "5432", "40000", "by its address"]
    assert said["answers"][:5] == said["answers"][10:] == said["again"] == reached
    assert said["answers"][5:10] == ["ECONNREFUSED", "EHOSTUNREACH", "ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH"]
    assert said["passed"] == [
        "192.0.2.7:5432", "one.example.org:22", "one.example.org:443", "pypi.example:40000", "two.example.org:5432",
    ]  # fmt: skip
    assert ["tcp", "169.254.169.254", 80, ""] in said["failed"]
    assert ["tcp", "one.example.org", 23, "connection refused"] in said["failed"]
    assert said["refused"] == []


def test_a_name_that_comes_to_lead_to_this_machine_is_refused(run):
    """DNS rebinding: each connection is checked by the address that it is made to."""
    said = run(
        """
        texts("203.0.113.10", 443, "outside")
        texts("127.0.0.1", 443, "this machine")
        texts("203.0.113.11", 443, "elsewhere")
        with Pod(allow=("one.example.org:443",)) as pod:
            task, answers = pod.add_member("task"), []
            for address in ("203.0.113.10", "127.0.0.1", "0.0.0.0", "169.254.169.254", "203.0.113.11"):
                with open(HOSTS, "w") as file:
                    file.write(f"{address} one.example.org\\n")
                answers.append(inside(pod, task, lambda: fetch("one.example.org", 443), names=True))
            say(answers=answers)
        """
    )
    assert said["answers"] == ["outside", "EHOSTUNREACH", "EHOSTUNREACH", "EHOSTUNREACH", "elsewhere"]


def test_connections_are_carried_as_they_are(run):
    """Half of a connection may end before the other, a reset is a reset, one that idles goes on, and a side that does
    not read stops the other."""
    said = run(
        """
        import hashlib
        def echo(connection):  # all of it, when all has come
            data = b"".join(iter(lambda: connection.recv(65536), b""))
            connection.sendall(hashlib.sha256(data).hexdigest().encode())
            connection.close()
        def greet(connection):
            connection.sendall(b"I speak first")
            connection.shutdown(socket.SHUT_WR)
            data = b"".join(iter(lambda: connection.recv(65536), b""))
            heard.append(data.decode())
            connection.close()
        def breaking(connection):
            connection.sendall(b"half")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        def deaf(connection):
            deaf_ones.append(connection)
        def each_byte(connection):
            while data := connection.recv(1):
                connection.sendall(data)
            connection.close()
        heard, deaf_ones = [], []
        for port, work in ((1, echo), (2, greet), (3, breaking), (4, deaf), (5, each_byte)):
            outside("203.0.113.10", port, work)

        def connect(port):
            return socket.create_connection(("one.example.org", port), 20)

        def everything(connection):
            return b"".join(iter(lambda: connection.recv(65536), b""))

        def member():
            found = {}
            data = random.Random(1).randbytes(20_000_000)
            with connect(1) as each:
                each.sendall(data)
                each.shutdown(socket.SHUT_WR)
                found["whole"] = everything(each).decode() == hashlib.sha256(data).hexdigest()
            with connect(2) as each:
                found["first"] = everything(each).decode()
                each.sendall(b"and I after you")
            with connect(3) as each:
                found["half"] = each.recv(4).decode()
                each.send(b"x")
                try:
                    found["reset"] = str(each.recv(4))
                except OSError as error:
                    found["reset"] = errno.errorcode[error.errno]
            with connect(4) as each:
                each.settimeout(1)
                sent = 0
                try:
                    while sent < 1 << 28:
                        sent += each.send(bytes(65536))
                except TimeoutError:
                    found["stopped"] = sent < 64 << 20
            with connect(5) as idle:
                idle.send(b"a")
                found["idle"] = idle.recv(1).decode()
                with connect(5) as each:  # others go on beside a side that does not read
                    each.send(b"b")
                    found["beside"] = each.recv(1).decode()
                time.sleep(2)
                idle.send(b"c")
                found["later"] = idle.recv(1).decode()
            return found

        with Pod(allow=[f"one.example.org:{port}" for port in range(1, 6)]) as pod:
            task = pod.add_member("task")
            found = inside(pod, task, member, names=True)
            deadline = time.monotonic() + 60
            while not heard:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            say(heard=heard, **found)
        """
    )
    assert said == {
        "whole": True, "first": "I speak first", "heard": ["and I after you"], "half": "half", "reset": "ECONNRESET",
        "stopped": True, "idle": "a", "beside": "b", "later": "c",
    }  # fmt: skip


def test_five_hundred_connections_at_once(run):
    """All are open at the same time, each gets its own answer, and nothing is left of them."""
    said = run(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        def each_line(connection):
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)
        outside("203.0.113.10", 443, each_line)
        def member():
            began = time.perf_counter()
            resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
            poll, connections = select.poll(), {}
            address = socket.gethostbyname("one.example.org")
            for number in range(500):
                each = socket.socket()
                each.setblocking(False)
                each.connect_ex((address, 443))
                connections[each.fileno()] = (each, number)
                poll.register(each, select.POLLOUT)
            waiting = set(connections)
            while waiting:
                for descriptor, events in poll.poll(20000):
                    poll.unregister(descriptor)
                    waiting.discard(descriptor)
            made = time.perf_counter() - began
            wrong = 0
            for _ in range(2):
                for each, number in connections.values():
                    each.send(b"%d" % number)
                for each, number in connections.values():
                    each.setblocking(True)
                    each.settimeout(20)
                    wrong += each.recv(100) != b"%d" % number
            return wrong, made
        with Pod(allow=("one.example.org:443",)) as pod:
            task = pod.add_member("task")
            descriptors = lambda: len(os.listdir(f"/proc/{pod._gateway}/fd")) if os.geteuid() == 0 else 0
            inside(pod, task, lambda: fetch("one.example.org", 1), names=True)
            before = memory(pod._gateway), memory(pod._holder), descriptors()
            wrong, made = inside(pod, task, member, names=True)
            deadline = time.monotonic() + 60
            while descriptors() > before[2] and time.monotonic() < deadline:
                time.sleep(0.02)
            grown = memory(pod._gateway) - before[0], memory(pod._holder) - before[1]
            say(wrong=wrong, made=made, grown=grown, left=descriptors() - before[2], passed=pod.passed(), refused=refused(pod))
        """
    )
    assert said["wrong"] == 0
    assert said["passed"] == [["one.example.org", 443]]
    assert said["refused"] == [["tcp", "one.example.org", 1, ""]]
    assert said["made"] < 15
    assert max(said["grown"]) < 6000  # KiB
    assert said["left"] == 0


def test_more_connections_than_there_may_be(run):
    """Where descriptors are few: what is too many is refused, says so, and can be made when others have ended."""
    said = run(
        """
        import resource
        def each_line(connection):
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)
        outside("203.0.113.10", 443, each_line)
        def member():
            address, connections, answers = socket.gethostbyname("one.example.org"), [], collections.Counter()
            for _ in range(60):
                each = socket.socket()
                each.settimeout(10)
                try:
                    each.connect((address, 443))
                    each.send(b"x")
                    answers[each.recv(1).decode()] += 1
                    connections.append(each)
                except OSError as error:
                    answers[errno.errorcode[error.errno]] += 1
            for each in connections:
                each.close()
            return dict(answers), fetch_some(address)
        def fetch_some(address):
            deadline = time.monotonic() + 60
            while True:
                try:
                    with socket.create_connection((address, 443), 10) as each:
                        each.send(b"again")
                        return each.recv(5).decode()
                except ConnectionRefusedError:  # the gateway has not seen yet that the others have ended
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
        with Pod(allow=("one.example.org:443",)) as pod:
            task = pod.add_member("task")
            answers, again = inside(pod, task, member, names=True)
            say(answers=answers, again=again, refused=refused(pod))
        """
    )
    assert said["answers"] == {"x": 45, "ECONNREFUSED": 15}
    assert said["again"] == "again"
    assert said["refused"] == [["tcp", "one.example.org", 443, "45 connections are open at once already"]]


def test_data_in_the_first_packet_arrives(run):
    """TCP Fast Open (RFC 7413): the data of a SYN is not acknowledged, and so sent again."""
    said = run(
        """
        def echo(connection):
            with connection:
                while data := connection.recv(100000):
                    connection.sendall(data)
        outside("203.0.113.10", 443, echo)
        def member():
            answers, address = [], socket.gethostbyname("one.example.org")
            for size in (1, 50, 1000):
                with socket.socket() as each:
                    each.settimeout(10)
                    each.setsockopt(socket.IPPROTO_TCP, 34, 1)  # TCP_FASTOPEN_NO_COOKIE
                    each.sendto(b"x" * size, socket.MSG_FASTOPEN, (address, 443))
                    received = 0
                    while received < size and (data := each.recv(65536)):
                        received += len(data)
                    answers.append(received)
            return answers
        with Pod(allow=("one.example.org:443",)) as pod:
            say(answers=inside(pod, pod.add_member("task"), member, names=True), passed=pod.passed())
        """
    )
    assert said == {"answers": [1, 50, 1000], "passed": [["one.example.org", 443]]}


def test_this_machines_proxy_is_used(run):
    """By CONNECT, with its password, which no member sees; not for the hosts of NO_PROXY. One that takes its time is
    asked once, though the member's kernel sends its SYN again meanwhile."""
    said = run(
        """
        asked = []
        def proxy(connection):
            request = b""
            while b"\\r\\n\\r\\n" not in request:
                request += connection.recv(1000)
            asked.append(request.decode().replace("\\r\\n", "|"))
            time.sleep(1.3 * (b"slow" in request))
            if b"refused" in request:
                connection.sendall(b"HTTP/1.1 403 Forbidden\\r\\n\\r\\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\nthrough the proxy")
            connection.close()
        outside("127.0.0.1", 3128, proxy)
        texts("203.0.113.10", 443, "without it")
        with Pod(allow=("far.example:443", "refused.example:443", "one.example.org:443", "192.0.2.7:5432", "slow.example:443",
                        "127.0.0.1:8080")) as pod:
            texts("127.0.0.1", 8080, "this machine")
            task = pod.add_member("task")
            places = [("127.0.0.1", 8080), ("far.example", 443), ("refused.example", 443), ("one.example.org", 443), ("192.0.2.7", 5432), ("slow.example", 443)]
            answers = inside(pod, task, lambda: fetch_all(*places), names=True)
            lines = open(f"/proc/{pod._gateway}/cmdline").read() + open(f"/proc/{pod._holder}/cmdline").read()
            say(answers=answers, asked=asked, refused=refused(pod), secret="secret" in lines)
        """,
        environment={"HTTPS_PROXY": "http://me:secret@localhost:3128", "NO_PROXY": ".example.org"},
    )
    assert said["answers"] == [
        "this machine",
        "through the proxy",
        "ECONNREFUSED",
        "without it",
        "through the proxy",
        "through the proxy",
    ]
    password = "Proxy-Authorization: Basic bWU6c2VjcmV0||"
    assert said["asked"] == [
        f"CONNECT {host} HTTP/1.1|Host: {host}|{password}"
        for host in ("far.example:443", "refused.example:443", "192.0.2.7:5432", "slow.example:443")
    ]
    assert said["refused"] == [["tcp", "refused.example", 443, "this machine's proxy refuses it: 403 Forbidden"]]
    assert not said["secret"]


def test_a_rule_or_proxy_that_cannot_be_is_an_error_and_starts_nothing(run):
    said = run(
        """
        errors = []
        with nothing_left(descriptors, processes):
            for allow in (("pypi.example",), ("*:443",)):
                try:
                    Pod(allow=allow)
                except ValueError as error:
                    errors.append(str(error))
            os.environ["ALL_PROXY"] = "socks5://me:secret@localhost:1080"
            try:
                Pod(allow=("pypi.example:443",))
            except EnvtoolError as error:
                errors.append(error.code)
            with Pod() as pod:  # without a policy nobody asks for the proxy
                errors.append(pod.add_member("task").address)
                errors.append(pod.passed())
        say(errors=errors)
        """
    )
    assert said["errors"][0] == "`pypi.example` has no port: write it as `HOST:PORT`, for example `pypi.example:443`"
    assert said["errors"][1].startswith("`*:443`: ")
    assert said["errors"][2:] == ["fetch-proxy", "10.64.0.2", []]


@pytest.mark.any_caller
def test_hostile_members_neither_end_nor_grow_the_processes(run):
    """A root of its container sends what it likes: SYNs with forged addresses, cut short, for all ports, from one port
    again and again; names without end; connections that it never uses."""
    said = run(
        """
        texts("203.0.113.10", 443, "ten")
        def segment(source, target, port, source_port, flags=2, offset=5, size=20):
            tcp = struct.pack("!HHIIBBHHH", source_port, port, random.getrandbits(32), 0, offset << 4, flags, 1000, 0, 0)[:size]
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + socket.inet_aton(source) + socket.inet_aton(target)
            total = sum(struct.unpack("!10H", ip))
            while total > 0xFFFF:
                total = (total & 0xFFFF) + (total >> 16)
            return ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:] + tcp

        def flood(seed, own, others, seconds):
            chance = random.Random(seed)
            random.seed(seed)
            number = int(own.rpartition(".")[2])
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sender.bind(("eth0", 0))
            client, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
            address = ask("one.example.org")[1][0]
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for _ in range(40):
                    source = chance.choice([own, own, own, others, HUB, "8.8.8.8", address, "127.0.0.1", "0.0.0.0"])
                    target = chance.choice([address, address, "198.18.0.77", "192.0.2.7", "8.8.8.8", "198.19.255.255"])
                    packet = segment(source, target, chance.choice([443, 443, chance.randrange(65536)]),
                                     chance.choice([7, chance.randrange(65536)]), chance.choice([2, 2, 2, 0xC2, 0, 0x12, 4]),
                                     chance.randrange(16), chance.choice([20, 20, 20, 14, 8, 0]))
                    source_number = chance.choice([number, number, number, 3, 1])
                    try:
                        sender.send(frame(1, source_number, 0x800, packet))
                        client.sendto(query(f"n{chance.getrandbits(60)}.example.org"), (HUB, 53))
                        client.sendto(b"x", (address, 443))
                    except OSError:
                        pass
                stream = socket.socket()
                stream.setblocking(False)
                stream.connect_ex((address, 443))
                streams.append(stream)
                for each in streams[:-100]:
                    each.close()
                streams = streams[-100:]
            return len(streams)

        with Pod(allow=("*.example.org:443", "192.0.2.7:5432")) as pod:
            hostile, task = pod.add_member("hostile"), pod.add_member("task")
            inside(pod, task, lambda: fetch("one.example.org", 443), names=True)
            before = memory(pod._holder), memory(pod._gateway)
            children = [start(pod, hostile, flood, seed, hostile.address, task.address, 2.0) for seed in range(2)]
            for child, read in children:
                with open(read, "rb") as file:
                    kind, value = marshal.loads(file.read())
                assert kind == "value", value
                os.waitpid(child, 0)
            def patient():  # packets of the flood wait still: some of ours may be lost, and are sent again
                return [fetch("one.example.org", 443, 20) for _ in range(10)]
            served = inside(pod, task, patient, names=True)
            grown = memory(pod._holder) - before[0], memory(pod._gateway) - before[1]
            noted, more = pod.attempts()
            say(served=served, grown=grown, noted=len(noted), passed=pod.passed())
        """
    )
    assert said["served"] == ["ten"] * 10
    assert said["grown"][0] < 6000  # KiB: names and pending connections, all of them bounded
    assert said["grown"][1] < 6000
    assert said["noted"] <= 512
    assert said["passed"] == [["one.example.org", 443]]


@pytest.mark.any_caller
def test_what_the_gateway_may_not_do(run):
    """The limits that it gives itself, and those on another process."""
    said = run(
        """
        from envtool.container import gateway, seccomp

        def tell(work, *arguments):
            try:
                work(*arguments)
                return "done"
            except OSError as error:
                return errno.errorcode[error.errno]

        def work():
            found = {}
            gateway._give_up_rights()
            for path, flags in (("/etc/shadow", os.O_RDONLY), (sys.argv[1], os.O_RDONLY), ("/tmp/x", os.O_WRONLY | os.O_CREAT), ("/root", os.O_RDONLY),
                                (f"/proc/{os.getppid()}/mem", os.O_RDONLY), ("/etc/resolv.conf", os.O_RDONLY), ("/etc/x", os.O_WRONLY | os.O_CREAT)):
                found[path.replace(str(os.getppid()), "parent").replace(sys.argv[1], "own")] = tell(os.open, path, flags)
            syscalls.load_seccomp(seccomp.build_gateway_filter())
            found |= {"fork": tell(os.fork), "exec": tell(os.execv, "/bin/true", ["true"]), "kill": tell(os.kill, os.getppid(), 0),
                      "netlink": tell(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW), "ip": tell(socket.socket, socket.AF_INET6),
                      "packet": tell(socket.socket, socket.AF_PACKET, socket.SOCK_RAW), "vsock": tell(socket.socket, 40),
                      "setns": tell(syscalls.syscall, "setns", 0, 0), "mount": tell(syscalls.syscall, "mount", "/", "/mnt", None, 4096, None)}
            return found

        read, write = os.pipe()
        os.dup2(read, 1000)  # stands for the lifeline
        child = os.fork()
        if child == 0:
            try:
                gateway.pod_process.LIFELINE = 1000
                os.write(write, marshal.dumps(work()))
            except BaseException as error:
                os.write(write, marshal.dumps({"error": repr(error)}))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        found = marshal.loads(os.read(read, 65536))
        with Pod(allow=("one.example.org:443",)) as pod:
            pod.kind
            with open(f"/proc/{pod._gateway}/status") as file:
                status = dict(line.split(":\\t") for line in file.read().splitlines() if ":\\t" in line)
            tasks = [open(f"/proc/{pod._gateway}/task/{task}/status").read() for task in os.listdir(f"/proc/{pod._gateway}/task")]
            seccomps = {line for text in tasks for line in text.splitlines() if line.startswith("Seccomp:")}
            title = open(f"/proc/{pod._gateway}/cmdline").read()
            host = os.stat(f"/proc/{pod._gateway}").st_uid
            say(landlock=tell(syscalls.syscall, "landlock_create_ruleset", None, 0, 1) == "done", memory=int(status["VmRSS"].split()[0]),
                capabilities=status["CapEff"], privileges=status["NoNewPrivs"], uid=status["Uid"].split()[0], seccomps=sorted(seccomps), title=title, **found)
        """
    )
    assert said["seccomps"] == ["Seccomp:\t2"]
    assert said["title"].startswith("envtool: the gateway of a pod")
    assert (said["capabilities"], said["privileges"]) == ("0000000000000000", "1")
    assert said["uid"] != "0"
    assert said["memory"] <= 20 * 1024
    files = ("/etc/shadow", "own", "/tmp/x", "/root", "/proc/parent/mem", "/etc/x")
    if said["landlock"]:
        assert {name: said[name] for name in files} == dict.fromkeys(files, "EACCES")
    assert said["/etc/resolv.conf"] == "done"
    refused = ("fork", "exec", "kill", "setns", "mount")
    assert {name: said[name] for name in refused} == dict.fromkeys(refused, "EPERM")
    assert (said["netlink"], said["ip"], said["packet"], said["vsock"]) == (
        "done",
        "done",
        "EAFNOSUPPORT",
        "EAFNOSUPPORT",
    )


@pytest.mark.parametrize("moment", ["at once", "ready", "working", "stopped"])
def test_both_processes_die_with_their_caller(caller, tmp_path, moment, depth):
    for _ in depth.times(1, 20):
        process = spawn(
            caller,
            tmp_path,
            """
            texts("203.0.113.10", 443, "ten")
            pod = Pod(allow=("one.example.org:443",))
            print(pod._holder, pod._gateway, flush=True)
            if sys.argv[2] != "at once":
                pod.kind
            if sys.argv[2] == "stopped":
                os.kill(pod._holder, signal.SIGSTOP)
                os.kill(pod._gateway, signal.SIGSTOP)
            print("now", flush=True)
            if sys.argv[2] == "working":
                task = pod.add_member("task")
                while True:
                    inside(pod, task, lambda: fetch("one.example.org", 443), names=True)
            time.sleep(60)
            """,
            moment,
        )
        children = [int(word) for word in process.stdout.readline().split()]
        assert process.stdout.readline() == "now\n"
        namespace = os.readlink(f"/proc/{children[0]}/ns/net") if moment != "at once" else ""
        time.sleep(depth.random.random() * (0.3 if moment in ("at once", "working") else 0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for child in children:
            wait_for_end(child)
        deadline = time.monotonic() + 10  # a member's process may be on its way out
        while namespace and namespace in namespaces_in_use("net"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("victim", ["_gateway", "_holder"])
def test_one_process_ends_with_the_other(run, victim):
    said = run(
        """
        texts("203.0.113.10", 443, "ten")
        with nothing_left(descriptors, processes), Pod(allow=("one.example.org:443",)) as pod:
            task = pod.add_member("task")
            first = inside(pod, task, lambda: fetch("one.example.org", 443), names=True)
            os.kill(getattr(pod, sys.argv[2]), signal.SIGKILL)
            ended = [os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT) is not None for child in (pod._gateway, pod._holder)]
            ready = bool(select.select([pod], [], [], 10)[0])
            try:
                pod.add_member("more")
            except EnvtoolError as error:
                code = error.code
        say(first=first, ended=ended, ready=ready, code=code)
        """,
        victim,
    )
    assert said["first"] == "ten"
    assert said["ended"] == [True, True]
    assert said["ready"]
    assert said["code"] == "network-lost"


def test_a_target_that_comes_later_is_waited_for(run):
    """A program that waits until a port is open must wait: a connection is made only where there is one outside. One
    that gives up leaves nothing."""
    said = run(
        """
        def wait():
            tries = 0
            while (answer := fetch("one.example.org", 443)) == "ECONNREFUSED":
                tries += 1
                time.sleep(0.02)
            return tries, answer
        def give_up():
            answers = []
            for _ in range(20):
                answers.append(fetch("silent.example.org", 443, 0.02))
            return sorted(set(answers))
        with Pod(allow=("one.example.org:443", "silent.example.org:443")) as pod:
            task = pod.add_member("task")
            threading.Timer(1.0, texts, ("203.0.113.10", 443, "at last")).start()
            tries, answer = inside(pod, task, wait, names=True)
            silent = inside(pod, task, give_up, names=True)
            say(tries=tries, answer=answer, silent=silent, after=inside(pod, task, wait, names=True), passed=pod.passed())
        """
    )
    assert said["tries"] > 0
    assert said["answer"] == "at last"
    assert said["silent"] == ["timed out"]
    assert said["after"] == [0, "at last"]
    assert said["passed"] == [["one.example.org", 443]]


def test_udp_is_refused_at_once_and_noted(run):
    """A client that tries QUIC first goes on with TCP."""
    said = run(
        """
        def send():
            answers = []
            for host, port in (("one.example.org", 443), ("198.51.100.9", 53)):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(5)
                    client.connect((host, port))
                    client.send(b"hello")
                    try:
                        client.recv(1)
                    except OSError as error:
                        answers.append(errno.errorcode[error.errno])
            return answers
        with Pod(allow=("one.example.org:443",)) as pod:
            say(answers=inside(pod, pod.add_member("task"), send, names=True), refused=refused(pod))
        """
    )
    assert said["answers"] == ["ECONNREFUSED", "ENETUNREACH"]
    assert said["refused"] == [["udp", "198.51.100.9", 53, ""], ["udp", "one.example.org", 443, ""]]


def test_services_and_members_come_before_names_outside(run):
    said = run(
        """
        texts("203.0.113.10", 443, "outside")
        with Pod(allow=("one.example.org:443", "db:5432")) as pod:
            db, task = pod.add_member("db-1", "db"), pod.add_member("task")
            server = serve(pod, db, 5432, "the service")
            pod.set_ready("db-1", ready=True)
            port = pod.publish("db", 5432)[1]
            answers = inside(pod, task, lambda: fetch_all(("db", 5432), ("db-1", 5432), ("one.example.org", 443)), names=True)
            pod.remove_member("task")
            again = pod.add_member("task")
            after = inside(pod, again, lambda: fetch("one.example.org", 443), names=True)
            say(answers=answers, published=fetch("127.0.0.1", port), after=after)
            end(server)
        """
    )
    assert said == {
        "answers": ["the service", "the service", "outside"],
        "published": "the service",
        "after": "outside",
    }


def test_each_pod_has_a_policy_of_its_own(run):
    said = run(
        """
        texts("203.0.113.10", 443, "ten")
        with Pod(allow=("one.example.org:443",)) as one, Pod(allow=("two.example.org:443",)) as two, Pod() as none:
            answers = [inside(pod, pod.add_member("task"), lambda: fetch_all(("one.example.org", 443), ("two.example.org", 443)), names=True)
                       for pod in (one, two, none)]
            say(answers=answers, passed=[pod.passed() for pod in (one, two, none)])
        """
    )
    unknown = "[Errno -2] Name or service not known"
    assert said["answers"] == [["ten", unknown], [unknown, "ten"], [unknown, unknown]]
    assert said["passed"] == [[["one.example.org", 443]], [["two.example.org", 443]], []]


def test_these_tests_see_the_world(run):
    """The names and networks that they rely on are there, without any pod."""
    said = run(
        """
        texts("203.0.113.10", 443, "ten")
        say(one=fetch("one.example.org", 443), away=fetch("away.example.org", 443), silent=fetch("silent.example.org", 443, 0.3),
            host=socket.gethostbyname("loop.example.org"))
        """
    )
    assert said == {"one": "ten", "away": "ENETUNREACH", "silent": "timed out", "host": "127.0.0.1"}


def test_a_lone_container_says_what_it_tried(run):
    """One that has no network and no pod: names as they were asked for, addresses as a number."""
    said = run(
        """
        from envtool.container import supervisor
        from envtool.container.program import ContainerStep, Program, Root
        with tempfile.TemporaryDirectory() as tree:
            os.chmod(tree, 0o755)
            for name in ("etc", "tmp", "dev", "proc"):
                os.mkdir(f"{tree}/{name}")
            def run(*call, **more):
                steps = (ContainerStep(call=call[0], arguments=call[1:]),)
                return supervisor.run(Program(root=Root(lowers=(tree,)), steps=steps, **more).to_dict())
            name = run("socket:gethostbyname", "API.example.org")
            address = run("socket:create_connection", ("192.0.2.7", 443))
            own = run("socket:create_connection", ("127.0.0.1", 443))
            passed = run("socket:gethostname")
            said = [[each.status, each.error.partition(" (")[0], each.network_tried] for each in (name, address, own, passed)]
        say(said=said)
        """
    )
    assert said["said"] == [
        [1, "Temporary failure in name resolution", [["api.example.org"], 0]],
        [1, "Network is unreachable", [[], 1]],
        [1, "Connection refused", [[], 0]],
        [0, "", [[], 0]],
    ]


def try_places(*places: str) -> None:
    """Print what a program in a container sees of places outside."""
    answers = []
    for place in places:
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                answers.append(connection.recv(100).decode())
        except OSError as error:
            answers.append(
                type(error).__name__ if isinstance(error, socket.gaierror) else errno.errorcode[error.errno or 0]
            )
    print(json.dumps(answers), flush=True)


@pytest.mark.parametrize("user", ["user", "root"])
def test_a_real_container_has_the_policy_of_its_pod(tree, user, monkeypatch):  # noqa: F811
    """On this very machine, with the machine's own resolver."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(b"this machine")

        threading.Thread(target=serve, daemon=True).start()
        out = os.memfd_create("out")
        places = (
            f"127.0.0.1:{port}",
            f"127.0.0.1:{port % 65535 + 1}",
            "no-such-host.invalid:443",
            "other.invalid:443",
            "192.0.2.1:9",
        )
        with Pod(user=user == "user", allow=(f"127.0.0.1:{port}", "no-such-host.invalid:443")) as pod:
            task = pod.add_member("task")
            program = Program(
                root=Root(lowers=(tree,)),
                steps=(ContainerStep(call=f"{__name__}:try_places", arguments=places),),
                mounts=(TextMount(target="/etc/resolv.conf", content=resolv_conf()),),
                hostname="task",
                address=task.address,
                user=user,
            )
            with (
                pod.namespaces("task") as namespaces,
                Container(program.to_dict(), joins=namespaces, stdout=out, stderr=out) as container,
            ):
                container.start()
                assert container.wait().status == 0, os.pread(out, 1000, 0)
            answers = json.loads(os.pread(out, 1000, 0))
            tried = sorted((attempt.protocol, attempt.host, attempt.port) for attempt in pod.attempts()[0])
            assert pod.passed() == (("127.0.0.1", port),)
        os.close(out)
    assert answers == ["this machine", "ECONNREFUSED", "EHOSTUNREACH", "gaierror", "ENETUNREACH"]
    assert tried == [("name", "other.invalid", 0), ("tcp", "192.0.2.1", 9), ("tcp", "no-such-host.invalid", 443)]

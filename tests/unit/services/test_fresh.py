"""`fresh NAME`: whatever a task sends, the server neither ends nor grows, and the end of its context comes at once."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.errors import Interrupted, ServiceError
from envtool.services import fresh_client, fresh_server
from envtool.services.fresh_server import LINE, FreshServer
from tests.leftovers import descriptors, nothing_left, threads

REFUSED = b"a request is `fresh NAME` and a line feed\n"


class Calls:
    """Notes the names that were asked for. One of ERRORS is raised for its name; `slow` takes until the end."""

    ERRORS = {
        "gone": ServiceError("there is no service `gone` here", code="service-name", hint="there are\n db", service=""),
        "ended": Interrupted(),
        "fault": ZeroDivisionError("a fault"),
        "system": OSError(5, "an error"),
        "long": ServiceError("x" * 100_000, code="x", service=""),
    }

    def __init__(self):
        self.names = []
        self.began = threading.Event()

    def __call__(self, name, over):
        self.names.append(name)
        self.began.set()
        if name == "slow":
            assert over.wait(30)
            raise Interrupted
        if name in self.ERRORS:
            raise self.ERRORS[name]


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def place(tmp_path, calls):
    with FreshServer(str(tmp_path), calls) as server:
        server.path = str(tmp_path / "fresh.sock")
        yield server


def connect(server):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(server.path)
    connection.settimeout(20)
    return connection


def read_all(connection):
    data = b""
    while received := connection.recv(65536):
        data += received
    return data


def ask(server, request, *, ends=True):
    with connect(server) as connection:
        connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def test_it_calls_and_answers(place, calls):
    assert ask(place, b"fresh db\n", ends=False) == b"ok\n"
    assert ask(place, b"fresh a-b_c.d\n") == b"ok\n"
    assert calls.names == ["db", "a-b_c.d"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("gone", b"there is no service `gone` here: there are db\n"),
        ("ended", b"the run is being ended\n"),
        ("fault", b"internal error: ZeroDivisionError: a fault (this is a bug)\n"),
        ("system", b"internal error: OSError: [Errno 5] an error (this is a bug)\n"),
    ],
)
def test_an_error_is_one_line_and_the_server_goes_on(place, name, answer):
    assert ask(place, f"fresh {name}\n".encode()) == answer
    assert ask(place, b"fresh db\n") == b"ok\n"


def test_a_long_error_is_shortened(place):
    answer = ask(place, b"fresh long\n")
    assert (len(answer), answer[-1:]) == (fresh_server.ANSWER + 1, b"\n")


@pytest.mark.parametrize(
    "request_",
    [
        b"", b"\n", b"fresh", b"fresh\n", b"fresh db", b"FRESH db\n", b" fresh db\n", b"stop db\n", b"fresh db\n\n",
        b"fresh db\nfresh db\n", b"fresh d\0b\n", b"fresh \xff\n", b"fresh d\xc3\xb6\n", b"fresh db\r\n", b"fresh\tdb\n",
        b"fresh " + b"x" * LINE + b"\n", b"x" * (LINE + 1), b"fresh " + b"y" * 10_000,
    ],
)  # fmt: skip
def test_other_lines_are_refused(place, calls, request_):
    with connect(place) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        try:
            assert read_all(connection) == REFUSED
        except ConnectionResetError:  # more was sent than is read
            assert len(request_) > LINE
    assert calls.names == []
    assert ask(place, b"fresh db\n") == b"ok\n"


def test_the_longest_line(place, calls):
    name = "x" * (LINE - len("fresh \n"))
    assert ask(place, f"fresh {name}\n".encode()) == b"ok\n"
    assert calls.names == [name]


def test_a_name_is_text_that_can_be_printed(place, calls):
    """The group looks it up among its own services: an empty name, or one with blanks, is none of them."""
    for name in ("", " ", "../db", "db other", "$(x)"):
        assert ask(place, f"fresh {name}\n".encode()) == b"ok\n"
        assert calls.names.pop() == name


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=2 * LINE) | st.text(max_size=LINE).map(lambda text: f"fresh {text}\n".encode()))
@example(data=b"fresh slo\n")
def test_any_bytes(data):
    """All in one server, which answers each, and calls for what is a whole request alone."""
    server, calls = _shared()
    calls.names.clear()
    with connect(server) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        except (ConnectionResetError, BrokenPipeError):
            assert len(data) > LINE
            answer = REFUSED
    if calls.names:
        (name,) = calls.names
        assert data == f"fresh {name}\n".encode()
        assert name.isprintable()
        assert name.isascii()
    else:
        assert answer == REFUSED
    assert ask(server, b"fresh db\n") == b"ok\n"


_MADE = ExitStack()
_SHARED = []


def _shared():
    if not _SHARED:
        import tempfile

        top = _MADE.enter_context(tempfile.TemporaryDirectory())
        calls = Calls()
        server = _MADE.enter_context(FreshServer(top, calls))
        server.path = os.path.join(top, "fresh.sock")
        _SHARED.append((server, calls))
    return _SHARED[0]


@pytest.fixture(scope="module", autouse=True)
def _end_shared():
    yield
    _MADE.close()
    _SHARED.clear()


# ---- slow and many clients -------------------------------------------------------------------------------------------


def test_half_a_line_takes_its_time_and_no_more(place, calls, monkeypatch):
    monkeypatch.setattr(fresh_server, "SECONDS", 0.3)
    began = time.monotonic()
    with connect(place) as silent, connect(place) as half:
        half.sendall(b"fresh d")
        assert ask(place, b"fresh db\n") == b"ok\n"
        assert time.monotonic() - began < 60
        assert (read_all(silent), read_all(half)) == (REFUSED, REFUSED)
    assert calls.names == ["db"]


def test_a_byte_now_and_then_does_not_extend_the_time(place, monkeypatch):
    monkeypatch.setattr(fresh_server, "SECONDS", 0.5)
    began = time.monotonic()
    with connect(place) as connection:
        with pytest.raises(OSError):
            while time.monotonic() - began < 120:
                connection.sendall(b"f")
                time.sleep(0.05)
        assert time.monotonic() - began < 60


def test_a_client_that_never_reads(place):
    with ExitStack() as exits:
        for _ in range(12):
            exits.enter_context(connect(place)).sendall(b"fresh long\n")
        assert ask(place, b"fresh db\n") == b"ok\n"


def test_clients_that_go(place):
    for number in range(100):
        with connect(place) as connection:
            connection.sendall(b"fresh db\n"[: number % 10])
    assert ask(place, b"fresh db\n") == b"ok\n"


def test_many_connections_hold_nothing(place):
    assert ask(place, b"fresh db\n") == b"ok\n"
    with nothing_left(descriptors, threads):
        for _ in range(300):
            ask(place, b"fresh db\n")
    with nothing_left(descriptors, threads):
        clients = [threading.Thread(target=ask, args=(place, b"fresh db\n")) for _ in range(40)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert ask(place, b"fresh db\n") == b"ok\n"


def test_more_clients_than_may_wait(client, calls):
    """A full queue of connections is waited for."""
    clients = [threading.Thread(target=client.fresh, args=("db",)) for _ in range(60)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert calls.names == ["db"] * 60


def test_one_at_a_time(tmp_path):
    running, most = [], []

    def fresh(name, over):
        running.append(name)
        most.append(len(running))
        over.wait(0.01)
        running.remove(name)

    with FreshServer(str(tmp_path), fresh) as server:
        server.path = str(tmp_path / "fresh.sock")
        clients = [threading.Thread(target=ask, args=(server, b"fresh db\n")) for _ in range(20)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert most == [1] * 20


def test_without_descriptors_it_waits(place):
    """A connection that cannot be taken is no reason to end, nor to take a processor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
        connection.connect(place.path)
        connection.sendall(b"fresh db\n")
        began, used = time.monotonic(), time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used < 0.3 * (time.monotonic() - began)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with connection:
        assert read_all(connection) == b"ok\n"


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [None, b"", b"fresh d", b"fresh slow\n"])
def test_its_end_comes_at_once(tmp_path, sent, monkeypatch):
    monkeypatch.setattr(fresh_server, "SECONDS", 600.0)
    calls = Calls()
    with nothing_left(descriptors, threads), ExitStack() as exits:
        with FreshServer(str(tmp_path), calls) as server:
            server.path = str(tmp_path / "fresh.sock")
            if sent is not None:
                client = exits.enter_context(connect(server))
                client.sendall(sent)
                if sent.endswith(b"\n"):
                    assert calls.began.wait(10)
                else:
                    time.sleep(0.1)
            began = time.monotonic()
        assert time.monotonic() - began < 60
        if sent == b"fresh slow\n":
            assert read_all(client) == b"the run is being ended\n"


def test_what_the_container_has(place, tmp_path):
    """Every id may read it and connect, whatever the umask; nobody but its owner may write."""
    for path in [tmp_path, *tmp_path.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_socket():
            assert mode == 0o666
        elif path != tmp_path:  # made by `temp_directory`
            assert (mode & 0o044, mode & 0o022) == (0o044, 0), path
    (bind,) = place.binds
    assert (bind.target, bind.readonly, bind.mapped) == ("/run/envtool", True, False)


def test_any_umask(tmp_path, calls):
    old = os.umask(0o077)
    try:
        with FreshServer(str(tmp_path), calls) as server:
            test_what_the_container_has(server, tmp_path)
    finally:
        os.umask(old)


# ---- the client ------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(place, monkeypatch):
    monkeypatch.setenv("ENVTOOL_FRESH", place.path)
    return fresh_client


def test_client(client, calls):
    client.fresh("db")
    assert calls.names == ["db"]
    assert client.main(["a", "b"]) == 0
    assert calls.names == ["db", "a", "b"]


def test_client_errors(client, capsys, calls):
    with pytest.raises(client.FreshError, match=r"there is no service `gone` here: there are db\Z"):
        client.fresh("gone")
    assert client.main(["db", "gone", "other"]) == 1
    assert calls.names == ["gone", "db", "gone"]
    assert capsys.readouterr().err == "there is no service `gone` here: there are db\n"
    with pytest.raises(client.FreshError, match="a request is"):
        client.fresh("db\nfresh other")
    for words in ([], ["--help"], ["-x", "db"]):
        assert client.main(words) == 2
        assert capsys.readouterr().err == "usage: envtool-fresh SERVICE...\n"


def test_client_without_a_server(client, monkeypatch, tmp_path):
    monkeypatch.setenv("ENVTOOL_FRESH", str(tmp_path / "none.sock"))
    with pytest.raises(fresh_client.FreshError, match=r"service `db`: envtool does not answer: .*No such file"):
        fresh_client.fresh("db")


@pytest.mark.parametrize(("answer", "words"), [(b"", "service `db`: envtool has ended"), (b"o", "o"), (b"\xff\n", ".")])
def test_client_of_a_server_that_ends(client, monkeypatch, tmp_path, answer, words):
    path = str(tmp_path / "other.sock")
    monkeypatch.setenv("ENVTOOL_FRESH", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(fresh_client.FreshError, match=rf"\A{words}\Z"):
            fresh_client.fresh("db")
        thread.join()


def test_the_command_alone(place, tmp_path):
    """As a file of its own, with nothing of envtool beside it."""
    program = [sys.executable, "-I", str(tmp_path / "python/envtool_fresh.py")]
    done = subprocess.run(
        [*program, "db"], env={"ENVTOOL_FRESH": place.path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(
        [*program, "gone"], env={"ENVTOOL_FRESH": place.path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "there is no service `gone` here: there are db\n")

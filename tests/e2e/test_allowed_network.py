"""`network: {allow:}`, `--learn-network`, and what failed tasks are told of the network: real containers, as every
caller. What is outside is a server of the test's on this machine's loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import xml.etree.ElementTree as ET

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.callers_in_turn]

CLIENT = """\
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            print(place, connection.recv(100).decode())
    except OSError as error:
        print(place, type(error).__name__, error.errno)
        status = 1
sys.exit("status" in globals())
"""
SERVER = """\
import socket, sys
def answer(text):
    with socket.create_server(("", 80)) as server:
        while True:
            with server.accept()[0] as connection:
                connection.sendall(text)
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as outside:
    text = outside.recv(100)
answer(b"service with " + text)
"""


@contextlib.contextmanager
def outside(text):
    """A server of this machine's loopback, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.sendall(text)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def project(place):
    place.write("client.py", CLIENT)
    place.write("server.py", SERVER)
    return place


def log(place, name):
    return (place.project / ".envtool" / "last" / f"{name}.log").read_text()


def policies(done):
    return [line.strip() for line in done.said.splitlines() if line.startswith("    network:")]


def test_a_task_reaches_what_is_allowed_and_nothing_else(project):
    with outside(b"hello") as port, outside(b"no") as other:
        project.spec(
            f"""\
envs:
  unit:
    network: {{allow: ["127.0.0.1:{port}"]}}
    tasks:
      test: python3 client.py 127.0.0.1:{port}
      closed: python3 client.py 127.0.0.1:{port} 127.0.0.1:{other} 192.0.2.1:80 nobody.example:80
"""
        )
        for _ in range(2):
            done = project.envtool("test")
            assert done.status == 0, done.said + done.out
            assert "1 passed" in done.said, "it is never remembered"
            assert "unit test (it has a network)" in done.said
        assert log(project, "unit.test") == f"127.0.0.1:{port} hello\n"
        done = project.envtool("run", "closed", "--json", "--junit", "report.xml", "--report", "markdown=report.md")
        assert done.status == 1
        lines = [line.rpartition(" ")[0] for line in log(project, "unit.closed").splitlines()]
        assert lines[:3] == [f"127.0.0.1:{port}", f"127.0.0.1:{other} ConnectionRefusedError", "192.0.2.1:80 OSError"]
        assert lines[3].startswith("nobody.example:80 gaierror")
        told = [
            "exit 1",
            "it tried the network: 192.0.2.1:80, nobody.example",
            'add "192.0.2.1:80" to `network: {allow: …}` of its env',
        ]
        assert done.events[-1]["results"][0]["message"].splitlines() == told
        failure = ET.parse(project.project / "report.xml").find(".//failure")
        assert failure.get("message").splitlines() == told
        assert told[1] in (project.project / "report.md").read_text()
        for verb in (["exec", "unit", "--"], ["exec", "unit", "--"]):  # no plan is kept that would leave the policy out
            done = project.envtool(*verb, "python3", "client.py", f"127.0.0.1:{port}")
            assert (done.status, done.out) == (0, f"127.0.0.1:{port} hello\n"), done.said
        done = project.envtool("exec", "unit", "--", "python3", "client.py", f"127.0.0.1:{other}")
        assert (done.status, done.out) == (1, f"127.0.0.1:{other} ConnectionRefusedError 111\n")
        done = project.envtool("shell", "unit", data=f"python3 client.py 127.0.0.1:{port}\n".encode())
        assert "hello" in done.out, done.said
    project.check_nothing_left()


def test_services_reach_the_same(project):
    with outside(b"hello") as port:
        project.spec(
            f"""\
services:
  api: {{command: python3 server.py 127.0.0.1 {port}, ready: {{tcp: 80, within: 120s}}}}
envs:
  unit:
    services: [api]
    network: {{allow: ["127.0.0.1:{port}"]}}
    tasks:
      test: python3 client.py api:80 127.0.0.1:{port}
"""
        )
        done = project.envtool("test")
        assert done.status == 0, done.said + done.out
        assert log(project, "unit.test") == f"api:80 service with hello\n127.0.0.1:{port} hello\n"
        done = project.envtool("exec", "unit", "--", "python3", "client.py", "api:80", f"127.0.0.1:{port}")
        assert done.out == f"api:80 service with hello\n127.0.0.1:{port} hello\n", done.said
    project.check_nothing_left()


def test_what_a_lone_task_tried(project):
    project.spec(
        """\
envs:
  unit:
    tasks:
      name: python3 client.py pypi.example.org:443
      address: python3 client.py 192.0.2.1:443
      passes: python3 client.py pypi.example.org:443 || true
"""
    )
    done = project.envtool("run", "name")
    assert done.status == 1
    assert "it tried the network: pypi.example.org\n" in done.said
    assert '`network: {allow: ["pypi.example.org:443"]}` allows it if it is HTTPS' in done.said.replace("\n   ", " ")
    done = project.envtool("run", "address", "--json")
    (line, hint) = done.events[-1]["results"][0]["message"].splitlines()[1:]
    assert line == "it tried the network: 1 attempt at addresses"
    assert hint.startswith("`--learn-network` says which hosts and ports it needs; `network: true` gives")
    done = project.envtool("run", "passes", "--json")
    assert done.events[-1]["results"][0]["message"] == ""
    project.check_nothing_left()


def test_names_and_ports_of_services(project):
    project.spec(
        """\
services:
  web: {command: python3 -m http.server 8000, ready: 8000}
  other: {command: python3 -m http.server 8001, ready: 8001}
envs:
  unit:
    services: [web]
    tasks:
      name: python3 client.py wbe:8000
      absent: python3 client.py other:8001
      port: exec python3 client.py web:8001 | sed 's/ConnectionRefusedError/Connection refused/; s/$/\\n/' && false
      more: {run: "true", services: [other]}
"""
    )
    for task, told in (
        ("name", "no service has the name `wbe`: did you mean the service `web`?"),
        ("absent", "`other` is a service of this env, but not of this task: `services: [other]` starts it beside it"),
        ("port", "a connection was refused; its services listen so: `web` on 8000"),
    ):
        done = project.envtool("run", task, "--json")
        assert done.status == 1
        assert done.events[-1]["results"][0]["message"].splitlines()[1:] == [told]
    project.check_nothing_left()


def test_a_run_learns_what_it_needs(project):
    with outside(b"hello") as port, outside(b"no") as other:
        rules = f'"127.0.0.1:{other}", "127.0.0.1:{port}"'
        project.spec(
            f"""\
services:
  api: {{command: python3 server.py 127.0.0.1 {port}, ready: 80}}
envs:
  unit: {{network: {{allow: [{rules}]}}, tasks: {{test: python3 client.py 127.0.0.1:{port}, fails: "false"}}}}
  beside: {{network: {{allow: [{rules}]}}, services: [api], tasks: {{test: "true"}}}}
  none: {{tasks: {{test: "true"}}}}
  open: {{network: true, tasks: {{open: "true"}}}}
"""
        )
        assert "2 passed" in project.envtool("test", "-e", "none", "-e", "unit").said
        for _ in range(2):
            done = project.envtool("test", "--learn-network")
            assert done.status == 0, done.said + done.out
            assert "3 passed" in done.said, "nothing is remembered, and nothing that was is reported"
            assert policies(done) == [f'network: {{allow: ["127.0.0.1:{port}"]}}'] * 2
            assert "note: `none` has connected to nothing outside, and needs no `network:`" in done.said
        done = project.envtool("test", "-q", "--learn-network", "-e", "unit")
        assert len(policies(done)) == 1, done.said
        done = project.envtool("test", "--learn-network", "--json", "-e", "beside")
        (learned,) = [event for event in done.events if event["event"] == "learned"]
        assert learned == {
            "event": "learned", "env": "beside", "task": "test", "allow": [f"127.0.0.1:{port}"], "complete": True, "id": ""
        }  # fmt: skip
        done = project.envtool("run", "fails", "--learn-network")
        assert "needs no `network:`; it did not pass, and may need more" in done.said
        done = project.envtool("exec", "unit", "--learn-network", "--", "python3", "client.py", f"127.0.0.1:{port}")
        assert (done.status, done.out) == (0, f"127.0.0.1:{port} hello\n")
        assert policies(done) == [f'network: {{allow: ["127.0.0.1:{port}"]}}']
        for words in (["test", "--offline"], ["exec", "--offline", "unit", "--", "true"], ["run", "open"],
                      ["exec", "open", "--", "true"], ["exec", "--service", "api", "--", "true"]):  # fmt: skip
            done = project.envtool(words[0], "--learn-network", *words[1:])
            assert done.status == 2, words
            assert done.said.startswith("error: `--learn-network` "), done.said
    project.check_nothing_left()


def test_variables_need_leave_in_a_run_that_learns(project):
    project.spec("envs:\n  unit: {pass: [MY_WORD], tasks: {test: 'test \"$MY_WORD\" = tea'}}\n")
    project.environ["MY_WORD"] = "tea"
    assert project.envtool("test").status == 0
    done = project.envtool("test", "--learn-network")
    assert done.status != 0
    assert "--allow-pass MY_WORD" in done.said
    done = project.envtool("test", "--learn-network", "--allow-pass", "MY_WORD")
    assert done.status == 0, done.said


def test_doctor(project):
    done = project.envtool("doctor")
    assert "network policies: containers can reach what `network: {allow: […]}` names" in done.said + done.out

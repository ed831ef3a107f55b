"""Services beside tasks, `exec` and `shell`: real containers on this machine's base, as every caller."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

# A server that says its host name, its user and the variable WORD, and counts its requests in a file of its own.
SERVER = """\
import http.server, os, signal, socket, sys
print("starting", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        open("/tmp/count", "a").write("x")
        count = os.path.getsize("/tmp/count")
        body = f"{socket.gethostname()} {os.getuid()} {os.environ.get('WORD', '')} {count}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
def end(*_):
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
"""
CLIENT = """\
import sys, urllib.request
for url in sys.argv[1:]:
    print(urllib.request.urlopen(url, timeout=10).read().decode(), end="")
"""


@pytest.fixture
def project(place):
    place.write("server.py", SERVER)
    place.write("client.py", CLIENT)
    return place


def log(place, name):
    return (place.project / ".envtool" / "last" / f"{name}.log").read_text()


def holders(process):
    """The holders of pods that a process has started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            title = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if parent == process.pid and title.startswith(b"envtool: the network"):
            found.append(int(name))
    return found


def gone(numbers):
    end = time.monotonic() + 60
    while left := [number for number in numbers if os.path.exists(f"/proc/{number}")]:
        assert time.monotonic() < end, f"{left} are left"
        time.sleep(0.02)


# ---- what works ------------------------------------------------------------------------------------------------------


@pytest.mark.every_caller
def test_a_task_beside_its_services(project):
    project.spec(
        """\
services:
  seed: {command: "echo seeded; cat server.py | wc -l", once: true}
  api:
    command: python3 server.py 8000
    ready: {http: 8000/}
    needs: [seed]
    replicas: 3
    set: {WORD: hello}
    provides: {API_URL: "http://api:8000/"}
envs:
  unit:
    services: [api]
    tasks:
      test: |
        python3 client.py $API_URL $API_URL $API_URL http://api-2:8000/
        python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()), socket.gethostname())'
        test ! -e /tmp/count
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    lines = log(project, "unit.test").splitlines()
    assert {line.split()[0] for line in lines[:3]} == {"api-1", "api-2", "api-3"}, "each has its turn"
    assert all(line.split()[1:3] == ["1000", "hello"] for line in lines[:4])
    assert lines[3].startswith("api-2 ")
    assert re.fullmatch(r"10\.64\.0\.\d+ envtool", lines[4])
    assert log(project, "unit.test.api-1") == "starting\nlistening\nbye\n"
    assert log(project, "unit.test.seed-1").splitlines()[0] == "seeded"
    assert "unchanged" in project.envtool("test").said
    text = (project.project / "envtool.yaml").read_text()
    for old, new in (("hello", "good"), ("replicas: 3", "replicas: 2"), ("echo seeded", "echo seeded again")):
        text = text.replace(old, new)
        project.write("envtool.yaml", text)
        again = project.envtool("test")
        assert "1 passed" in again.said
        assert "unchanged" in project.envtool("test").said
    project.check_nothing_left()


def test_a_service_that_is_not_needed(project):
    """Its name is unknown where nobody uses it."""
    project.spec(
        """\
services:
  db: {command: python3 server.py 80, ready: 80}
  api: {command: python3 client.py $DB, ready: 80, set: {DB: "http://db:80/"}}
envs:
  unit: {services: [api], tasks: {test: "true"}}
"""
    )
    done = project.envtool("test")
    assert done.status == 3
    assert "its command or variables name `db`" in done.said, done.said
    assert "`needs: [db]`" in done.said
    project.check_nothing_left()


def test_outputs_that_services_decide_are_not_verified(project):
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: 80}
envs:
  unit: {services: [api], tasks: {build: {run: python3 client.py http://api/ >out, outputs: [out]}}}
  open: {network: {allow: ["example.org:443"]}, tasks: {build: {run: date >out, outputs: [out]}}}
"""
    )
    done = project.envtool("verify", "--build")
    assert done.status == 3, done.said
    assert "task `build` of env `unit` has services (`api`), whose answers may differ: it is not verified" in done.said
    assert "make the outputs by a task of an env without `services`" in done.said
    assert "`envtool verify service:api`" in done.said
    assert "task `build` of env `open` may connect to `example.org:443`, whose answers may differ" in done.said
    assert "let a layer fetch what it needs" in done.said
    project.check_nothing_left()


def test_a_line_that_came_long_before_it_was_looked_for(project):
    """Of several checks that of the log is the last: the line is found, whatever came after it."""
    project.spec(
        """\
services:
  api:
    command: "echo here it is; seq 100000; exec python3 server.py 8000"
    ready: {tcp: 8000, log: "^here it is$", within: 20s}
envs:
  unit: {services: [api], tasks: {test: "true"}}
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said


def test_exec_and_shell(project):
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: 80, set: {WORD: hello}}
envs:
  unit: {services: [api]}
"""
    )
    for _ in range(2):  # no plan is kept that would leave the services out
        done = project.envtool("exec", "unit", "--", "python3", "client.py", "http://api/")
        assert (done.status, done.out) == (0, "api-1 1000 hello 1\n"), done.said
    done = project.envtool("exec", "unit", "--", "sh", "-c", "exit 9")
    assert done.status == 9
    done = project.envtool("shell", "unit", data=b"python3 client.py http://api/\n")
    assert "api-1 1000 hello 1" in done.out, done.said
    project.check_nothing_left()


def test_a_service_at_the_loopback_of_tasks(project):
    """Programs that have an address written into them find the service there, each replica in turn. A server of the
    task's own cannot have that port, and loopback of other containers is theirs."""
    project.spec(
        """\
services:
  api: {command: python3 server.py 8000, ready: 8000, replicas: 2, localhost: true}
  web: {command: python3 server.py 8000, ready: 8000}
envs:
  unit:
    services: [api, web]
    tasks:
      test:
        - python3 client.py http://127.0.0.1:8000/ http://localhost:8000/ http://api-2:8000/
        - "envtool-fresh api && python3 client.py http://127.0.0.1:8000/"
        - "python3 server.py 8000 2>&1 | grep 'Address already in use'"
        - "! python3 client.py http://127.0.0.1:8001/ 2>/dev/null"
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    lines = log(project, "unit.test").splitlines()
    assert {line.split()[0] for line in lines[:2]} == {"api-1", "api-2"}, "each has its turn"
    assert lines[2].startswith("api-2 ")
    assert lines[3].endswith(" 1"), "it is a fresh one"
    assert "Address already in use" in lines[-1]
    assert "unchanged" in project.envtool("test").said
    done = project.envtool("exec", "unit", "--", "python3", "client.py", "http://127.0.0.1:8000/")
    assert (done.status, done.out.split()[0]) == (0, "api-1"), done.said
    text = (project.project / "envtool.yaml").read_text()
    project.write("envtool.yaml", text.replace(", localhost: true", ""))
    done = project.envtool("test")
    assert (done.status, "Connection refused" in log(project, "unit.test")) == (1, True), "the key has it"
    project.check_nothing_left()


def test_each_ready_check(project):
    project.spec(
        """\
services:
  tcp: {command: python3 server.py 8000, ready: 8000}
  http: {command: python3 server.py 8000, ready: {http: 8000/x}}
  log: {command: python3 server.py 8000, ready: {log: "^listen(ing)$"}}
  file: {command: "sleep 0.1; touch /tmp/there; sleep 1000", ready: {file: /tmp/there}}
  command: {command: "sleep 0.1; touch /tmp/there; sleep 1000", ready: {command: test -e /tmp/there}}
envs:
  unit:
    services: [tcp, http, log, file, command]
    tasks: {test: "true"}
"""
    )
    done = project.envtool("test", "-v")
    assert done.status == 0, done.said + done.out
    project.check_nothing_left()


def test_users_scratch_and_signals(project):
    single = project.caller.mode == "single"
    project.spec(
        f"""\
services:
  one: {{command: "id -u; touch /var/x; sleep 1000", user: {"user" if single else "root"}, scratch: disk, ready: {{log: "^[0-9]"}}}}
  two: {{command: "id -u; sleep 1000", user: {"user" if single else '"7:7"'}, ready: {{log: "^[0-9]"}}}}
  three:
    command: "trap 'echo quit; exit' QUIT; echo up; while :; do sleep 0.02; done"
    stop: {{signal: QUIT}}
    ready: {{log: up}}
envs:
  unit: {{services: [one, two, three], tasks: {{test: id -u}}}}
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    assert log(project, "unit.test.one-1").splitlines()[0] == ("1000" if single else "0")
    assert log(project, "unit.test.two-1") == ("1000\n" if single else "7\n")
    assert log(project, "unit.test.three-1") in ("up\nquit\n", "up\nQuit\nquit\n")
    assert log(project, "unit.test") == "1000\n"
    project.check_nothing_left()


# ---- what goes wrong -------------------------------------------------------------------------------------------------

# WITHIN is a time in which this machine, as busy as it is, starts the service, asks it and reads what it prints: a
# message that says no more than "nothing listens" may be right for a service that had no processor.
WITHIN = (2, 10, 60)  # seconds, until the message is the one that is expected
WRONG = {
    "a port that nothing listens on": (
        "{command: python3 server.py 8001, ready: {tcp: 8000, within: WITHIN}}",
        "is not ready after WITHIN: nothing listens on port 8000; it listens on 0.0.0.0:8001 (envtool.yaml:3:48)",
        "listening",
    ),
    "a port of its own loopback": (
        "{command: python3 -m http.server -b 127.0.0.1 8000, ready: {tcp: 8000, within: WITHIN}}",
        "service `x` is not ready after WITHIN: it listens on port 8000 of its own loopback only",
        "",
    ),
    "a status": (
        "{command: python3 -m http.server -d /home 8000, ready: {http: 8000/none, within: WITHIN}}",
        "GET /none on port 8000 answered `HTTP/1.0 404 File not found`",
        "",
    ),
    "a command that does not succeed": (
        "{command: sleep 1000, ready: {command: 'echo not yet; exit 3', within: WITHIN}}",
        "`echo not yet; exit 3` has not succeeded (exit 3: not yet)",
        "",
    ),
    "a line that does not come": (
        "{command: 'echo hello; sleep 1000', ready: {log: '^ready$', within: WITHIN}}",
        "it has printed no line that matches `^ready$`",
        "hello",
    ),
    "a file that does not come": (
        "{command: 'echo hello; sleep 1000', ready: {file: /tmp/x, within: WITHIN}}",
        "there is no /tmp/x in it",
        "hello",
    ),
    "it ends before": (
        "{command: 'echo oh; exit 3', ready: 80}",
        "service `x` ended before it was ready: exit 3",
        "oh",
    ),
    "a program that there is not": (
        "{command: [nosuch], ready: 80}",
        "service `x` ended before it was ready: exit 127",
        "nosuch",
    ),
    "a one-shot that fails": (
        "{command: 'echo oh; exit 4', once: true}",
        "service `x` failed: exit 4 (envtool.yaml:3:3)",
        "oh",
    ),
    "a one-shot that does not end": (
        "{command: 'echo oh; sleep 1000', once: true, ready: {within: WITHIN}}",
        "service `x` has not ended after WITHIN",
        "oh",
    ),
    "a user that there is not": (
        "{command: 'true', user: nosuch, ready: 80}",
        "ended before it was ready: exit 126",
        "there is no user `nosuch`",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_said(project, case):
    service, message, last = WRONG[case]
    if "user:" in service and project.caller.mode == "single":
        message, last = "service `x` runs as `nosuch`, and your containers have one id: that of `user`", ""
    said = printed = ""
    for seconds in WITHIN if "WITHIN" in service else (0,):
        text = service.replace("WITHIN", f"{seconds}s")
        expected = message.replace("WITHIN", f"{seconds} s")
        project.spec(f"services:\n  x: {text}\nenvs:\n  unit: {{services: [x], tasks: {{test: echo ran}}}}\n")
        done = project.envtool("test", "--json")
        assert done.status in (2, 3), done.out
        task = done.events[-1]["results"][0]
        assert task["outcome"] == "error"
        said, printed = task["message"], log(project, "unit.test") if last else ""
        if expected in said and last in printed:
            break
    assert expected in said
    assert last in printed
    project.check_nothing_left()


def test_one_that_dies_just_before_the_task_ends(project):
    """The task ends at the moment in which it learns of it, with success: its end must not be known first."""
    project.write(
        "fragile.py",
        """\
import os, socket
server = socket.create_server(("", 8000))
while True:
    connection, _ = server.accept()
    if connection.recv(10):
        os._exit(1)
""",
    )
    project.write(
        "kill.py",
        """\
import os, socket
connection = socket.create_connection(("fragile", 8000))
connection.sendall(b"die")
try:
    connection.recv(10)
finally:
    os._exit(0)
""",
    )
    project.spec(
        """\
services:
  fragile: {command: python3 fragile.py, ready: 8000}
envs:
  unit:
    services: [fragile]
    tasks: {test: python3 kill.py}
"""
    )
    for _ in range(8):
        done = project.envtool("test", "-q")
        assert done.status not in (0, 4), done.said
        assert "service `fragile` ended while it was needed: exit 1" in done.said


def test_one_that_dies_while_the_task_runs(project):
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: 80}
envs:
  unit:
    services: [api]
    tasks: {test: "echo begin; python3 client.py http://api/die || sleep 1000"}
"""
    )
    began = time.monotonic()
    done = project.envtool("test", "--json")
    assert done.status == 1, done.said
    assert time.monotonic() - began < 300, "the task's sleep of 1,000 s is not waited for"
    (task,) = done.events[-1]["results"]
    assert task["outcome"] == "failed"
    assert task["message"].startswith("service `api` ended while it was needed: exit 7 (envtool.yaml:3:3)")
    text = log(project, "unit.test")
    assert text.startswith("begin\n")
    assert text.endswith(
        "[envtool: service `api` ended while it was needed: exit 7 (envtool.yaml:3:3); its last lines:]\n"
        "starting\nlistening\n"
    )
    done = project.envtool("exec", "unit", "--", "sh", "-c", "python3 client.py http://api/die || sleep 1000")
    assert done.status == 3
    assert "service `api` ended while it was needed: exit 7" in done.said
    project.check_nothing_left()


def test_a_restart_is_no_failure(project):
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: 80, restart: on-failure}
envs:
  unit:
    services: [api]
    tasks:
      test: |
        python3 client.py http://api/die || true
        for i in $(seq 200); do python3 client.py http://api/ 2>/dev/null && exit; sleep 0.1; done
        exit 1
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    assert log(project, "unit.test.api-1").startswith("starting\nlistening\nstarting\nlistening\n")
    project.check_nothing_left()


def test_this_machines_network(project):
    project.spec(
        "services:\n  x: {command: sleep 1000, ready: 80}\nenvs:\n  unit: {services: [x], network: true, tasks: {test: 'true'}}\n"
    )
    done = project.envtool("test", "--json")
    assert done.status == 2
    assert "cannot be in the network of its services" in done.out


def test_what_a_task_tried_outside(project):
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: 80}
envs:
  unit:
    services: [api]
    tasks: {test: "python3 client.py http://api/ && python3 client.py http://192.0.2.1:81/ || python3 client.py http://nobody.example/"}
"""
    )
    done = project.envtool("test", "--json")
    assert done.status == 1
    (task,) = done.events[-1]["results"]
    assert "it tried the network: 192.0.2.1:81" in task["message"]
    assert "nobody.example" in task["message"]
    assert 'allow: ["192.0.2.1:81"]' in task["message"]
    assert "Temporary failure" not in log(project, "unit.test"), "a name that nobody has is no name, at once"
    project.check_nothing_left()


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["INT", "TERM", "KILL"])
@pytest.mark.parametrize("when", ["starting", "running"])
def test_an_interrupt_leaves_nothing(project, how, when):
    project.spec(
        f"""\
services:
  a: {{command: "trap '' TERM; sleep {project.nap}", ready: {{command: 'true'}}, stop: {{grace: 600s}}}}
  b: {{command: "sleep {project.nap}", ready: {{command: {"exit 1" if when == "starting" else "exit 0"}}}, replicas: 3}}
envs:
  unit: {{services: [a, b], tasks: {{test: "echo ran; sleep {project.nap}"}}}}
"""
    )
    process = project.start("test")
    number = 4 if when == "starting" else 5
    project.until(lambda: sum(project.nap in text for text in project.processes()) >= number, "it runs")
    pods = holders(process)
    assert len(pods) == 1
    began = time.monotonic()
    process.send_signal(getattr(signal, f"SIG{how}"))
    if how == "KILL":
        process.communicate()
    else:
        assert project.finish(process).status == 130
        assert time.monotonic() - began < 60, "an interrupt does not wait for the grace of 600 s"
    gone(pods)
    project.until(lambda: not project.processes(), "no processes", 30)
    if how != "KILL":  # which leaves a directory in the store, until the next run
        assert not project.left()
    project.spec("envs: {unit: {tasks: {test: 'true'}}}\n")
    assert project.envtool("test").status == 0
    project.check_nothing_left()


def test_a_network_that_is_lost_ends_the_task_at_once(project):
    """Without its holder no name has an address any more: whatever the task does then says nothing."""
    project.spec(
        f"""\
services:
  api: {{command: python3 server.py 80, ready: 80}}
envs:
  unit: {{services: [api], tasks: {{test: "echo ran; sleep {project.nap}"}}}}
"""
    )
    process = project.start("test")
    project.until(project.asleep, "it runs")
    (holder,) = holders(process)
    began = time.monotonic()
    os.kill(holder, signal.SIGKILL)
    done = project.finish(process)
    assert time.monotonic() - began < 20
    assert done.status in (1, 3), done.said
    assert "the containers' network was broken off: its process has ended" in done.said
    project.check_nothing_left()


def test_many_at_once(project):
    """Each has its own network: all have the same ports, names and addresses."""
    project.spec(
        """\
services:
  api: {command: python3 server.py 80, ready: {http: 80/}}
envs:
  unit:
    matrix: {n: ["1", "2", "3", "4", "5", "6"]}
    services: [api]
    tasks: {test: "python3 client.py http://api/ http://api/"}
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    for number in range(1, 7):
        counts = [line.split()[-1] for line in log(project, f"unit[{number}].test").splitlines()]
        assert counts == ["2", "3"], "no other run asks this one's service"
    project.check_nothing_left()


def test_an_unchanged_run_is_reported_from_one_file(project):
    """The fast way of `test` knows the services too: what decides them decides it."""
    project.write("conf/port", "8000\n")
    project.spec(
        """\
layers:
  conf: {copy: {from: conf, to: /opt/conf}}
services:
  api: {layers: [conf], command: python3 server.py $(cat /opt/conf/port), ready: {log: listening}}
envs:
  unit:
    services: [api]
    tasks: {test: "true"}
"""
    )
    assert "1 passed" in project.envtool("test").said
    time.sleep(1.1)  # what was changed just now is in no plan
    assert "1 unchanged" in project.envtool("test").said
    project.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    done = project.envtool("test")
    assert "1 unchanged" in done.said
    assert "envtool.run.fast_test" in done.said
    assert "envtool.spec.load" not in done.said
    del project.environ["PYTHONPROFILEIMPORTTIME"]
    for name, old, new in (
        ("conf/port", "8000", "8001"),
        ("envtool.yaml", "listening", "starting"),
        ("server.py", "bye", "goodbye"),
    ):
        text = (project.project / name).read_text()
        assert old in text
        project.write(name, text.replace(old, new))
        assert "1 passed" in project.envtool("test").said, name
        assert "1 unchanged" in project.envtool("test").said
    project.check_nothing_left()


def test_one_that_prints_without_end(project):
    """Its log stays small, and a line that never ends takes no memory."""
    project.spec(
        """\
services:
  lines: {command: "echo ready; sleep 0.2; yes", ready: {log: ready}}
  one: {command: "cat /dev/zero", ready: {command: "true"}}
  late: {command: "(sleep 0.5; echo; echo ready) & yes | head -c 3000000; wait; sleep 1000", ready: {log: "^ready$"}}
envs:
  unit: {services: [lines, one, late], tasks: {test: sleep 1}}
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said
    for name in ("lines", "one", "late"):
        path = project.project / ".envtool" / "last" / f"unit.test.{name}-1.log"
        assert path.stat().st_size <= 17 << 20
    project.check_nothing_left()


def test_runs_at_once_of_which_some_are_killed(project, depth):
    """kill -9 at random moments: the others do not notice, and nothing is left of any."""
    project.spec(
        """\
services:
  db: {command: python3 server.py 80, ready: {http: 80/}}
  seed: {command: python3 client.py http://db/, once: true, needs: [db]}
  api: {command: python3 server.py 80, ready: 80, needs: [seed], replicas: 2}
envs:
  unit: {services: [api], tasks: {test: "python3 client.py http://db/ http://api/; sleep 0.5"}}
"""
    )
    assert project.envtool("test").status == 0
    draw = depth.random
    running = [project.start("test", "--again", stdout=-3, stderr=-3) for _ in range(8)]
    pods: set[int] = set()
    killed = draw.sample(running, 3)
    moments = sorted(draw.uniform(0.2, 6) for _ in killed)
    began = time.monotonic()
    while any(process.poll() is None for process in running):
        pods |= {number for process in running for number in holders(process)}
        if moments and time.monotonic() - began > moments[0]:
            moments.pop(0)
            killed.pop().kill()
        time.sleep(0.02)
        assert time.monotonic() - began < 120
    statuses = sorted(process.returncode for process in running)
    assert statuses.count(0) >= 5, statuses
    assert {*statuses} <= {0, -signal.SIGKILL}, statuses
    gone(pods)
    project.until(lambda: not project.processes(), "no processes")
    assert project.envtool("test", "--again").status == 0  # which removes directories of those that were killed
    project.check_nothing_left()

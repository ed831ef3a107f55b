"""Prepared state of services, and services that a task makes fresh: real containers, as every caller."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.e2e

# Keeps each file that is PUT in /srv/kv, and notes its starts. TERM ends it with the status in STATUS.
SERVER = """\
import http.server, os, signal, sys
TOP = "/srv/kv/"
open(TOP + "starts", "a").write("x")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        try:
            self.answer(200, open(TOP + self.path, "rb").read())
        except OSError:
            self.answer(404, b"none")
    def do_PUT(self):
        open(TOP + self.path, "wb").write(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, b"")
    def log_message(self, *_): pass
def end(*_):
    if os.environ["STATUS"] == "late":
        return
    open(TOP + "ended", "a").write("x")
    sys.exit(int(os.environ["STATUS"]))
signal.signal(signal.SIGTERM, end)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
CLIENT = """\
import sys, urllib.error, urllib.request
verb, url, *body = sys.argv[1:]
data = open(body[0], "rb").read() if body else None
try:
    print(urllib.request.urlopen(urllib.request.Request(url, data=data, method=verb)).read().decode().strip())
except urllib.error.HTTPError as error:
    print(error.code)
"""
SPEC = """\
services:
  kv:
    command: python3 server.py
    set: {STATUS: "0"}
    ready: 8000
    prepare:
      before: echo before >/srv/kv/before; id -u >/srv/kv/user
      run: python3 client.py PUT http://127.0.0.1:8000/seed seed.txt
      inputs: [server.py, client.py, seed.txt]
      data: [/srv/kv]
envs:
  unit:
    services: [kv]
    tasks:
      test: |
        for name in before seed user starts ended other; do python3 client.py GET http://kv:8000/$name; done
        python3 client.py PUT http://kv:8000/other seed.txt
"""


@pytest.fixture
def project(place):
    place.write("server.py", f"{SERVER}# {place.token}\n")  # so that no other test has prepared it
    place.write("client.py", CLIENT)
    place.write("seed.txt", "a seed\n")
    place.spec(SPEC)
    return place


def printed(project):
    return (project.project / ".envtool/last/unit.test.log").read_text().split("\n")[:-2]


def made(project, *words):
    """Runs the tests; returns whether prepared state was made."""
    done = project.envtool("test", "--json", *words)
    assert done.status == 0, done.said + done.out
    events = [json.loads(line) for line in done.out.splitlines()]
    ends = [item for item in events if item.get("event") == "finished" and item.get("subject") == "prepare"]
    return [item["outcome"] for item in ends] == ["built"]


@pytest.mark.every_caller
def test_prepared_once_and_kept(project):
    assert made(project)
    assert printed(project) == ["before", "a seed", "1000", "xx", "x", "404"], "started for the seed, and for the task"
    assert not made(project, "--again")
    assert printed(project) == ["before", "a seed", "1000", "xx", "x", "404"], "nothing is left of the run before"


def test_several_are_prepared_at_the_same_time(project):
    """Each in a network of its own: they have the same port."""
    more = SPEC.partition("  kv:\n")[2].partition("envs:")[0]
    project.spec(SPEC.replace("envs:\n", f"  kw:\n{more}envs:\n").replace("services: [kv]", "services: [kv, kw]"))
    done = project.envtool("test", "--json")
    assert done.status == 0, done.said + done.out
    events = [json.loads(line) for line in done.out.splitlines()]
    order = [item["event"] for item in events if item.get("subject") == "prepare" and item["event"] != "progress"]
    assert order == ["started", "started", "finished", "finished"]
    assert not made(project, "--again")


@pytest.mark.parametrize("replaced", ["/srv/a/kv", "/srv/a"])
def test_a_directory_that_was_replaced(project, replaced):
    """What its stack has in a directory that `before` removed and made anew is not there again at later starts."""
    project.write("server.py", f"{SERVER}# {project.token}\n".replace("/srv/kv", "/srv/a/kv"))
    layer = "mkdir -p /srv/a/kv && echo old >/srv/a/kv/other && chmod -R 777 /srv"
    spec = SPEC.replace("    command:", f"    layers: [{{run: {layer}}}]\n    command:").replace("/srv/kv", "/srv/a/kv")
    before = f"cat /srv/a/kv/other; rm -r {replaced}; mkdir -p /srv/a/kv; echo before >"
    project.spec(spec.replace("echo before >", before))
    assert made(project)
    assert printed(project) == ["before", "a seed", "1000", "xx", "x", "404"]
    assert not made(project, "--again")
    assert printed(project) == ["before", "a seed", "1000", "xx", "x", "404"]


@pytest.mark.parametrize(
    ("file", "old", "new", "again"),
    [
        ("seed.txt", "a seed", "another", True),
        ("envtool.yaml", "echo before >", "echo Before >", True),
        ("envtool.yaml", '{STATUS: "0"}', '{STATUS: "0", MORE: x}', True),
        ("envtool.yaml", "python3 server.py\n", "python3 server.py more\n", True),
        ("envtool.yaml", "ready: 8000", "ready: {tcp: 8000, within: 9s}", False),
        ("envtool.yaml", "ready: 8000", "ready: 8000\n    replicas: 2", False),
        ("envtool.yaml", "      test: |\n", "      test: |\n        true\n", False),
        ("other.txt", "", "a file that it does not see", False),
    ],
)  # fmt: skip
def test_what_prepares_again(project, file, old, new, again):
    made(project)
    path = project.project / file
    text = path.read_text() if path.exists() else ""
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else new)
    assert made(project) is again


def fails(project, *, old="", new=""):
    path = project.project / "envtool.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    done = project.envtool("test")
    assert done.status not in (0, 4), done.said + done.out
    return done.said + done.out


def test_a_command_that_fails(project):
    said = fails(project, old="id -u >", new="echo why it failed; exit 3; id -u >")
    assert "why it failed" in said
    assert re.search(r"service `kv`: `echo before .* of its `prepare` failed: exit 3 \(envtool.yaml:\d+:\d+\)", said)
    assert "it sees only those files of the project that `prepare: {inputs: […]}` names" in said


def test_a_file_that_is_no_input(project):
    said = fails(project, old="[server.py, client.py, seed.txt]", new="[server.py, client.py]")
    assert "No such file or directory: 'seed.txt'" in said
    assert "it sees only those files of the project that `prepare: {inputs: […]}` names" in said


def test_an_input_that_there_is_not(project):
    said = fails(project, old="client.py, seed.txt]", new="client.py, sed.txt]")
    assert re.search(r"envtool.yaml:\d+:\d+: error: `prepare`: input `sed.txt`", said)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("rmdir /srv/kv/a && ln -s /opt /srv/kv/a", "/srv/kv/a is a link, to /opt"),
        ("rmdir /srv/kv/a && touch /srv/kv/a", "/srv/kv/a is no directory"),
        ("rmdir /srv/kv/a", "/srv/kv/a: No such file or directory"),
    ],
)
def test_data_that_is_no_directory_any_more(project, command, what):
    """What is behind a link is not kept, so the service would start without its data."""
    path = project.project / "envtool.yaml"
    text = path.read_text().replace("data: [/srv/kv]", "data: [/srv/kv, /srv/kv/a]")
    path.write_text(text.replace("echo before >", f"{command}; echo before >"))
    said = fails(project)
    words = f"service `kv`: `data` of its `prepare` names no directory that can be kept: {what} (envtool.yaml:"
    assert words in said


def test_no_directory_of_its_own(project):
    said = fails(project, old="      data: [/srv/kv]\n", new="")
    assert "`prepare: {data: [DIRECTORY]}` gives the service's user a directory, and keeps that" in said


@pytest.mark.parametrize(
    ("status", "words"),
    [("5", "it ended with exit 5 after its stop signal TERM"), ("late", "it did not end within 0.5 s")],
)
def test_an_end_that_is_not_clean(project, status, words):
    said = fails(project, old='{STATUS: "0"}', new=f'{{STATUS: "{status}"}}\n    stop: {{grace: 0.5s}}')
    assert words in said
    assert "so what it wrote may be incomplete" in said
    assert words in fails(project), "nothing of it is kept"


def test_a_service_that_dies_meanwhile(project):
    said = fails(
        project, old="python3 client.py PUT http://127.0.0.1", new="pkill python3; sleep 9; echo http://127.0.0.1"
    )
    assert "service `kv` ended while it was needed" in said


# ---- fresh -----------------------------------------------------------------------------------------------------------

FRESH_TESTS = """\
import subprocess, urllib.error, urllib.request
import pytest

def get(name):
    try:
        return urllib.request.urlopen("http://kv:8000/" + name).read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code

@pytest.mark.parametrize("number", range(3))
def test_each_has_data_of_its_own(fresh_service, number):
    fresh_service("kv")
    assert get("other") == 404
    urllib.request.urlopen(urllib.request.Request("http://kv:8000/other", data=b"x", method="PUT"))
    assert get("other") == "x"
    assert get("seed") == "a seed"

def test_a_service_that_there_is_not(fresh_service):
    with pytest.raises(Exception, match="there is no service `kw` here: there are kv"):
        fresh_service("kw")

def test_the_command():
    urllib.request.urlopen(urllib.request.Request("http://kv:8000/other", data=b"x", method="PUT"))
    subprocess.run(["envtool-fresh", "kv"], check=True)
    assert get("other") == 404
    failed = subprocess.run(["envtool-fresh", "kw"], capture_output=True, text=True)
    assert failed.returncode == 1 and "there is no service `kw`" in failed.stderr

def test_without_python():
    program = open("/run/envtool/bin/envtool-fresh").read().replace("python3 ", "python-that-there-is-not ")
    done = subprocess.run(["sh", "-c", program, "sh", "kv"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["sh", "-c", program, "sh", "kw"], capture_output=True, text=True)
    assert done.returncode and "there is no service `kw`" in done.stderr
"""


def test_a_task_makes_a_service_fresh(project):
    project.write("test_fresh.py", FRESH_TESTS)
    head = SPEC.partition("      test: |")[0].replace(
        "    services: [kv]\n", "    services: [kv]\n    language: python\n    install: none\n    packages: [pytest]\n"
    )
    project.spec(f"{head}      test: pytest -q -p no:cacheprovider test_fresh.py\n")
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    assert "6 passed" in (project.project / ".envtool/last/unit.test.log").read_text()


def test_migrations_run_again_on_a_fresh_service(project):
    """The state after `fresh` is that after the start: what is to end and needs the service has run on it."""
    project.spec(
        SPEC.replace(
            "envs:\n",
            """\
  migrate: {command: "python3 client.py PUT http://kv:8000/schema seed.txt", once: true, needs: [kv]}
  later: {command: "python3 client.py GET http://kv:8000/schema | grep -q 'a seed'", once: true, needs: [migrate]}
  other: {command: "python3 -m http.server 8001", ready: 8001}
envs:
""",
        )
        .replace("services: [kv]", "services: [later, other]")
        .partition("      test: |")[0]
        + """\
      test: |
        python3 client.py PUT http://kv:8000/other seed.txt
        envtool-fresh kv
        for name in schema other seed; do python3 client.py GET http://kv:8000/$name; done
"""
    )
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    assert printed(project) == ["", "a seed", "404"]


def test_only_a_task_can_ask(project):
    """A service has no socket, and none of what a task has for it."""
    project.spec(SPEC.replace("command: python3 server.py", "command: ls /run/envtool || true; exec python3 server.py"))
    done = project.envtool("test")
    assert done.status == 0, done.said + done.out
    assert "No such file or directory" in (project.project / ".envtool/last/unit.test.kv-1.log").read_text()


HOSTILE = """\
import os, socket, stat, sys

TOP = "/run/envtool"
def refused(what, *words):
    try:
        what(*words)
    except OSError as error:
        return error
    raise SystemExit(f"{what.__name__}{words} was not refused")

paths = [TOP] + [os.path.join(top, name) for top, inner, files in os.walk(TOP) for name in inner + files]
assert len(paths) > 6, paths
for path in paths:
    refused(os.chmod, path, 0o777)
    refused(os.chown, path, os.getuid(), os.getgid())
    refused(os.utime, path)
    refused(os.unlink, path)
    refused(os.rename, path, path + ".moved")
    refused(os.link, path, TOP + "/linked")
    refused(os.setxattr, path, "user.x", b"x")
    if stat.S_ISDIR(os.lstat(path).st_mode):
        refused(os.mkdir, path + "/made")
        refused(os.symlink, "/etc/passwd", path + "/linked")
        refused(os.mknod, path + "/fifo", stat.S_IFIFO | 0o600)
        refused(os.open, path + "/made", os.O_WRONLY | os.O_CREAT)
        refused(os.open, path, os.O_WRONLY | os.O_TMPFILE)
        bound = socket.socket(socket.AF_UNIX)
        refused(bound.bind, path + "/other.sock")
    elif stat.S_ISREG(os.lstat(path).st_mode):
        refused(os.open, path, os.O_WRONLY)
        refused(os.truncate, path, 0)
os.system("mount -o remount,rw /run/envtool 2>/dev/null; umount /run/envtool 2>/dev/null")
refused(os.mkdir, TOP + "/made")

def ask(name):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(TOP + "/fresh.sock")
        connection.sendall(b"fresh " + name + b"\\n")
        return connection.recv(4096)

for name in (b"other", b"other-1", b"unit:other", b"../other", b"service:other", b"kv-1", b"envtool", b"", b"*"):
    assert b"there is no service" in ask(name), (name, ask(name))
assert b"a request is" in ask(b"kv\\nfresh other")
assert ask(b"kv") == b"ok\\n"
print("all refused")
"""


@pytest.mark.parametrize("user", ["user", "root"])
def test_a_hostile_task_gets_nothing_else(project, user):
    """It can neither write to what envtool shares with it, nor name a service of the env that runs beside it."""
    project.write("hostile.py", HOSTILE)
    spec = SPEC.partition("      test: |")[0]
    other = "  other: {command: python3 server.py, set: {STATUS: '0'}, ready: 8000, prepare: {data: [/srv/kv]}}\n"
    beside = "  beside:\n    services: [other]\n    tasks:\n      test: sleep 2; python3 client.py GET http://other:8000/starts\n"
    spec = spec.replace("envs:\n", f"{other}envs:\n{beside}")
    project.spec(f"{spec}      test: {{run: python3 hostile.py, user: {user}}}\n")
    done = project.envtool("test")
    if user == "root" and "your containers have one id only" in done.said + done.out:
        return  # there is no such task with a single id
    assert done.status == 0, done.said + done.out
    logs = project.project / ".envtool/last"
    assert (logs / "unit.test.log").read_text() == "all refused\n"
    assert (logs / "beside.test.log").read_text() == "x\n", "started once"

"""`up`, `down`, `ps`, `logs`, `scale` and `exec --service`: services by hand, as every caller."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.checkout_attacks import MADE, REFUSED, check_untouched, contents

pytestmark = pytest.mark.e2e

# Answers with the content of `version` when it started, and its host name; ends its requests before it ends.
SERVER = """
import http.server, signal, socket, sys, threading, time
VERSION = open("version").read().strip()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.4)
        body = f"{VERSION} {socket.gethostname()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving", VERSION, flush=True)
server.serve_forever()
server.server_close()
"""
API = """
  api:
    command: exec python3 -u serve.py
    ready: {{http: 8000/, within: 120s}}
    publish: [8000]
    replicas: {replicas}
    set: {{COLOUR: {colour}}}
"""
SLEEP = """
  worker:
    command: echo working $GREETING; exec sleep {nap}
    ready: {{log: working}}
    set: {{GREETING: {greeting}}}
    project: false
"""
ENVS = "envs:\n  unit: {tasks: {test: 'true'}}\n"


def write(place, services: str, at=None) -> None:
    place.spec(f"services:{services}{ENVS}", at=at)
    place.write("serve.py", SERVER, at=at)
    if not ((at or place.project) / "version").exists():
        place.write("version", "one", at=at)


def api(replicas: int = 1, colour: str = "red") -> str:
    return API.format(replicas=replicas, colour=colour)


def worker(place, greeting: str = "hello") -> str:
    return SLEEP.format(nap=place.nap, greeting=greeting)


def services(place, **more) -> dict[str, dict]:
    """The services that `ps` shows, by name."""
    done = place.envtool("ps", "--json", **more)
    assert done.status == 0, done.err
    projects = json.loads(done.out)["projects"]
    return {service["name"]: service for project in projects if project["running"] for service in project["services"]}


def port(place, **more) -> int:
    return services(place, **more)["api"]["published"][0]["host_port"]


def get(number: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{number}{path}", timeout=10) as answer:
        return answer.read().decode()


def managers(place) -> list[int]:
    """The processes that hold services of a place past the terminal."""
    numbers = [int(text.split()[0]) for text in place.processes()]
    return [number for number in numbers if b"run_detached" in read(f"/proc/{number}/cmdline")]


def read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def left(place) -> list[str]:
    up = place.store / "up"
    return [*place.left(), *map(str, up.iterdir() if up.is_dir() else ())]


def check_nothing_left(place) -> None:
    place.until(lambda: not place.processes(), f"no processes: {place.processes()}", 10)
    assert not left(place)


@pytest.fixture
def up(place):
    """A place in which nothing runs afterwards."""
    yield place
    place.envtool("down")
    check_nothing_left(place)


def test_services_live_past_the_command_and_leave_nothing(up):
    write(up, api(2) + worker(up))
    done = up.envtool("up", "-d")
    assert done.status == 0, done.err
    found = services(up)
    assert [item["state"] for item in found["api"]["replicas"]] == ["ready", "ready"]
    assert found["worker"]["replicas"][0]["memory"] > 0
    number = found["api"]["published"][0]["host_port"]
    answers = {get(number) for _ in range(12)}
    assert answers == {"one api-1", "one api-2"}
    shown = up.envtool("ps").out
    assert f"127.0.0.1:{number}->8000" in shown
    assert "worker-1  ready" in shown
    log = up.envtool("logs").out
    assert "worker-1 | working hello\n" in log
    assert "api-2    | serving one\n" in log
    assert "envtool  | api-1 is ready\n" in log
    assert up.envtool("logs", "-n", "1", "api-2").out == "api-2 | serving one\n"
    assert json.loads(up.envtool("logs", "--json", "-n", "1", "worker").out)["text"] == "working hello"
    done = up.envtool("down")
    assert done.status == 0
    check_nothing_left(up)
    with pytest.raises(urllib.error.URLError):
        get(number)
    assert up.envtool("ps").out == "no services run: `envtool up` starts them\n"
    done = up.envtool("logs")
    assert done.status == 2
    assert "no services of this project run" in done.err
    assert up.envtool("down").err == "no services run\n"


def test_a_command_in_a_service(up):
    write(up, worker(up))
    assert up.envtool("up", "-d").status == 0
    script = 'cat; echo "$GREETING $(hostname)"; echo wrong >&2; exit 7'
    done = up.envtool("exec", "--service", "worker", "--", "sh", "-c", script, data=b"given\n")
    assert (done.status, done.out, done.err) == (7, "given\nhello worker-1\n", "wrong\n")
    done = up.envtool("exec", "--service", "worker-1", "--", "no-such-program")
    assert done.status == 127
    done = up.envtool("exec", "--service", "wroker", "--", "true")
    assert done.status == 2
    assert "no service `wroker` runs here" in done.err
    assert "did you mean `worker`?" in done.err
    running = up.start("exec", "--service", "worker", "--", "sleep", f"{up.nap}9")
    up.until(lambda: any(f"sleep\\x00{up.nap}9" in text for text in up.processes()), "a command runs")
    running.kill()
    running.communicate()
    up.until(lambda: not any(f"sleep\\x00{up.nap}9" in text for text in up.processes()), "it ends with its caller")


def test_a_terminal_in_a_service(up):
    write(up, worker(up))
    assert up.envtool("up", "-d").status == 0
    import pty

    master, slave = pty.openpty()
    words = ("exec", "--service", "worker", "--", "sh", "-c", "tty; read line; echo got $line; exit 3")
    process = up.start(*words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, b"typed\n")
    assert process.wait(20) == 3
    text = os.read(master, 65536).decode()
    assert "/dev/pts/0" in text
    assert "got typed" in text
    os.close(master)


def test_up_again_replaces_what_changed_and_nothing_else(up):
    write(up, api() + worker(up))
    assert up.envtool("up", "-d").status == 0
    before = services(up)
    write(up, api(colour="blue") + worker(up))
    done = up.envtool("up", "-d")
    assert done.status == 0, done.err
    assert "api: replaced (variables)\n" in done.err
    assert "worker: unchanged\n" in done.err
    after = services(up)
    assert after["worker"] == {**before["worker"], "replicas": [dict(after["worker"]["replicas"][0])]}
    assert after["worker"]["replicas"][0]["since"] == before["worker"]["replicas"][0]["since"]
    assert after["api"]["published"] == before["api"]["published"]
    done = up.envtool("exec", "--service", "api", "--", "sh", "-c", "echo $COLOUR")
    assert done.out == "blue\n"
    write(up, api(2, colour="blue"))
    done = up.envtool("up", "-d")
    assert "api: 2 replicas\n" in done.err
    assert "worker: stopped\n" in done.err
    assert [*services(up)] == ["api"]
    write(up, api(1) + worker(up, "again"))
    assert up.envtool("up", "-d").status == 0
    assert up.envtool("exec", "--service", "api", "--", "sh", "-c", "echo $COLOUR").out == "red\n"
    assert "worker-1 | working again" in up.envtool("logs", "worker").out


def test_up_again_after_an_edit_of_what_they_read(up):
    write(up, api(2) + worker(up))
    assert up.envtool("up", "-d").status == 0
    number, before = port(up), services(up)["worker"]
    up.write("version", "two")
    done = up.envtool("up", "-d")
    assert done.status == 0
    assert "api: replaced (project)" in done.err
    assert "worker: unchanged" in done.err
    assert {get(number).split()[0] for _ in range(8)} == {"two"}
    assert services(up)["worker"]["replicas"][0]["since"] == before["replicas"][0]["since"]
    assert "api: unchanged" in up.envtool("up", "-d").err


def test_one_that_does_not_get_ready_leaves_the_old_ones(up):
    write(up, api(2) + worker(up))
    assert up.envtool("up", "-d").status == 0
    number = port(up)
    broken = api(2).replace("within: 120s", "within: 5s").replace("serve.py", "serve.py & echo lame; sleep 1000")
    place_server = up.project / "serve.py"
    old = place_server.read_text()
    write(up, broken + worker(up, "changed"))
    up.write("serve.py", "import time; time.sleep(1000)")
    done = up.envtool("up", "-d")
    assert done.status == 3, done.err
    assert "service `api` (replica api-3) is not ready after 5 s" in done.err
    assert "lame" in done.err
    assert {get(number) for _ in range(8)} == {"one api-1", "one api-2"}
    assert [item["state"] for item in services(up)["api"]["replicas"]] == ["ready", "ready"]
    write(up, api(2) + worker(up))
    up.write("serve.py", old)
    done = up.envtool("up", "-d")
    assert done.status == 0
    assert "api: unchanged" in done.err  # the way back touches nothing


def test_one_that_fails_at_the_start_ends_all(up):
    write(
        up, worker(up) + "  bad: {command: 'echo why it fails; exit 4', ready: 8000, needs: [worker], restart: never}\n"
    )
    done = up.envtool("up", "-d")
    assert done.status == 3
    assert "why it fails" in done.err
    assert "service `bad` ended before it was ready: exit 4" in done.err or "exit 4" in done.err
    up.until(lambda: not up.processes(), "nothing runs")
    shown = up.envtool("ps").out
    assert "they ended" in shown
    assert "exit 4" in shown
    assert "bad-1" in up.envtool("logs").out
    assert up.envtool("scale", "worker=2").status == 2
    assert "had ended before" in up.envtool("down").err


def test_in_the_foreground(up):
    write(up, worker(up))
    process = up.start("up")
    up.until(up.asleep, "it runs")
    up.until(lambda: "worker" in services(up), "it is known")
    follower = up.start("logs", "-f")
    assert follower.stdout.readline() == b"worker-1 | working hello\n"
    up.until(lambda: services(up)["worker"]["replicas"][0]["state"] == "ready", "it is ready")
    process.send_signal(signal.SIGINT)
    done = up.finish(process)
    assert done.status == 130
    assert "worker-1 | working hello\n" in done.out
    assert "worker-1  ready" in done.err
    assert up.finish(follower).status == 0  # it ends with them
    check_nothing_left(up)


def test_a_network_that_is_lost_ends_them(up):
    write(up, worker(up))
    assert up.envtool("up", "-d").status == 0
    (manager,) = managers(up)
    children = [path.read_text().split() for path in Path(f"/proc/{manager}/task").glob("*/children")]
    (holder,) = [
        int(number)
        for number in itertools.chain(*children)
        if read(f"/proc/{number}/cmdline").startswith(b"envtool: the network")
    ]
    os.kill(holder, signal.SIGKILL)
    up.until(lambda: not services(up), "they end", 20)
    assert "failed: the containers' network was broken off: its process has ended" in up.envtool("ps").said
    up.envtool("down")
    check_nothing_left(up)


def test_the_end_of_following_is_quiet(up):
    write(up, api() + worker(up))
    started = up.envtool("up", "-d", "-q")
    assert (started.status, started.out, started.err) == (0, "", ""), "no table"
    assert "api" in services(up)
    follower = up.start("logs", "-f")
    assert b"serving" in follower.stdout.readline() + follower.stdout.readline() + follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=20)
    assert (follower.returncode, err) == (130, b"")
    assert services(up)["api"], "they go on"


def test_a_command_beside_services_that_run(up):
    """It is in no network with them, which is said."""
    text = "envs:\n  unit: {tasks: {test: 'true'}}\n  own: {services: [worker]}\n"
    up.spec(f"services:{worker(up)}{text}")
    assert "envtool up" not in up.envtool("exec", "own", "--", "true").err
    assert up.envtool("up", "-d").status == 0
    done = up.envtool("exec", "own", "--", "true")
    assert "but this command has services of its own: `envtool exec --service NAME -- CMD` runs one beside" in done.err
    assert "but this command cannot reach them" in up.envtool("exec", "unit", "--", "true").err


def test_down_ends_one_in_the_foreground(up):
    write(up, worker(up) + api())
    process = up.start("up")
    up.until(up.asleep, "it runs")
    done = up.envtool("down", "api")
    up.until(lambda: [*services(up)] == ["worker"], f"one is left: {done.err}")
    assert up.asleep()
    assert up.envtool("down").status == 0
    assert up.finish(process).status == 0


def test_a_reader_that_goes_ends_the_foreground(up):
    """`envtool up | head -1`: what nobody reads must neither stop a service, nor let it run for ever."""
    loud = "echo working; while sleep 0.01; do echo more; done"
    write(up, worker(up) + f"\n  loud: {{command: '{loud}', ready: {{log: working}}}}\n")
    process = up.start("up")
    assert process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(60) == 141, said
    assert "Traceback" not in said
    check_nothing_left(up)


def test_watch(up):
    write(up, api() + worker(up))
    up.shell("git init -q . && echo 'ignored*' > .gitignore")
    assert up.envtool("up", "-d", "--watch").status == 0
    number, before = port(up), services(up)
    up.write("ignored.txt", "1")
    up.shell("touch version")
    up.write("version", "two")
    up.until(lambda: get(number).startswith("two "), "the new version answers", 20)
    after = services(up)
    assert after["worker"]["replicas"][0]["since"] == before["worker"]["replicas"][0]["since"]
    log = up.envtool("logs", "envtool").out
    assert log.count("api is restarted: version changed") == 1
    assert "ignored" not in log
    write(up, api(colour="green") + worker(up))
    up.until(lambda: "green" in up.envtool("exec", "--service", "api", "--", "env").out, "the spec counts", 20)


def test_watch_of_what_a_layer_is_made_from(up):
    """The service whose layer has the file is replaced, and no other."""
    copied = f"""
  copied:
    layers: [{{copy: {{from: conf, to: /opt/conf}}}}]
    command: cat /opt/conf/words; exec sleep {up.nap}
    ready: {{log: "^words"}}
    project: false
"""
    up.write("conf/words", "words one\n")
    write(up, worker(up) + copied)
    assert up.envtool("up", "-d", "--watch").status == 0
    before = services(up)
    up.write("conf/words", "words two\n")
    up.until(lambda: "copied: replaced (stack): conf/words changed" in up.envtool("logs", "envtool").out, "it is", 20)
    assert "words two" in up.envtool("logs", "copied").out
    assert services(up)["worker"]["replicas"][0]["since"] == before["worker"]["replicas"][0]["since"]
    up.write("conf/more", "words three\n")
    up.until(
        lambda: "copied: replaced (stack): conf/more changed" in up.envtool("logs", "envtool").out, "a new one", 20
    )
    up.write("unread", "words four\n")
    up.write("conf/words", "words five\n")
    up.until(lambda: "words five" in up.envtool("logs", "copied").out, "it counts", 20)


def test_a_service_that_writes_at_each_start_is_not_restarted_for_ever(up):
    up.write("app.log", "")
    write(up, f"\n  loop: {{command: 'date +%N >app.log; exec sleep {up.nap}', ready: {{command: test -s app.log}}}}\n")
    assert up.envtool("lock", "-q").status == 0
    assert up.envtool("up", "-d", "--watch", "--writable").status == 0
    up.write("version", "two")
    word = "`app.log` changed after each of the last restarts: until the next `up` that restarts nothing"
    up.until(lambda: word in up.envtool("logs", "envtool").out, "it ends", 60)
    time.sleep(1)
    count = up.envtool("logs", "envtool").out.count("loop is restarted")
    time.sleep(2)
    assert up.envtool("logs", "envtool").out.count("loop is restarted") == count
    up.write("version", "three")
    up.until(lambda: up.envtool("logs", "envtool").out.count("loop is restarted") > count, "others count", 20)


def test_scale(up):
    write(up, api(1))
    assert up.envtool("up", "-d").status == 0
    number = port(up)
    assert up.envtool("scale", "api=5").status == 0
    assert len({get(number) for _ in range(25)}) == 5
    with ThreadPoolExecutor(8) as pool:
        requests = [pool.submit(get, number, "/slow") for _ in range(8)]
        time.sleep(0.15)
        assert up.envtool("scale", "api=1").status == 0
        assert all(request.result().startswith("one ") for request in requests)
    assert len(services(up)["api"]["replicas"]) == 1
    for words, text in (
        (("scale", "aip=2"), "did you mean `api`?"),
        (("scale", "api=x"), "`api=x` is no number of replicas"),
        (("scale", "api"), "`api` is no number of replicas"),
    ):
        done = up.envtool(*words)
        assert done.status == 2
        assert text in done.err


def test_fresh(up):
    write(up, api(2))
    assert up.envtool("up", "-d").status == 0

    def inside(*command):
        return up.envtool("exec", "--service", "api-2", "--", *command)

    before = {item["replica"]: item["since"] for item in services(up)["api"]["replicas"]}
    assert inside("touch", "/tmp/written").status == 0
    done = up.envtool("exec", "--fresh", "api")
    assert (done.status, done.out, done.err) == (0, "", "fresh: api\n")
    after = {item["replica"]: item["since"] for item in services(up)["api"]["replicas"]}
    assert after.keys() == before.keys(), "the same replicas"
    assert all(after[name] > before[name] for name in after), "each was started anew"
    assert inside("test", "-e", "/tmp/written").status == 1
    assert inside("touch", "/tmp/written").status == 0
    assert up.envtool("exec", "--fresh", "api", "--service", "api-2", "--", "ls", "/tmp").out == ""
    done = up.envtool("exec", "--fresh", "aip")
    assert done.status == 2
    assert "did you mean `api`?" in done.err


class Load:
    """Clients that ask without a pause; what went wrong, and how often it went well."""

    def __init__(self, number: int, clients: int = 4) -> None:
        self.number, self.wrong, self.right = number, [], 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                get(self.number)
                self.right += 1
            except (OSError, urllib.error.URLError) as error:
                self.wrong.append(repr(error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_no_request_fails_in_a_redeploy(up):
    write(up, api(3))
    assert up.envtool("up", "-d").status == 0
    with Load(port(up)) as load:
        for colour in ("blue", "green"):
            write(up, api(3, colour=colour))
            assert up.envtool("up", "-d").status == 0
        up.envtool("scale", "api=5")
        up.envtool("scale", "api=2")
    assert load.right > 50
    assert not load.wrong


def test_a_killed_replica_takes_only_its_own_requests(up):
    write(up, api(3))
    assert up.envtool("up", "-d").status == 0
    with Load(port(up), clients=3) as load:
        up.until(lambda: load.right > 20, "requests")
        up.envtool("exec", "--service", "api-2", "--", "sh", "-c", "kill -9 -1")
        up.until(lambda: services(up)["api"]["replicas"][1]["restarts"] == 1, "it starts again")
        up.until(lambda: services(up)["api"]["replicas"][1]["state"] == "ready", "it is ready")
    assert len(load.wrong) <= 3
    assert "api-2 ended with 137, and starts again (1)" in up.envtool("logs", "envtool").out


def test_two_worktrees_at_once(up):
    write(up, api(2))
    other = up.directory("other")
    write(up, api(1, colour="blue"), at=other)
    up.write("version", "other", at=other)
    try:
        assert up.envtool("up", "-d", "--watch").status == 0
        assert up.envtool("up", "-d", "--watch", cwd=other).status == 0
        first, second = port(up), port(up, cwd=other)
        assert get(first).startswith("one ")
        assert get(second) == "other api-1"
        up.write("version", "first again")
        up.write("version", "second again", at=other)
        up.until(lambda: get(first).startswith("first again "), "the first is restarted", 20)
        up.until(lambda: get(second).startswith("second again "), "the second is restarted", 20)
        shown = up.envtool("ps", "--all").out
        assert str(up.project) in shown
        assert str(other) in shown
    finally:
        assert up.envtool("down", "--all").status == 0
    check_nothing_left(up)


def test_killed_at_any_moment(up, depth):
    """Whenever the process that holds the services is killed: nothing of them runs, and `ps` says so."""
    write(up, api(2) + worker(up))
    assert up.envtool("up", "-d").status == 0
    assert up.envtool("down").status == 0
    draw: random.Random = depth.random
    for _ in depth.times(4, 40):
        process = up.start("up", "-d")
        time.sleep(draw.uniform(0.2, 1.8))
        for number in managers(up):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate(timeout=30)
        for number in managers(up):  # it was made after we looked
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        up.until(lambda: not up.processes(), "nothing runs")
        shown = up.envtool("ps").out
        assert "do not run" in shown or "they ended" in shown or "no services run" in shown, shown
        assert up.envtool("ps", "--json").status == 0
    assert up.envtool("up", "-d").status == 0
    assert get(port(up)).startswith("one ")


def test_two_at_the_same_moment(up):
    """One starts them, the other goes on with what runs."""
    write(up, api(2) + worker(up))
    first, second = up.start("up", "-d"), up.start("up", "-d")
    for done in (up.finish(first), up.finish(second)):
        assert done.status == 0, done.err
        assert "api-2     ready" in done.err
    assert len(managers(up)) == 1


def test_down_while_they_are_being_started(up):
    write(up, f"\n  slow: {{command: sleep {up.nap}, ready: {{log: never, within: 100s}}}}\n")
    process = up.start("up", "-d")
    up.until(up.asleep, "it is being started")
    assert up.envtool("down").status == 0
    done = up.finish(process)
    assert done.status == 3
    assert "stopped while they were being started" in done.err


def test_the_services_outlive_who_started_them(up):
    write(up, f"\n  slow: {{command: sleep 1; echo ready; exec sleep {up.nap}, ready: {{log: ready}}}}\n")
    process = up.start("up", "-d")
    up.until(lambda: "slow" in services(up), "it is being started")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    up.until(lambda: services(up).get("slow", {}).get("replicas", [{}])[0].get("state") == "ready", "it is ready")


@pytest.mark.one_caller
def test_down_ends_one_that_hangs(up):
    write(up, worker(up))
    assert up.envtool("up", "-d").status == 0
    (number,) = managers(up)
    os.kill(number, signal.SIGSTOP)
    assert up.envtool("down").status == 0


@pytest.mark.parametrize("words", [("ps",), ("logs",), ("scale", "api=2"), ("exec", "--service", "api", "--", "true")])
def test_when_nothing_runs(up, words):
    write(up, api())
    done = up.envtool(*words)
    if words == ("ps",):
        assert (done.status, done.out) == (0, "no services run: `envtool up` starts them\n")
    else:
        assert done.status == 2
        assert "hint: `envtool up` starts them" in done.err


# ---- a checkout that services write to -------------------------------------------------------------------------------

WRITER = """
  writer:
    command: exec sh script
    ready: {{log: ready}}
    stop: {{grace: 1s}}
  other:
    command: echo working; exec sleep {nap}
    ready: {{log: working}}
    project: false
"""


def writer(place, script: str, nested: str = "") -> None:
    place.spec(f"services:{WRITER.format(nap=place.nap)}{ENVS}")
    place.write("script", script)
    place.shell(f"git init -q . && git add . {nested}")
    assert place.envtool("lock").status == 0


def test_a_writable_checkout(up):
    writer(up, f"{MADE}{REFUSED}echo ready\nexec sleep 1000\n", "&& mkdir -p sub && git init -q sub/repo")
    before = contents(up.project)
    done = up.envtool("up", "-d")
    assert done.status == 0, done.err
    assert not (up.project / "made").exists()  # not asked for: writes are lost
    assert up.envtool("down").status == 0
    done = up.envtool("up", "-d", "--writable")
    assert done.status == 0, done.err
    assert (up.project / "deep/er/file").read_text() == "two\n"
    assert (up.project / "deep/er/file").stat().st_uid == up.caller.uid
    assert [item["state"] for item in services(up)["writer"]["replicas"]] == ["ready"]
    check_untouched(up.project, before, up.envtool("logs", "writer").out)


@pytest.mark.parametrize(
    "made",
    ["git init -q new", "mkdir -p a/b; echo gitdir: ../x > a/b/.git", "git init -q --bare bare", "mkdir sub; ln -s /tmp sub/.GIT", "mkdir sub; echo x > sub/envtool.yaml"],
)  # fmt: skip
def test_what_git_obeys_ends_the_service_that_makes_it(up, made):
    writer(up, f"echo ready; while ! [ -e go ]; do sleep 0.05; done; {made}; exec sleep 1000")
    assert up.envtool("up", "-d", "--writable").status == 0
    other = services(up)["other"]["replicas"][0]["since"]
    up.write("go", "")
    up.until(lambda: services(up)["writer"]["replicas"][0]["state"] == "failed", "it is ended")
    found = services(up)
    assert found["writer"]["replicas"][0]["memory"] == 0
    assert found["other"]["replicas"][0] | {"memory": 0} == {
        **found["other"]["replicas"][0], "state": "ready", "since": other, "memory": 0,
    }  # fmt: skip
    shown = up.envtool("ps").out
    assert "while services could write to the checkout" in shown
    assert "obeys it: look at it before you use it here" in up.envtool("logs", "envtool").out
    up.shell("rm -rf new go")  # of the first one, `git init` was ended halfway
    done = up.envtool("up", "-d", "--writable")
    if "ln -s" in made:
        assert done.status == 3
        assert "`sub/.GIT`, which git would never check out" in done.err
        return
    assert done.status == 0, done.err
    assert services(up)["writer"]["replicas"][0]["state"] == "ready"


def test_an_edit_of_the_spec_keeps_it_protected(up):
    """A rename over the spec takes the mount away in the containers: they are started anew."""
    writer(up, "echo ready; while :; do sleep 0.05; [ ! -e go ] || { echo no > envtool.yaml; echo tried; }; done")
    assert up.envtool("up", "-d", "--writable").status == 0
    since = services(up)["writer"]["replicas"][0]["since"]
    text = (up.project / "envtool.yaml").read_text()
    up.write("new.yaml", text + "# edited\n")
    up.shell("mv new.yaml envtool.yaml")

    def anew() -> bool:
        replica = services(up)["writer"]["replicas"][0]
        return replica["state"] == "ready" and replica["since"] > since

    up.until(anew, "it is started anew")
    up.write("go", "")
    up.until(lambda: "tried" in up.envtool("logs", "writer").out, "it has tried")
    assert (up.project / "envtool.yaml").read_text() == text + "# edited\n"


def test_a_writable_checkout_needs_a_lock(up):
    writer(up, "echo ready; exec sleep 1000")
    (up.project / "envtool.lock").unlink()
    done = up.envtool("up", "-d", "--writable")
    assert done.status == 2
    assert "`--writable` needs `envtool.lock`" in done.err
    assert "hint: `envtool lock` writes the lock" in done.err


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(up):
    """By whom is said: the caller's own process is known to everybody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        write(up, api().replace("publish: [8000]", f"publish: ['{number}:8000']"))
        done = up.envtool("up", "-d")
        assert done.status == 3
        assert f"port {number} of this machine is in use" in done.err
        if up.caller.uid == os.geteuid():
            assert f"(process {os.getpid()})" in done.err
    up.until(lambda: not up.processes(), "nothing runs")
    assert up.envtool("up", "-d").status == 0
    assert get(number) == "one api-1"


@pytest.mark.parametrize(
    ("words", "text", "hint"),
    [
        (("up", "wroker"), "no service `wroker`", "did you mean `worker`?"),
        (("up", "-d", "--watch", "--", "x"), "`up` takes nothing after `--`", ""),
        (("down", "wroker"), "no service `wroker` runs here", "did you mean `worker`?"),
        (("down", "worker"), "service `worker` is needed by `late`", "`envtool down worker late`"),
        (("logs", "wroker"), "no service `wroker` printed anything", "did you mean `worker`?"),
        (("scale", "once=2"), "service `once` is to end", ""),
        (("exec", "--service", "once", "--", "true"), "does not run", ""),
    ],
)
def test_a_wrong_command(up, words, text, hint):
    late = f"  late: {{command: 'echo up; exec sleep {up.nap}', ready: {{log: up}}, needs: [worker, once]}}\n"
    write(up, worker(up) + "  once: {command: 'true', once: true}\n" + late)
    assert up.envtool("up", "-d").status == 0
    done = up.envtool(*words)
    assert done.status in (2, 3)
    assert text in done.err
    assert hint in done.err
    assert [item["state"] for service in services(up).values() for item in service["replicas"]].count("ready") == 2


def test_a_project_without_services(up):
    up.spec(ENVS)
    done = up.envtool("up")
    assert done.status == 2
    assert "envtool.yaml has no services" in done.err


def test_services_of_one_env(up):
    matrix = "envs:\n  unit:\n    matrix: {v: [one, two]}\n    services: [worker]\n    tasks: {test: 'true'}\n"
    up.spec("services:" + worker(up, '"{{ matrix.v }}"') + matrix)
    done = up.envtool("up", "-d", "worker")
    assert done.status == 2
    assert "service `worker` differs between envs" in done.err
    assert "`envtool up -e unit[one] worker`" in done.err
    assert up.envtool("up", "-d", "-e", "unit[two]").status == 0
    assert "working two" in up.envtool("logs", "worker").out

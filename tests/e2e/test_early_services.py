"""Services, and the task beside them, that start before a run has read its spec: real containers, as every caller."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.test_layers import archive, sha, small_root

pytestmark = pytest.mark.e2e

BUSYBOX = "/bin/busybox"
SPEC = """\
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha}}}}}
services:
  web:
    base: tiny
    command: /bin/busybox httpd -f -p 8000 -h /project
    ready: 8000
envs:
  unit:
    base: tiny
    services: [web]
    set: {{WORD: one}}
    tasks:
      test: |
        date +began:%s%N
        echo $WORD {token}
        /bin/busybox wget -q -O - http://web:8000/page
        cat page; ls
"""
NAMES = ["envtool.yaml", "page", "root.tar.gz"]


@pytest.fixture
def project(place):
    if not Path(BUSYBOX).exists():
        pytest.skip("busybox is not installed")
    files = {name: path.read_bytes() for name, path in small_root("/bin/date").items()}
    data = archive({**files, "bin/busybox": Path(BUSYBOX).read_bytes()}, mode=0o755)
    place.write("root.tar.gz", data)
    place.write("page", "first\n")
    place.spec(SPEC.format(sha=sha(data), token=place.token))
    return place


def edit(project, old, new, name="envtool.yaml"):
    text = (project.project / name).read_text()
    assert old in text
    project.write(name, text.replace(old, new, 1))


def run(project, *words, status=0):
    """Runs the tests. Returns whether the run took over a task that had been started early, what the task printed but
    for its time, and the run's result. A task that was taken over counts from when it was let go, before the run asked
    for it; the two times are equal for any other."""
    time.sleep(0.05)  # what changed less than a tick of the clock ago counts as new
    done = project.envtool("test", "--json", *words)
    assert done.status == status, done.said
    began = re.search(r"began:(\d+)\n", done.log())
    assert began, done.said
    [started] = [event for event in done.events if event["event"] == "started" and event["subject"] == "task"]
    assert (project.project / ".envtool/last/unit.test.log").read_text() == done.log()
    [result] = done.events[-1]["results"]
    assert result["started"] <= started["time"]
    return result["started"] < started["time"], done.log().replace(began[0], ""), done


def shape(done):
    """What of a run's events and result has to be the same, whichever way it ran."""
    changing = ("time", "seconds", "started", "began", "memory", "cpu_seconds", "written", "since", "text", "log")
    shown = [event for event in done.events if event["event"] != "progress" and event.get("subject") != "base"]
    return sorted(repr(strip(event, changing)) for event in shown if event["event"] != "output")


def strip(value, names):
    if isinstance(value, dict):
        return {name: strip(item, names) for name, item in value.items() if name not in names}
    return [strip(item, names) for item in value] if isinstance(value, list) else value


def lines(project, word="one", page="first", names=NAMES):
    return "\n".join([f"{word} {project.token}", page, page, *sorted(names), ""])


def test_the_second_run_begins_early_and_is_the_same(project):
    first = run(project)
    assert first[:2] == (False, lines(project))
    for _ in range(2):
        early, log, done = run(project, "--again")
        assert (early, log) == (True, lines(project))
        assert shape(done) == shape(run(project, "--again", "--offline", "--report", f"markdown={project.top}/x.md")[2])
    assert (project.store / "tmp").exists()
    assert project.left() == []


@pytest.mark.parametrize("git", [False, True])
def test_files_of_the_project_are_those_of_now(project, git):
    """A note does not know the project's files: the next run begins early, and sees them as they are."""
    if git:
        project.shell("git init -q; git add .; git -c user.name=x -c user.email=x@y commit -qm x")
    run(project)
    project.write("page", "second\n")
    assert run(project)[:2] == (True, lines(project, page="second"))
    project.write("more", "")
    assert run(project)[:2] == (True, lines(project, page="second", names=[*NAMES, "more"]))
    if git:
        project.write(".gitignore", "secret\n")
        project.write("secret", "not to be seen\n")
        assert run(project)[:2] == (True, lines(project, page="second", names=[*NAMES, "more"]))
        project.shell("git -c user.name=x -c user.email=x@y commit -qam y")
        assert run(project, "--again")[:2] == (True, lines(project, page="second", names=[*NAMES, "more"]))


@pytest.mark.parametrize(
    ("name", "old", "new", "word"),
    [
        ("the task", "echo $WORD", "echo $WORD", "one"),
        ("a variable", "WORD: one", "WORD: two", "two"),
        ("the command of the service", "-h /project", "-h /project/.", "one"),
        ("a variable of the service", "    ready: 8000", "    ready: 8000\n    set: {X: y}", "one"),
        ("a further service", "envs:\n", "  more: {base: tiny, command: /bin/busybox httpd -f -p 1, ready: 1}\nenvs:\n", "one"),
        ("a layer", "    services: [web]", "    services: [web]\n    layers: [{run: /bin/busybox mkdir /opt}]", "one"),
        ("how it is ready", "ready: 8000", "ready: {command: /bin/busybox wget -q -O - http://127.0.0.1:8000/page}", "one"),
        ("replicas", "    ready: 8000", "    ready: 8000\n    replicas: 2", "one"),
        ("a comment", "envs:\n", "envs:  # all\n", "one"),
    ],
)  # fmt: skip
def test_an_edit_of_the_spec_is_decided_anew(project, name, old, new, word):
    run(project)
    edit(project, old, new + ("; true" if name == "the task" else ""))
    expected = lines(project, word) if name != "the task" else lines(project).replace(f" {project.token}", "", 1)
    early, log, _ = run(project, "--again")
    if name == "the task":
        assert not early
        return
    assert (early, log) == (False, expected)
    expected_early = name != "how it is ready"
    assert run(project, "--again")[:2] == (expected_early, expected)
    assert project.left() == []


@pytest.mark.parametrize("words", [("--", "x"), ("--allow-pass", "WORD"), ("--locked",), ("--expect-cached",)])
def test_a_command_line_that_may_decide_otherwise_begins_nothing_early(project, words):
    assert project.envtool("lock", "-q").status == 0
    run(project)
    assert run(project, "--again", *words)[:2] == (False, lines(project, names=[*NAMES, "envtool.lock"]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    services: [web]", '    services: [web]\n    network: {allow: ["127.0.0.1:9"]}'),
        ("    ready: 8000", "    ready: 8000\n    restart: always"),
        ("    ready: 8000", "    ready: 8000\n    limits: {memory: 100MB}"),
        ("    services: [web]", "    services: [web]\n    pass: [HOME]"),
    ],
)
def test_what_is_never_noted(project, old, new):
    project.allow("pass: [HOME]")
    edit(project, old, new)
    for _ in range(2):
        assert run(project, "--again")[:2] == (False, lines(project))


@pytest.mark.parametrize(("ready", "early"), [("is ready", True), ("is .eady", False)])
def test_a_line_that_says_when_it_is_ready(project, ready, early):
    """What it printed before the run had it is in its log, in its order."""
    server = "/bin/sh -c 'echo begins; (echo is ready; echo more) & exec /bin/busybox httpd -f -p"
    edit(project, "/bin/busybox httpd -f -p 8000 -h /project", f"{server} 8000 -h /project'")
    edit(project, "ready: 8000", f"ready: {{log: {ready}}}")
    run(project)
    log = project.project / ".envtool/last/unit.test.web-1.log"
    assert log.read_text() == "begins\nis ready\nmore\n"
    for _ in range(2):
        assert run(project, "--again")[:2] == (early, lines(project))
        assert log.read_text() == "begins\nis ready\nmore\n"


def test_a_failure_is_the_same(project):
    edit(project, "cat page; ls", "cat page; ls; exit 3")
    first = run(project, status=1)
    second = run(project, status=1)
    assert (first[0], second[0]) == (False, True)
    assert first[1] == second[1]
    assert shape(first[2]) == shape(second[2])


def test_a_service_that_ends_ends_the_task(project):
    edit(project, "httpd -f -p 8000", "timeout -s KILL 4 /bin/busybox httpd -f -p 8000")
    run(project)
    edit(project, "cat page; ls", f"cat page; ls; /bin/busybox sleep {project.nap}")
    (done,) = [run(project, "--again", status=1)[2]]
    assert "service `web`" in done.said
    early, _, again = run(project, "--again", status=1)
    assert early
    assert "service `web`" in again.said
    assert project.left() == []


def test_a_result_that_is_known_already(project):
    """What began early for nothing is ended."""
    run(project)
    project.write("page", "second\n")
    run(project)
    project.write("page", "first\n")
    done = project.envtool("test")
    assert done.status == 0, done.said
    assert "unchanged" in done.said or "cached" in done.said
    assert project.left() == []
    assert project.processes() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_run_that_is_ended_at_any_moment(project, number):
    run(project)
    for step in range(8):
        process = project.start("test", "--again")
        time.sleep(0.03 + 0.06 * step)
        process.send_signal(number)
        process.communicate()
    project.until(lambda: project.processes() == [], "the end of all processes")
    assert run(project, "--again")[:2] == (True, lines(project))
    assert project.left() == []


def test_several_at_once(project):
    run(project)
    processes = [project.start("test", "--again") for _ in range(3)]
    for process in processes:
        done = project.finish(process)
        assert done.status == 0, done.said
    assert project.left() == []


def test_a_task_asks_for_a_fresh_service_before_the_run_knows_of_it(project):
    edit(
        project,
        "        cat page; ls",
        "        /bin/busybox sh /run/envtool/bin/envtool-fresh web 2>&1 | cat; cat page; ls",
    )
    first = run(project)
    second = run(project, "--again")
    assert (first[0], second[0]) == (False, True)
    assert first[1] == second[1]


def test_a_change_of_the_project_meanwhile_is_never_missed(project):
    """The run is stopped at several moments, while what has begun early goes on, and a file changes."""
    run(project)
    for number in range(5):
        process = project.start("test", "--again")
        time.sleep(0.07 * number)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        project.write("page", f"{number}\n")
        process.send_signal(signal.SIGCONT)
        done = project.finish(process)
        assert done.status == 0, done.said
        time.sleep(0.05)
        assert project.envtool("test").status == 0
        log = (project.project / ".envtool/last/unit.test.log").read_text()
        assert log.partition("\n")[2] == lines(project, page=str(number)), "a result that is known is of these files"

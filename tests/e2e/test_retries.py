"""`retries:`: a task that failed runs again in a new container, and what passes only then is flaky, never clean."""

from __future__ import annotations

import os
import signal
import time
from xml.etree import ElementTree as ET

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.callers_in_turn]

# The first attempt prints `began`, then fails. By the next one the test has made the file `ready`.
FLAKY = """\
test ! -e left-behind || { echo "sees an earlier attempt"; exit 9; }
touch left-behind
mkdir -p dist
if test -e ready; then echo second > dist/out; echo good; exit 0; fi
echo first > dist/out; echo began; sleep 1; exit 3"""


def run_flaky(place, *words):
    """Runs the task, and makes it pass at the second attempt."""
    process = place.start("test", *words)
    place.until(lambda: any("began" in log.read_text() for log in logs(place)), "the first attempt begins")
    place.write("ready", "")
    return place.finish(process)


def logs(place):
    return list(place.project.glob(".envtool/runs/*/unit.test*.log"))


@pytest.fixture
def flaky(place):
    place.task(FLAKY, options="retries: 2\noutputs: [dist]")
    return place


def test_a_pass_after_a_failure_is_flaky(flaky):
    done = run_flaky(flaky, "--json", "--junit", "junit.xml", "--report", "markdown=summary.md")
    assert done.status == 0, done.said
    attempted = [event for event in done.events if event["event"] == "attempted"]
    assert [(event["attempt"]["number"], event["of"], event["attempt"]["status"]) for event in attempted] == [(1, 3, 3)]
    finished = [event for event in done.events if event["event"] == "finished" and event["subject"] == "task"]
    started = [event for event in done.events if event["event"] == "started" and event["subject"] == "task"]
    assert (len(started), len(finished)) == (1, 1)
    (result,) = done.events[-1]["results"]
    for told in (finished[0], result):
        assert (told["outcome"], told["status"], told["outputs"]) == ("flaky", 0, ["dist/out"])
        assert [(attempt["outcome"], attempt["status"]) for attempt in told["attempts"]] == [
            ("failed", 3),
            ("passed", 0),
        ]
    assert result["message"] == "flaky: passed at attempt 2 of 3"
    first, second = result["attempts"]
    assert result["seconds"] >= first["seconds"] + second["seconds"]
    last = flaky.project / ".envtool" / "last"
    assert (last / "unit.test.log").read_text() == "good\n"
    assert (last / "unit.test.attempt-1.log").read_text() == "began\n"
    assert os.path.basename(first["log"]) == "unit.test.attempt-1.log"
    assert (flaky.project / "dist" / "out").read_text() == "second\n"
    assert (last / "unit.test.attempt-1" / "dist" / "out").read_text() == "first\n"
    for path in (flaky.project / "dist" / "out", last / "unit.test.attempt-1" / "dist" / "out"):
        assert path.stat().st_uid == flaky.caller.uid
    root = ET.parse(flaky.project / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("1", "0", "0")
    element = root.find("testsuite/testcase/flakyFailure")
    assert (element.get("message"), element.get("type")) == ("exit 3", "failed")
    assert (element.find("stackTrace").text, element.find("system-out").text) == ("exit 3", "began\n")
    assert root.find("testsuite/testcase/system-out").text == "good\n"
    assert "### envtool: 1 flaky in" in (flaky.project / "summary.md").read_text()
    flaky.check_nothing_left()


def test_it_is_not_remembered(flaky):
    done = run_flaky(flaky)
    assert done.status == 0, done.said
    assert "attempt 1 of 3 failed (exit 3)" in done.said
    assert "flaky: passed at attempt 2 of 3" in done.said
    assert "1 flaky in" in done.said
    assert "1 passed" not in done.said
    assert "not remembered, and run again the next time: unit test (it is flaky)" in done.said
    again = flaky.envtool("test")
    assert "1 passed" in again.said, "now at the first attempt"
    assert "unchanged" in flaky.envtool("test").said, "a clean pass is remembered"


def test_quiet_says_it_too(flaky):
    done = run_flaky(flaky, "-q")
    assert (done.status, "flaky: passed at attempt 2 of 3" in done.said) == (0, True), done.said


def test_it_fails_at_all_attempts(place):
    place.task("echo again; mkdir dist; echo x > dist/shot; exit 4", options="retries: 2\noutputs: [dist]")
    done = place.envtool("test", "--json", "--junit", "junit.xml")
    assert done.status == 1, done.said
    (result,) = done.events[-1]["results"]
    assert (result["outcome"], result["status"], len(result["attempts"])) == ("failed", 4, 3)
    assert result["message"].splitlines()[0] == "exit 4; failed at all 3 attempts"
    assert (place.project / "dist" / "shot").read_text() == "x\n"
    root = ET.parse(place.project / "junit.xml").getroot()
    testcase = root.find("testsuite/testcase")
    assert root.get("failures") == "1"
    assert testcase.find("failure").get("message").startswith("exit 4; failed at all 3 attempts")
    assert [element.find("system-out").text for element in testcase.findall("rerunFailure")] == ["again\n", "again\n"]


def test_a_pass_at_once_is_clean_and_remembered(place):
    place.task("mkdir dist; echo x > dist/a", options="retries: 3\noutputs: [dist]")
    done = place.envtool("test", "--json")
    (result,) = done.events[-1]["results"]
    assert (result["outcome"], result["attempts"], result["message"]) == ("passed", [], "")
    place.shell("rm -r dist")
    assert "unchanged" in place.envtool("test").said
    assert (place.project / "dist" / "a").read_text() == "x\n"


def test_a_timeout_is_repeated(place):
    place.task("sleep 60", options="retries: 1\ntimeout: 1s")
    done = place.envtool("test", "--json")
    (result,) = done.events[-1]["results"]
    assert (done.status, result["outcome"], len(result["attempts"])) == (1, "timeout", 2)
    assert result["message"].splitlines()[0] == "timed out after 1s; failed at all 2 attempts"


def test_an_interrupt_is_not(place):
    place.task(f"echo began; sleep {place.nap}", options="retries: 5")
    process = place.start("test", "--json")
    place.until(place.asleep, "the task sleeps")
    process.send_signal(signal.SIGINT)
    done = place.finish(process)
    assert done.status == 130
    assert not [event for event in done.events if event["event"] == "attempted"]
    place.check_nothing_left()


def test_an_error_of_its_env_is_not(place):
    place.spec("envs: {unit: {workdir: absent, tasks: {test: {run: 'true', retries: 2}}}}\n")
    since = time.monotonic()
    done = place.envtool("test", "--json")
    assert done.status == 3, done.said
    assert not [event for event in done.events if event["event"] == "attempted"]
    assert time.monotonic() - since < 30


def test_services_are_fresh_for_each_attempt(place):
    place.spec(
        """\
services:
  web: {command: "cd /tmp; touch started; date +begun=%s%N; python3 -m http.server 8000", ready: 8000}
envs:
  unit:
    services: [web]
    tasks:
      test:
        retries: 1
        run: |
          python3 - <<'END'
          import urllib.request
          page = urllib.request.urlopen("http://web:8000/").read().decode()
          print(page.count("<li>"))
          END
          exit 1
"""
    )
    done = place.envtool("test", "--json")
    assert done.status == 1, done.said
    ready = [event for event in done.finished("service") if event["outcome"] == "done"]
    assert len(ready) == 2, "one for each attempt"
    last = place.project / ".envtool" / "last"
    assert (last / "unit.test.log").read_text() == (last / "unit.test.attempt-1.log").read_text() != ""
    service_logs = [(last / f"unit.test{name}.web-1.log").read_text() for name in ("", ".attempt-1")]
    assert all("begun=" in text and "GET / " in text for text in service_logs), service_logs
    assert service_logs[0] != service_logs[1], "each attempt has its own"
    place.check_nothing_left()


@pytest.mark.parametrize(("value", "message"), [("-1", "-1"), ("21", "21"), ("often", "often"), ("1.5", "1.5")])
def test_a_wrong_number(place, value, message):
    place.spec(f"envs: {{unit: {{tasks: {{test: {{run: 'true', retries: {value}}}}}}}}}\n")
    done = place.envtool("test")
    assert (done.status, "envtool.yaml:2:" in done.said, message in done.said) == (2, True, True), done.said

"""How commands end: exit statuses, signals, timeouts; what exec hands through; floods of output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.load import allowed

pytestmark = pytest.mark.e2e


def test_statuses_of_test(place):
    place.task("exit 0")
    assert place.envtool("test").status == 0
    for script in ("exit 7", "kill -9 $$", "kill -TERM $$", "exec /nonexistent"):
        place.task(script)
        assert place.envtool("test").status == 1, script
    place.task("true", options="nonsense: 1")
    assert place.envtool("test").status == 2
    place.task("true")
    assert place.envtool("nonsense").status == 2
    assert place.envtool("test", "-e", "none").status == 2
    place.spec("layers: {bad: {run: 'exit 9'}}\nenvs: {unit: {layers: [bad], tasks: {test: 'true'}}}\n")
    done = place.envtool("test")
    assert done.status == 3
    assert "bad" in done.err
    assert "exit 9" in done.err


def test_the_status_of_a_task_is_a_shells(place):
    place.spec(
        "envs: {a: {tasks: {test: 'kill -KILL $$'}}, b: {tasks: {test: 'exit 5'}}, c: {tasks: {test: [[no-such]]}}}\n"
    )
    done = place.envtool("test", "--json")
    assert done.status == 1
    assert [(r["env"], r["status"]) for r in done.events[-1]["results"]] == [("a", 137), ("b", 5), ("c", 127)]
    assert {r["outcome"] for r in done.events[-1]["results"]} == {"failed"}


def test_a_timeout_ends_what_ignores_it(place):
    limit = f"{allowed(1):.0f}s"  # time for the trap, too
    place.task(
        f"trap 'echo asked' TERM\n(setsid sleep {place.nap} &)\nwhile :; do sleep 0.05; done",
        options=f"timeout: {limit}",
    )
    done = place.envtool("test", "--json")
    assert done.status == 1
    result = done.events[-1]["results"][0]
    assert result["outcome"] == "timeout"
    assert f"timed out after {limit}" in result["message"]
    assert "asked" in done.log()
    assert 1 <= result["seconds"] < allowed(6) + int(limit[:-1]) - 1
    place.check_nothing_left()


def test_exec_is_the_command(place):
    place.task("true")
    words = ("exec", "unit", "--", "sh", "-c")
    for again in ("the long way", "the short way"):
        assert place.envtool(*words, "exit 42").status == 42, again
        assert place.envtool(*words, "kill -9 $$").status == 137, again
        assert place.envtool("exec", "unit", "--", "no-such").status == 127, again
        assert place.envtool("exec", "unit", "--", "/etc").status == 126, again
        done = place.envtool(*words, "cat; echo err >&2; exit 3", data=b"\0\xff in\n")
        assert (done.status, done.raw, done.err) == (3, b"\0\xff in\n", "err\n"), again


def test_exec_in_a_pipe(place):
    place.task("true")
    place.envtool("exec", "unit", "--", "true")
    reader = place.start("exec", "unit", "--", "sh", "-c", "yes | head -c 50000000")
    head = subprocess.run(["head", "-c", "2"], stdin=reader.stdout, capture_output=True, check=True)
    reader.stdout.close()
    assert head.stdout == b"y\n"
    assert reader.wait(20) in (141, 1)  # SIGPIPE reached the command
    done = place.envtool("exec", "unit", "--", "sha256sum", data=os.urandom(3_000_000))
    assert done.status == 0
    assert len(done.out.split()[0]) == 64


def test_a_closed_standard_input_and_output(place):
    place.task("cat; echo x")
    assert place.envtool("test", preexec_fn=lambda: os.close(0)).status == 0


def test_a_flood_of_output_costs_no_memory(place):
    place.task("head -c 200000000 /dev/zero | tr '\\0' 'a' | fold -w 4000; echo end")
    process = place.start("test", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:  # what wait4(2) says has in it what we had when we forked
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]))
        time.sleep(0.01)
    assert process.returncode == 0
    assert 1000 < peak < 150 << 10, "KiB"
    log = place.project / ".envtool" / "last" / "unit.test.log"
    assert log.stat().st_size <= 64 << 20, "the first and the last 32 MiB"
    kept = log.read_bytes()
    assert kept.startswith(b"a" * 4000 + b"\n")
    assert kept.endswith(b"aend\n")


def test_binary_output_is_kept_and_shown_safely(place):
    place.task("printf '\\377\\000\\033]0;title\\007\\033[2Jx\\n'; exit 1")
    done = place.envtool("test")
    assert done.status == 1
    assert "\x1b]0" not in done.said
    assert "\x1b[2J" not in done.said
    log = place.project / ".envtool" / "last" / "unit.test.log"
    assert log.read_bytes() == b"\xff\0\x1b]0;title\x07\x1b[2Jx\n"
    assert (log.stat().st_uid, log.stat().st_gid) == (place.caller.uid, place.caller.gid)


def test_a_thousand_lines_a_second_arrive_in_order(place):
    place.task("seq 1 3000 | while read n; do echo line $n; test $((n % 100)) != 0 || sleep 0.1; done; exit 1")
    done = place.envtool("test", "-v")
    assert done.status == 1
    lines = [line for line in done.said.splitlines() if line.strip().startswith("line ")]
    assert [line.split()[-1] for line in lines] == [str(n) for n in range(1, 3001)]


def test_a_reader_that_stops_does_not_stop_the_end(place):
    place.task("yes | head -c 3000000")
    process = place.start("test", "--json")
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) in (0, 141)


def test_a_signal_to_envtool_reaches_the_command_of_exec(place):
    place.task("true")
    place.envtool("exec", "unit", "--", "true")
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 130)):
        script = f"trap 'echo got; exit 4' INT TERM; echo up; sleep {place.nap} & wait"
        process = place.start("exec", "unit", "--", "sh", "-c", script)
        assert process.stdout.readline() == b"up\n"
        began = time.monotonic()
        process.send_signal(number)
        done = place.finish(process)
        assert (done.status, done.out) == (status, "got\n")
        assert time.monotonic() - began < allowed(5)
        place.check_nothing_left()

"""^C, SIGTERM and kill -9 at any moment: what was made is kept or gone, never half there, and nothing runs on."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import select
import signal
import time
from pathlib import Path

import pytest

from tests.load import allowed

pytestmark = [pytest.mark.e2e, pytest.mark.every_caller]

LAYER = "layers: {{slow: {{run: '{}'}}}}\nenvs: {{unit: {{layers: [slow], tasks: {{test: 'cat /opt/made'}}}}}}\n"


def ask(process, how: str) -> None:
    """^C as a terminal gives it (to the whole group), or as `kill` does (to envtool alone)."""
    if how == "group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT if how == "alone" else signal.SIGTERM)


@pytest.mark.parametrize("how", ["group", "alone", "term"])
def test_in_a_task(place, how):
    script = "mkdir -p out; echo partly | tee out/log; sleep {} & wait"
    place.task(script.format(place.nap), options="outputs: [out]")
    process = place.start("test")
    place.until(place.asleep, "the task runs")
    began = time.monotonic()
    ask(process, how)
    done = place.finish(process)
    assert done.status == 130, done.said
    assert time.monotonic() - began < allowed(6)
    assert (place.project / "out" / "log").read_text() == "partly\n"
    assert (place.project / "out" / "log").stat().st_uid == place.caller.uid
    assert (place.project / ".envtool" / "last" / "unit.test.log").read_text() == "partly\n"
    place.check_nothing_left()
    place.task("true")
    assert place.envtool("test").status == 0


def test_a_task_that_ignores_it(place):
    place.task(f"trap '' INT TERM; sleep {place.nap}")
    process = place.start("test")
    place.until(place.asleep, "the task runs")
    began = time.monotonic()
    ask(process, "group")
    assert place.finish(process).status == 130
    assert time.monotonic() - began < allowed(12)
    place.check_nothing_left()


def test_twice_is_at_once(place):
    place.task(f"trap '' INT TERM; sleep {place.nap}")
    process = place.start("test")
    place.until(place.asleep, "the task runs")
    began = time.monotonic()
    ask(process, "group")
    time.sleep(0.3)
    ask(process, "group")
    assert place.finish(process).status == 130
    assert time.monotonic() - began < allowed(2)
    place.check_nothing_left()


@pytest.mark.parametrize("how", ["group", "alone"])
def test_in_a_layer(place, how):
    place.spec(LAYER.format(f"echo {place.token} > /opt/made; sleep {place.nap}"))
    before = {path.name for path in (place.store / "layers").iterdir()}
    process = place.start("test")
    place.until(place.asleep, "the layer is being built")
    began = time.monotonic()
    ask(process, how)
    done = place.finish(process)
    assert done.status == 130, done.said
    assert time.monotonic() - began < allowed(6)
    place.check_nothing_left()
    assert {path.name for path in (place.store / "layers").iterdir()} == before
    place.spec(LAYER.format(f"echo {place.token} > /opt/made"))
    assert place.envtool("test").status == 0


def test_while_it_waits_for_another(place):
    place.spec(LAYER.format(f"echo {place.token} > /opt/made; sleep {place.nap}"))
    builder = place.start("test")
    place.until(place.asleep, "the layer is being built")
    waiter = place.start("test", "--json")
    while b"waiting for another" not in waiter.stdout.readline():
        assert waiter.poll() is None
    began = time.monotonic()
    ask(waiter, "group")
    assert place.finish(waiter).status == 130
    assert time.monotonic() - began < allowed(3)
    assert builder.poll() is None
    ask(builder, "group")
    assert place.finish(builder).status == 130
    place.check_nothing_left()


@pytest.mark.parametrize("how", ["group", "alone"])
def test_in_a_fetch(place, server, how):
    data = random.Random(place.token).randbytes(1 << 20)
    digest = hashlib.sha256(data).hexdigest()
    server.files["/a"] = data
    server.pause = 0.5
    place.spec(
        f"layers: {{file: {{fetch: {{url: '{server.url}/a', sha256: {digest}, to: /opt/a}}}}}}\n"
        "envs: {unit: {layers: [file], tasks: {test: sha256sum /opt/a}}}\n"
    )
    process = place.start("test")
    place.until(lambda: server.asked, "the file is asked for")
    time.sleep(0.7)
    began = time.monotonic()
    ask(process, how)
    assert place.finish(process).status == 130
    assert time.monotonic() - began < allowed(4)
    place.check_nothing_left()
    assert not (place.store / "blobs" / "sha256" / digest).exists()
    server.pause = 0
    done = place.envtool("test", "--json")
    assert done.status == 0
    assert digest in done.log()


def test_before_it_began(place):
    place.task("true")
    for number in range(6):
        process = place.start("test")
        time.sleep(0.03 * number)
        ask(process, "group")
        _, said = process.communicate(timeout=20)
        # Python itself, before any of our code runs, dies of the signal, or says that it could not begin
        unborn = process.returncode == 1 and b"envtool/" not in said and b"KeyboardInterrupt" in said
        assert process.returncode in (130, -signal.SIGINT, 0) or unborn, said
    place.check_nothing_left()


def _terminal(place, *words: str):
    """envtool on a terminal of its own: (process, master)."""
    master, slave = pty.openpty()
    os.fchown(slave, place.caller.uid, -1)

    def lead() -> None:
        os.setsid()
        import fcntl

        fcntl.ioctl(0, 0x540E, 0)

    place.environ["TERM"] = "xterm"
    process = place.start(*words, stdin=slave, stdout=slave, stderr=slave, start_new_session=False, preexec_fn=lead)
    os.close(slave)
    return process, master


def _read(master: int, wanted: bytes, seconds: float = 30) -> bytes:
    seen = b""
    end = time.monotonic() + seconds
    while wanted not in seen or not wanted:
        if time.monotonic() > end:
            pytest.fail(f"{wanted!r} did not come: {seen!r}")
        if select.select([master], [], [], 0.1)[0]:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            seen += piece
    return seen


def test_on_a_terminal(place):
    place.task(f"echo partly | tee kept; sleep {place.nap}", options="outputs: [kept]")
    process, master = _terminal(place, "test")
    try:
        _read(master, b"partly")
        place.until(place.asleep, "the task runs")
        os.write(master, b"\x03")
        said = _read(master, b"")
        assert process.wait(10) == 130, said
        assert said.rindex(b"\x1b[?25h") > said.find(b"\x1b[?25l") if b"\x1b[?25l" in said else True
        assert (place.project / "kept").read_text() == "partly\n"
    finally:
        os.close(master)
    place.check_nothing_left()


def test_exec_on_a_terminal(place):
    place.task("true")
    for way in ("the long way", "the short way"):
        process, master = _terminal(
            place, "exec", "unit", "--", "sh", "-c", f"trap 'echo go''t' INT; tty; sleep {place.nap}; read x; echo =$x="
        )
        try:
            _read(master, b"/dev/pts/0")
            place.until(place.asleep, "the command runs")
            os.write(master, b"\x03")
            _read(master, b"got")
            os.write(master, b"word\r")
            said = _read(master, b"")
            assert b"=word=" in said, way
            assert process.wait(10) == 0, way
        finally:
            os.close(master)
        place.check_nothing_left()


def test_a_terminal_that_is_closed(place):
    place.task(f"echo partly | tee kept; sleep {place.nap}", options="outputs: [kept]")
    process, master = _terminal(place, "test")
    _read(master, b"partly")
    place.until(place.asleep, "the task runs")
    os.close(master)  # SIGHUP, and EIO for whatever is written
    assert process.wait(10) != 0
    assert (place.project / "kept").read_text() == "partly\n"
    place.check_nothing_left()


# ---- kill -9 -------------------------------------------------------------------------------------------------------

KILLS = 10  # for each caller


def test_killed_at_any_moment(fresh):
    """Thirty kills over the three callers, anywhere between the start and the end of the task. Whatever stands in the
    store after it is whole: its tree is exactly what an undisturbed build makes."""
    dice = random.Random(fresh.token)
    place = fresh
    place.task("true")
    assert place.envtool("test").status == 0  # the base
    mark = (
        "for n in 1 2 3 4 5 6 7 8; do head -c 20000 /dev/zero > /opt/f$n; echo {0} > /opt/n$n; done; ln -s n1 /opt/made"
    )
    spec = (
        "layers: {{one: {{run: '" + mark + "'}}, two: {{run: 'cat /opt/f? | sha256sum > /opt/sum'}}}}\n"
        "envs: {{unit: {{layers: [one, two], tasks: {{test: 'ls /opt | wc -l; cat /opt/made; (setsid sleep {1} &); "
        "sleep 0.1'}}}}}}\n"
    )
    place.spec(spec.format("reference", place.nap))
    began = time.monotonic()
    reference = place.envtool("test", "--json")
    whole = time.monotonic() - began
    assert reference.log() == "18\nreference\n"
    shapes = {}
    for document in place.layers():
        shapes.setdefault(document["document"].get("name", document["entries"]), set()).add(document["entries"])
    for number in range(KILLS):
        place.spec(spec.format(f"round {number}", place.nap))
        process = place.start("test")
        time.sleep(dice.uniform(0.15, 1.0) * whole)
        process.kill()
        process.wait()
        process.communicate()
        place.until(lambda: not place.processes(), f"nothing runs on: {place.processes()}", 5)
        assert not [row for row in Path("/proc/self/mountinfo").read_text().splitlines() if str(place.top) in row]
        done = place.envtool("test", "--json", "--again")
        assert (done.status, done.log()) == (0, f"18\nround {number}\n"), number
        assert not list((place.store / "tmp").iterdir()), "swept"
        place.until(lambda: not place.processes(), "nothing runs on", 5)
    assert len(place.layers()) == 1 + 2 + KILLS + (KILLS if _distinct(place) else 0)


def _distinct(place) -> bool:
    """Whether the second layers differ: they stand on different first ones, so they have other keys."""
    sizes = [json.dumps(document["document"], sort_keys=True) for document in place.layers()]
    return len(sizes) == len(set(sizes))

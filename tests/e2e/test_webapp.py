"""examples/webapp: five services in eight containers, alone, twenty times at once, and with a third of the runs killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
import uuid
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.dear]

WEBAPP = Path(__file__).parents[2] / "examples" / "webapp"
RUNS = 20
PASSED = re.compile(r"\b(\d+) passed")
BUILD = 1200  # seconds for all layers, where the common store has none of them


class Watch:
    """The processes of the runs of one place: those of envtool, and all in the user namespaces of their pods.

    A process of a container is known by a variable that each service has; some servers overwrite theirs. So the namespaces
    of those that have it are noted while they run. What nobody holds (namespaces, mounts in them, listening sockets) the
    kernel has removed; mounts of this machine are looked at by `Place.check_nothing_left`.
    """

    def __init__(self, place) -> None:
        self.place = place
        self.mark = f"WEBAPP_MARK={uuid.uuid4().hex}"
        self.spaces: set[str] = set()
        self.own = os.readlink("/proc/self/ns/user")
        self.sockets: set[str] = set()
        spec = yaml.safe_load((WEBAPP / "envtool.yaml").read_text())
        name, _, value = self.mark.partition("=")
        for part in (*spec["services"].values(), *spec["envs"].values()):
            part["set"] = {name: value}
        place.write("envtool.yaml", yaml.safe_dump(spec, sort_keys=False))

    def note_sockets(self, processes: list[str]) -> None:
        """Notes the sockets of processes, by inode."""
        for text in processes:
            with contextlib.suppress(OSError):  # it has ended, or may not be looked at
                for number in os.listdir(directory := f"/proc/{text.split()[0]}/fd"):
                    with contextlib.suppress(OSError):
                        self.sockets.add(
                            os.readlink(f"{directory}/{number}").removeprefix("socket:[").removesuffix("]")
                        )

    def listeners(self) -> set[str]:
        """The addresses of this machine on which a socket of a run listens, whoever holds it."""
        rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
        return {row[1] for row in rows if row[3] == "0A" and row[9] in self.sockets}

    def look(self) -> list[str]:
        """The processes that run; notes their namespaces."""
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                space = os.readlink(f"/proc/{process}/ns/user")
                marked = self.mark.encode() in Path(f"/proc/{process}/environ").read_bytes()
                words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended, or is somebody else's
                continue
            if marked and space != self.own:
                self.spaces.add(space)
            if marked or space in self.spaces:
                found.append(f"{process} {words}")
        self.note_sockets(found)
        return found

    def finish(self, running) -> list:
        """Waits for runs, and notes the namespaces of their containers meanwhile."""
        end = time.monotonic() + BUILD
        while any(process.poll() is None for process in running) and time.monotonic() < end:
            self.look()
            time.sleep(0.1)
        return [self.place.finish(process) for process in running]

    def check(self, pods: int, *, kills: contextlib.ExitStack | None = None) -> None:
        """Nothing is left, of at least so many pods that were seen. What a run that was killed wrote to the store stays
        there until the next command, after which `kills` is closed."""
        assert len(self.spaces) >= pods
        self.place.until(lambda: not self.look(), f"no process of a run: {self.look()}", 20)
        self.place.until(lambda: not self.place.processes(), f"no process: {self.place.processes()}", 20)
        assert not self.place.left_outside_store()
        assert self.sockets
        assert not self.listeners()
        if kills:
            assert self.place.envtool("test", "--again").status == 0
            kills.close()
        self.place.check_nothing_left(seconds=20)


@pytest.fixture
def webapp(common):
    common.limit = BUILD
    common.copy(WEBAPP)
    return common


def test_it_is_short():
    lines = (WEBAPP / "envtool.yaml").read_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120


def test_it_passes_and_can_fail(webapp):
    """All parts work together; an unchanged run is not run again; a fault in any part is found."""
    watch = Watch(webapp)
    (done,) = watch.finish([webapp.start("test")])
    assert done.status == 0, done.said
    assert PASSED.search(done.said), done.said
    watch.check(1)
    assert "unchanged" in webapp.envtool("test").said
    worker = webapp.project / "words/worker.py"
    source = worker.read_text()
    worker.write_text(source.replace("storage.count_next(", "(lambda *_: None)("))
    broken = webapp.envtool("test", "-v", "--", "-k", "goes_through")
    assert broken.status == 1, broken.said
    assert "was not counted within" in broken.said
    worker.write_text(source.replace("    print(", "    raise SystemExit(7)\n    print(", 1))
    dead = webapp.envtool("test")
    assert dead.status == 3, dead.said
    assert "service `worker` ended" in dead.said
    assert re.search(r"exit 7.*\(envtool\.yaml:\d+:\d+\)", dead.said), dead.said
    worker.write_text(source)
    assert "unchanged" in webapp.envtool("test").said
    watch.check(1)


def test_many_at_once(webapp, depth):
    """All are green, and none sees another's data: each counts the texts in its own database."""
    watch = Watch(webapp)
    assert webapp.envtool("test").status == 0
    running = [webapp.start("test", "--again") for _ in depth.times(3, RUNS)]
    ended = watch.finish(running)
    assert [done.said[-3000:] for done in ended if done.status] == []
    assert all(PASSED.search(done.said) for done in ended)
    watch.check(len(running))


def test_a_third_is_killed(webapp, depth, request):
    """At any moment. The others are green, and nothing is left of any."""
    watch = Watch(webapp)
    assert webapp.envtool("test").status == 0
    began = time.monotonic()
    assert webapp.envtool("test", "--again").status == 0
    whole = time.monotonic() - began
    kills = contextlib.ExitStack()
    request.addfinalizer(kills.close)
    kills.enter_context(webapp.kills())
    running = [webapp.start("test", "--again") for _ in depth.times(3, RUNS)]
    started = time.monotonic()
    doomed = depth.random.sample(running, len(running) // 3)
    moments = sorted((depth.random.uniform(0, whole * len(running) / 2), process.pid, process) for process in doomed)
    for moment, _, process in moments:
        while time.monotonic() < started + moment and process.poll() is None:
            watch.look()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    ended = dict(zip(running, watch.finish(running), strict=True))
    assert [done.said[-3000:] for process, done in ended.items() if process not in doomed and done.status] == []
    assert all(done.status in (0, -signal.SIGKILL) for done in ended.values())
    watch.check(len(running) - len(doomed), kills=kills)

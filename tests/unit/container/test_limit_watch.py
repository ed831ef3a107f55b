"""What a container's processes use, seen from outside, on a directory laid out like /proc, and on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envtool.container import cgroups, limit_watch
from envtool.container.limit_watch import LimitWatch, ProcessTable

MIB = 1 << 20
FILES = 999 << 10  # of each process: its share of programs, which no limit counts
PAGE = os.sysconf("SC_PAGE_SIZE")


class Proc:
    """A directory like a container's /proc."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.process(1, "envtool", ticks=(0, 0, 3, 4))
        (top / "meminfo").touch()
        self.descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)

    def process(self, number, name="sh", *, threads=1, ticks=(0, 0, 0, 0), rss=0, own=None, shared=0, wrote=0) -> None:
        directory = self.top / str(number)
        directory.mkdir(exist_ok=True)
        fields = [
            "S",
            "1",
            *["0"] * 9,
            *map(str, ticks),
            "20",
            "0",
            str(threads),
            "0",
            "77",
            "1000",
            str(rss // PAGE),
            "0",
        ]
        (directory / "stat").write_text(f"{number} ({name}) {' '.join(fields)}\n")
        if own is not None:
            (directory / "smaps_rollup").write_text(
                f"55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss: {rss >> 10} kB\nPss: {(own >> 10) + (FILES >> 10)} kB\n"
                f"Pss_Anon: {own >> 10} kB\nPss_File: 999 kB\nPss_Shmem: {shared >> 10} kB\nSwapPss: 0 kB\n"
            )
        (directory / "io").write_text(f"rchar: 5\nwchar: {wrote}\nsyscr: 1\n")
        (directory / "fd").mkdir(exist_ok=True)

    def watch(self, **limits: float) -> tuple[LimitWatch, list[int]]:
        watch = LimitWatch({name: (value, f"envtool.yaml:1:{value:g}", True) for name, value in limits.items()})
        return watch, [self.descriptor]


class Group(cgroups.Cgroup):
    """A cgroup that says what a test wants."""

    held = frozenset({"memory", "pids"})

    def __init__(self, *, over_processes=False, refused=False) -> None:
        self.over_processes, self.refused = over_processes, refused

    def attach(self, process):
        pass

    def is_over_processes(self):
        return self.over_processes

    def was_refused_memory(self):
        return self.refused


@pytest.fixture
def proc(tmp_path, monkeypatch):
    monkeypatch.setattr(limit_watch, "_open_group", lambda limits: None)
    made = Proc(tmp_path)
    yield made
    os.close(made.descriptor)


def test_processes_but_the_first(proc):
    proc.process(7, "a) (b", threads=3, ticks=(100, 50, 25, 25), rss=8 * MIB)
    proc.process(9)
    table = ProcessTable(1, proc.descriptor)
    ticks = os.sysconf("SC_CLK_TCK")
    assert sorted(table.samples()) == [(7, "a) (b", 3, 200 / ticks, 8 * MIB), (9, "sh", 1, 0.0, 0)]
    assert table.ended_seconds() == 7 / ticks
    (proc.top / "9" / "stat").write_text("9 (sh) Z")
    (proc.top / "7" / "stat").unlink()
    assert table.samples() == [], "they ended meanwhile"


def test_memory_that_processes_share_counts_once(proc):
    for number in range(2, 12):
        proc.process(number, rss=50 * MIB, own=6 * MIB)
    watch, watched = proc.watch(memory=100 * MIB)
    assert watch.look(1, watched) is None
    assert watch.memory == 60 * MIB + 10 * FILES
    proc.process(12, "python3", rss=60 * MIB, own=45 * MIB)
    exceeded = watch.look(1, watched)
    assert exceeded == ("memory", 105 * MIB, 100 * MIB, "envtool.yaml:1:1.04858e+08", "python3 (pid 12, 47 MB)", True)
    assert watch.memory == 105 * MIB + 11 * FILES


def test_a_process_that_may_not_be_looked_into_counts_whole(proc):
    proc.process(2, rss=200 * MIB)
    watch, watched = proc.watch(memory=100 * MIB)
    assert watch.look(1, watched).used == 200 * MIB


def test_a_process_that_ends_meanwhile_counts_for_nothing(proc, monkeypatch):
    proc.process(2, rss=200 * MIB)
    real = ProcessTable._read

    def read(self, path):
        if path == "2/smaps_rollup":  # it becomes a zombie
            proc.process(2, rss=0)
            return b""
        return real(self, path)

    monkeypatch.setattr(ProcessTable, "_read", read)
    watch, watched = proc.watch(memory=100 * MIB)
    assert watch.look(1, watched) is None
    assert watch.memory == 0


def test_a_little_growth_is_measured_once_it_has_settled(proc, monkeypatch):
    """A page table is walked for each measurement: not for each small step of growth, and not for what has not grown."""
    measured = []
    monkeypatch.setattr(limit_watch, "_describe_largest", lambda *_: measured.append(1) or "")  # at each measurement
    watch, watched = proc.watch(memory=500 * MIB)
    for size, count in ((100, 1), (105, 1), (108, 1), (108, 2), (108, 2), (104, 2), (104, 2), (125, 3), (125, 3)):
        proc.process(2, rss=size * MIB, own=size * MIB)
        watch.look(1, watched)
        assert len(measured) == count, size
    assert watch.memory == 125 * MIB + FILES


def test_a_default_of_memory(proc, monkeypatch):
    real = os.sysconf
    monkeypatch.setattr(limit_watch.os, "sysconf", lambda name: 1000 if name == "SC_PHYS_PAGES" else real(name))
    proc.process(2, "big", rss=899 * PAGE, own=899 * PAGE)
    watch, watched = proc.watch()
    assert watch.look(1, watched) is None
    proc.process(2, "big", rss=1100 * PAGE, own=1100 * PAGE)
    exceeded = watch.look(1, watched)
    assert (exceeded.limit, exceeded.limit_value, exceeded.where) == ("memory", 900 * PAGE, "")


def test_looks_come_sooner_as_memory_comes_near_its_limit(proc, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(limit_watch.time, "monotonic", lambda: now[0])
    watch, watched = proc.watch(memory=1000 * MIB)
    now[0] += 10
    proc.process(2, rss=100 * MIB, own=100 * MIB)
    watch.look(1, watched)
    assert watch.interval == limit_watch.QUICK_INTERVAL
    now[0] += 0.04
    proc.process(2, rss=900 * MIB, own=900 * MIB)
    watch.look(1, watched)
    assert watch.interval == limit_watch.LEAST_INTERVAL
    now[0] += 0.04
    watch.look(1, watched)
    assert watch.interval == limit_watch.QUICK_INTERVAL, "it grows no more"
    unlimited, watched = proc.watch()
    now[0] += 10
    unlimited.look(1, watched)
    assert unlimited.interval == limit_watch.INTERVAL == 0.1


def test_too_many_processes(proc, monkeypatch):
    for number in range(2, 6):
        proc.process(number, "bomb", threads=2)
    watch, watched = proc.watch(pids=8)
    assert watch.look(1, watched) is None
    proc.process(6)
    assert watch.look(1, watched)[:5] == ("pids", 9, 8, "envtool.yaml:1:8", "bomb (8 of 9)")
    monkeypatch.setattr(limit_watch.syscalls, "MAX_PROCESSES", 9)
    watch, watched = proc.watch()
    assert watch.look(1, watched)[:4] == ("pids", 9, 9, ""), "the default"


def test_a_crowd_that_has_ended_is_not_described(proc, monkeypatch):
    """What a cgroup counted may be gone at the next look: the shell that is left is not what started too many."""
    group = Group(over_processes=True)
    monkeypatch.setattr(limit_watch, "_open_group", lambda limits: group)
    watch, watched = proc.watch(pids=8)
    proc.process(2, "sh")
    assert watch.look(1, watched).process == ""
    proc.process(3, "bomb", threads=7)
    assert watch.look(1, watched).process == "bomb (7 of 8)"


def test_memory_that_a_system_call_was_refused_is_noted(proc, monkeypatch):
    """A write to a memfd, or read(2) into fresh memory, fails in place of waiting (cgroup v1): only a task that failed
    looks at its end."""
    group = Group(refused=True)
    monkeypatch.setattr(limit_watch, "_open_group", lambda limits: group)
    watch, watched = proc.watch(memory=100 * MIB)
    assert (watch.look(1, watched), watch.notes) == (None, ())
    assert watch.look(1, watched, ended=True) is None
    assert watch.notes == ("its memory reached the limit of 100 MiB (envtool.yaml:1:1.04858e+08)",)


def test_memory_that_nobody_has_mapped(monkeypatch):
    """Anonymous files (memfd_create(2)) are in no process's memory; two descriptors of one count once."""
    monkeypatch.setattr(limit_watch, "_open_group", lambda limits: None)
    watch = LimitWatch({"memory": (40 * MIB, "here", True)})
    unlimited = LimitWatch({})
    script = (
        "import os\nfile = os.memfd_create('lump')\nos.dup(file)\nos.write(file, b'x' * (48 << 20))\n"
        "print('up', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "up\n"
            exceeded = watch.look(os.getpid(), [])
            assert (exceeded.limit, exceeded.limit_value) == ("memory", 40 * MIB)
            assert exceeded.used >= 48 * MIB
            assert watch.memory == exceeded.used
            table = ProcessTable(os.getpid())
            assert table.anonymous_files([limit_watch.ProcessSample(process.pid, "python3", 1, 0.0, 0)]) == 48 * MIB
            assert unlimited.look(os.getpid(), []) is None
        finally:
            process.kill()


def test_open_files_at_two_looks_in_a_row(proc, monkeypatch):
    proc.process(2, "hog")
    full = [True]
    monkeypatch.setattr(ProcessTable, "count_files", lambda self, number: 64 if full[0] else 3)
    watch, watched = proc.watch(files=64)
    assert watch.look(1, watched) is None
    full[0] = False
    assert watch.look(1, watched) is None
    full[0] = True
    assert watch.look(1, watched) is None
    assert watch.look(1, watched)[:5] == ("files", 64, 64, "envtool.yaml:1:64", "hog (pid 2)")


def test_a_full_disk_at_two_looks_in_a_row_or_at_the_end(proc, monkeypatch):
    room = [0]
    real = os.fstatvfs

    class Status:
        f_blocks, f_bsize, f_bfree = 100, PAGE, 0
        f_files, f_favail = 0, 0

        @property
        def f_bavail(self):
            return room[0]

    monkeypatch.setattr(limit_watch.os, "fstatvfs", lambda descriptor: Status())
    watched = [proc.descriptor, proc.descriptor]
    room[0] = 15
    watch, _ = proc.watch()
    assert watch.look(1, watched) is None
    assert watch.look(1, watched)[:4] == ("disk", 100 * PAGE, 100 * PAGE, "")
    watch, _ = proc.watch(disk=100 * PAGE)
    assert watch.look(1, watched, ended=True).where.startswith("envtool.yaml")
    room[0] = 16
    watch, _ = proc.watch()
    assert watch.look(1, watched, ended=True) is None
    Status.f_files, Status.f_favail = 1000, 15
    assert watch.look(1, watched, ended=True).limit == "disk", "inodes are used up"
    Status.f_favail = 16
    assert watch.look(1, watched, ended=True) is None
    assert real(proc.descriptor)


def test_idle_is_no_output_and_hardly_any_processor(proc, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(limit_watch.time, "monotonic", lambda: now[0])
    watch, watched = proc.watch(idle=10)

    def after(seconds: float, **process):
        now[0] += seconds
        proc.process(2, **process)
        return watch.look(1, watched)

    assert after(0, ticks=(5, 0, 0, 0)) is None
    assert after(9, ticks=(5, 0, 0, 0)) is None
    assert after(0.5, ticks=(5, 0, 0, 0), wrote=1) is None, "it printed"
    assert after(9, ticks=(5, 0, 0, 0), wrote=1) is None
    assert after(0.5, ticks=(105, 0, 0, 0), wrote=1) is None, "it worked"
    assert after(9.9, ticks=(110, 0, 0, 0), wrote=1) is None
    exceeded = after(0.2, ticks=(110, 0, 0, 0), wrote=1)
    assert (exceeded.limit, exceeded.limit_value) == ("idle", 10)
    assert 10 <= exceeded.used < 10.2, "a hundredth of a processor is idle"


def test_nonsense_in_place_of_proc(proc):
    read, write = os.pipe()
    try:
        watch, _ = proc.watch(memory=100 * MIB, pids=5, files=20, idle=5)
        assert watch.look(1, [read]) is None
    finally:
        os.close(read)
        os.close(write)


def test_the_tree_below_a_process_by_each_thread():
    """Without a /proc of its own: a child of any thread is found."""
    script = (
        "import subprocess, sys, threading, time\n"
        "thread = threading.Thread(target=lambda: subprocess.run(['sleep', '30']))\n"
        "thread.start(); print('up', flush=True); thread.join()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            deadline = time.monotonic() + 20
            names: list[str] = []
            while "sleep" not in names and time.monotonic() < deadline:
                table = ProcessTable(process.pid)
                names = [sample.name for sample in table.samples()]
                table.close()
            assert names == ["sleep"], "and not the process at the top"
        finally:
            for child in Path(f"/proc/{process.pid}/task").glob("*/children"):
                for number in child.read_text().split():
                    os.kill(int(number), 9)
            process.kill()

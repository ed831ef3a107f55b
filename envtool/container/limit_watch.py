"""What the steps of a container use, seen from the supervisor's side, and whether that is over a limit.

Processes are read from the container's own /proc, so that none can be missed by a change of parents; where pid 1 has
none of its own, from the tree below pid 1. Memory is the sum of what processes have for themselves (proportional set
sizes, smaps_rollup in proc(5)) and of the files in memory. That takes the kernel a while, so that it is asked only
where the sum of the resident sets, which counts shared pages several times, is above the limit or above all before.
Imported when a container has limits, or has run for a moment: also by a warm `exec`, and so with few imports.
"""

from __future__ import annotations

import os
import time
from collections import namedtuple

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.container.cgroups import Cgroup

INTERVAL = 0.1  # seconds between two looks
QUICK_INTERVAL, LEAST_INTERVAL = 0.04, 0.005  # the same where a look is all that holds a limit of memory
DEFAULT_MEMORY_SHARE = 0.9  # of this machine's memory
_IDLE_SHARE = 0.01  # of one processor: what uses less, and writes nothing, is idle
# Growth of the sum of resident sets since it was measured: below, the peak is measured again only once it has settled.
_GROWTH = 1.125
_FULL_BLOCKS = 16  # of a file system with fewer free ones: a write of more pages at once is refused before
_UNMAPPED_SHARE = 16  # of a limit of memory: less that is not mapped is not looked for
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


# A limit that a container went over: "memory", "pids", "disk", "files" or "idle"; `used` and `limit_value` are bytes, a
# number or seconds, as the limit is; `where` is its position in the spec, or the option, and empty for a default;
# `process` is the largest, as "python3 (pid 7, 1.9 GB)", or the most frequent, as "sh (480 of 500)"; `sampled`: it was
# seen from outside, at most INTERVAL later.
Exceeded = namedtuple("Exceeded", "limit used limit_value where process sampled")  # noqa: PYI024 - typing takes 3 ms

# One process at one moment: its `number` (in the container's own namespace, or outside where that is all there is),
# name, threads, seconds of the processors (its own, and of the children that it has waited for), and bytes of its
# resident set.
ProcessSample = namedtuple("ProcessSample", "number name threads seconds memory")  # noqa: PYI024


class LimitWatch:
    """The limits of one container, by name: (value, where, whether it must be enforced)."""

    def __init__(self, limits: Mapping[str, tuple[float, str, bool]]) -> None:
        """Raises SandboxError where a limit that must be enforced cannot be."""
        self._limits = limits
        self._group = _open_group(limits)
        self.event = self._group.event if self._group is not None else -1  # readable when memory is over
        held = self._group.held if self._group is not None else frozenset[str]()
        self._held = held
        self.shown = self._group.shown if self._group is not None else ()  # to the container (cgroup_mounts.py)
        self.interval = LEAST_INTERVAL  # seconds until the next look
        self.memory = 0  # bytes: the peak that was seen
        self.notes: tuple[str, ...] = ()  # what may explain a failure, though nothing was ended for it
        self._measured = 0.0  # the sum of resident sets when the peak was measured
        self._total = 0  # the same at the last look
        self._largest = ""
        self._began = time.monotonic()
        self._seen = (self._began, 0.0)  # the sum of resident sets at the last look, and when that was
        self._full = {"disk": 0, "files": 0}  # looks in a row at which there was no room
        self._shared_before = _machine_shared_memory() if "memory" in limits and "memory" not in held else 0
        self._active_at, self._active_seconds, self._active_output = time.monotonic(), 0.0, -1

    def attach(self, process: int) -> None:
        """Puts a process, and all that it will start, under the limits that a cgroup holds. Raises SandboxError."""
        if self._group is not None:
            self._group.attach(process)

    def look(self, pid1: int, watched: list[int], *, ended: bool = False) -> Exceeded | None:
        """Returns the limit that the container is over now. `watched` are descriptors of its /proc and of a directory
        on the file system in memory that holds what it writes; each may be missing. `ended`: its steps have."""
        self.interval = min(INTERVAL, max(LEAST_INTERVAL, (time.monotonic() - self._began) / 4))  # few live long
        table = ProcessTable(pid1, watched[0] if watched else -1)
        disk = watched[1] if len(watched) > 1 else -1
        in_files = syscalls.bytes_used(disk) if disk >= 0 else 0
        samples = table.samples()
        in_files += self._unmapped_memory(table, samples)
        try:
            exceeded = self._check_group(table, samples, ended=ended) or self._check_disk(disk, ended=ended)
            if exceeded is None and not ended:
                exceeded = (
                    self._check_memory(table, samples, in_files)
                    or self._check_processes(samples)
                    or self._check_files(table, samples)
                    or self._check_idle(table, samples)
                )
            return exceeded
        finally:
            table.close()

    def close(self) -> None:
        """Removes the cgroup, after the last process has ended."""
        if self._group is not None:
            self._group.close()
            self._group, self.event = None, -1

    def _over(self, name: str, used: float, process: str = "", *, default: float = 0.0) -> Exceeded:
        value, where = self._limits[name][:2] if name in self._limits else (default, "")
        return Exceeded(name, used, value, where, process, name not in self._held)

    def _check_group(self, table: ProcessTable, samples: list[ProcessSample], *, ended: bool) -> Exceeded | None:
        if self._group is None:
            return None
        if self._group.is_over_memory():
            process = _describe_largest(table, samples) or self._largest
            self._group.free()  # only now may the kernel kill a process
            used = self._group.peak() or self._limits["memory"][0]
            self.memory = max(self.memory, int(used))
            return self._over("memory", used, process)
        if ended and self._group.was_refused_memory():
            value, where = self._limits["memory"][:2]
            self.notes = (f"its memory reached the limit of {_format_limit(value)} ({where})",)
        if self._group.is_over_processes():
            there = sum(sample.threads for sample in samples)
            is_crowd = there * 2 > self._limits["pids"][0]  # else they have ended meanwhile
            return self._over("pids", self._limits["pids"][0], _describe_crowd(samples) if is_crowd else "")
        return None

    def _check_memory(self, table: ProcessTable, samples: list[ProcessSample], in_files: int) -> Exceeded | None:
        total = sum(sample.memory for sample in samples)
        default = os.sysconf("SC_PHYS_PAGES") * _PAGE * DEFAULT_MEMORY_SHARE
        limit = self._limits["memory"][0] if "memory" in self._limits else default
        in_files = in_files if "memory" in self._limits else 0
        if "memory" in self._limits and "memory" not in self._held:
            self.interval = self._interval_until(limit, total + in_files)
        settled, self._total = total == self._total, total
        if total > self._measured * (1 if settled else _GROWTH) or total + in_files > limit:
            own, shared, whole = table.measure_memory(samples)
            self._measured = max(self._measured, total)
            used = own + max(shared, in_files)
            self.memory = max(self.memory, whole)
            self._largest = _describe_largest(table, samples)
            if used > limit and "memory" not in self._held:
                self.memory = max(self.memory, int(used))
                return self._over("memory", used, self._largest, default=default)
        return None

    def _unmapped_memory(self, table: ProcessTable, samples: list[ProcessSample]) -> int:
        """Returns the bytes of memory that no process need have mapped (memfd_create(2)), where a look is all that
        holds a limit. The descriptors of all processes are read only once this machine has as much more in shared
        memory as matters."""
        if "memory" not in self._limits or "memory" in self._held:
            return 0
        growth = _machine_shared_memory() - self._shared_before
        return table.anonymous_files(samples) if growth > self._limits["memory"][0] / _UNMAPPED_SHARE else 0

    def _interval_until(self, limit: float, total: float) -> float:
        """Returns the seconds to the next look: fewer where memory, growing as it does, is at its limit before."""
        now, (then, before) = time.monotonic(), self._seen
        self._seen = (now, total)
        growth = (total - before) / max(now - then, 0.001)
        most = min(self.interval, QUICK_INTERVAL)
        return max(LEAST_INTERVAL, min(most, (limit - total) / growth / 2)) if growth > 0 else most

    def _check_processes(self, samples: list[ProcessSample]) -> Exceeded | None:
        count = sum(sample.threads for sample in samples)
        if "pids" in self._limits:
            over = count > self._limits["pids"][0] and "pids" not in self._held
        else:
            over = count >= syscalls.MAX_PROCESSES
        return self._over("pids", count, _describe_crowd(samples), default=syscalls.MAX_PROCESSES) if over else None

    def _check_disk(self, disk: int, *, ended: bool) -> Exceeded | None:
        if disk < 0:
            return None
        status = os.fstatvfs(disk)
        is_full = min(status.f_bavail, status.f_favail if status.f_files else _FULL_BLOCKS) < _FULL_BLOCKS
        self._full["disk"] = self._full["disk"] + 1 if is_full else 0
        if not self._full["disk"] or (self._full["disk"] < 2 and not ended):
            return None
        size = status.f_blocks * status.f_bsize
        return self._over("disk", size, default=size)

    def _check_files(self, table: ProcessTable, samples: list[ProcessSample]) -> Exceeded | None:
        """A process that has as many open files as it may, at two looks in a row, cannot go on."""
        if "files" not in self._limits:
            return None
        limit = self._limits["files"][0]
        full = [sample for sample in samples if table.count_files(sample.number) >= limit]
        self._full["files"] = self._full["files"] + 1 if full else 0
        if self._full["files"] < 2:
            return None
        return self._over("files", limit, f"{full[0].name} (pid {full[0].number})")

    def _check_idle(self, table: ProcessTable, samples: list[ProcessSample]) -> Exceeded | None:
        if "idle" not in self._limits:
            return None
        now, output = time.monotonic(), table.written(samples)
        seconds, idle = sum(sample.seconds for sample in samples) + table.ended_seconds(), now - self._active_at
        if output != self._active_output or abs(seconds - self._active_seconds) > max(idle, 1.0) * _IDLE_SHARE:
            self._active_at, self._active_seconds, self._active_output = now, seconds, output
            return None
        return self._over("idle", idle, _describe_crowd(samples)) if idle >= self._limits["idle"][0] else None


def _open_group(limits: Mapping[str, tuple[float, str, bool]]) -> Cgroup | None:
    if not {"memory", "cpus", "pids"} & {*limits}:
        return None
    from envtool.container import cgroups

    return cgroups.open_group(limits)


class ProcessTable:
    """The processes of a container but its first: by its own /proc (`proc`), or (-1) by the tree below `pid1`."""

    def __init__(self, pid1: int, proc: int = -1) -> None:
        self._top = pid1
        self._own = proc < 0
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if proc < 0 else proc

    def close(self) -> None:
        """Closes what it has opened."""
        if self._own:
            os.close(self._proc)

    def samples(self) -> list[ProcessSample]:
        """Returns the processes now; one that starts or ends meanwhile may be missing."""
        try:
            numbers = self._tree() if self._own else [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:  # the container sent something else
            return []
        first = self._top if self._own else 1
        return [sample for number in numbers if number != first and (sample := self._sample(number))]

    def _tree(self) -> list[int]:
        found, pending = [], [self._top]
        while pending:
            number = pending.pop()
            found.append(number)
            try:
                threads = os.listdir(f"/proc/{number}/task")
            except OSError:
                continue
            for thread in threads:
                pending += map(int, self._read(f"{number}/task/{thread}/children").split())
        return found

    def _read(self, path: str) -> bytes:
        """Returns the text of a file of /proc; empty if its process has ended, or may not be looked into."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError:
            return b""
        try:
            return os.read(descriptor, 1 << 16)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def _sample(self, number: int) -> ProcessSample | None:
        before, _, after = self._read(f"{number}/stat").rpartition(b")")
        fields = after.split()
        if len(fields) < 22:
            return None
        return ProcessSample(
            number,
            os.fsdecode(before.partition(b"(")[2]),
            max(1, int(fields[17])),
            sum(map(int, fields[11:15])) / _TICKS,
            int(fields[21]) * _PAGE,
        )

    def ended_seconds(self) -> float:
        """Returns the seconds of the processors that orphans used which pid 1 has waited for."""
        sample = self._read(f"{self._top if self._own else 1}/stat").rpartition(b")")[2].split()
        return sum(map(int, sample[13:15])) / _TICKS if len(sample) > 14 else 0.0

    def measure_memory(self, samples: list[ProcessSample]) -> tuple[int, int, int]:
        """Returns bytes: what processes have for themselves, or share among them; what they have of files in memory;
        and all, with their shares of programs and other files. A process that may not be looked into counts with its
        resident set."""
        own = shared = whole = 0
        for sample in samples:
            fields = dict(line.split(b":")[:2] for line in self._read(f"{sample.number}/smaps_rollup").splitlines()[1:])
            if b"Pss_Anon" not in fields:
                again = self._sample(sample.number)  # it may have ended, or be ending
                resident = again.memory if again else 0
                own, whole = own + resident, whole + resident
                continue
            own += sum(_kilobytes(fields.get(name)) for name in (b"Pss_Anon", b"SwapPss")) * 1024
            shared += _kilobytes(fields.get(b"Pss_Shmem")) * 1024
            whole += sum(_kilobytes(fields.get(name)) for name in (b"Pss", b"SwapPss")) * 1024
        return own, shared, whole

    def anonymous_files(self, samples: list[ProcessSample]) -> int:
        """Returns the bytes of the anonymous files in memory that processes have open, each counted once."""
        sizes: dict[int, int] = {}  # by inode
        for sample in samples:
            try:
                directory = os.open(f"{sample.number}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
                                    dir_fd=self._proc)  # fmt: skip
            except OSError:  # it has ended
                continue
            try:
                for name in os.listdir(directory):
                    sizes.update(_anonymous_file(name, directory))
            except OSError:
                pass
            finally:
                os.close(directory)
        return sum(sizes.values())

    def count_files(self, number: int) -> int:
        """Returns how many open files a process has; 0 before Linux 6.2."""
        try:
            return os.stat(f"{number}/fd", dir_fd=self._proc).st_size
        except OSError:
            return 0

    def written(self, samples: list[ProcessSample]) -> int:
        """Returns how many bytes processes, and those that they have waited for, wrote to files, pipes and terminals:
        a number that changes with each."""
        total = 0
        for sample in samples:
            for line in self._read(f"{sample.number}/io").splitlines():
                if line.startswith(b"wchar:"):
                    total += int(line[6:])
        return total


def _format_limit(value: float) -> str:
    from envtool.fs.sizes import format_limit

    return format_limit(int(value))


def _machine_shared_memory() -> int:
    """Returns the bytes of shared memory, and of files in memory, on this whole machine."""
    with open("/proc/meminfo", "rb", buffering=0) as file:
        _, found, rest = file.read(1 << 14).partition(b"\nShmem:")
    return _kilobytes(rest) * 1024 if found else 0


def _anonymous_file(name: str, directory: int) -> dict[int, int]:
    """Returns the bytes of an anonymous file by its inode; nothing for another descriptor."""
    try:
        if not os.readlink(name, dir_fd=directory).startswith("/memfd:"):
            return {}
        status = os.stat(name, dir_fd=directory)
    except OSError:  # closed meanwhile
        return {}
    return {status.st_ino: status.st_blocks * 512}


def _kilobytes(field: bytes | None) -> int:
    return int(field.split()[0]) if field else 0


def _describe_largest(table: ProcessTable, samples: list[ProcessSample]) -> str:
    """Returns the process with most memory: "python3 (pid 7, 1.9 GB)"."""
    from envtool.fs.sizes import format_size

    if not samples:
        return ""
    largest = max(samples, key=lambda sample: sample.memory)
    own, shared, _ = table.measure_memory([largest])
    return f"{largest.name} (pid {largest.number}, {format_size(own + shared)})"


def _describe_crowd(samples: list[ProcessSample]) -> str:
    """Returns the name that most processes and threads have: "sh (480 of 500)"."""
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.name] = counts.get(sample.name, 0) + sample.threads
    if not counts:
        return ""
    most, total = max(counts, key=lambda name: counts[name]), sum(counts.values())
    return f"{most} ({counts[most]} of {total})" if total > 1 else most

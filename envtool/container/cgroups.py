"""One cgroup for one container, where its spec limits memory, processes or processors: v1, v2, or a scope of systemd.

A cgroup is made below this process's own, so that limits that are there already hold too (cgroups(7)). v1 and v2 may be
there at once, each with some of the controllers. In v2 only the root may have both processes and children with
controllers: below any other cgroup the container's is made beside this process's own, where that is allowed; or this
process, if it is alone in its own, moves into a leaf of it. Where systemd has not delegated a cgroup, its user manager
makes a scope for the container (`busctl`, StartTransientUnit). No real v2 or systemd was seen: tests/unit/container/
test_cgroups.py has directories laid out like theirs.

The names of cgroups have the process and its start, so that a later envtool removes what a killed one left.
"""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from envtool import proc
from envtool.errors import SandboxError
from envtool.project import programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTROLLERS = {"memory": "memory", "pids": "pids", "cpus": "cpu"}  # limit -> controller
# What a program looks for before it believes any of them in v1 (OpenJDK's cgroupSubsystem_linux.cpp): a container has a
# cgroup for each, so that it is shown none of others.
_SHOWN = (*CONTROLLERS.values(), "cpuacct", "cpuset")
_CPUSET = ("cpuset.cpus", "cpuset.mems")  # empty in a new cgroup of v1, which then takes no process
_PREFIX, _LEAF = "envtool-", "envtool.self"
_OWN_PROCESSES = 2  # of envtool in a container's cgroup: pid 1, and the process that makes it
_PERIOD = 100_000  # microseconds: of this a container has its share of each processor
_LEAST_QUOTA = 1000  # microseconds, as the kernel has it
_SYSTEMD_SECONDS = 5.0
_BUS_VARIABLES = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
_REMOVAL_SECONDS = 2.0  # until a cgroup is empty whose processes have all ended
_numbers = itertools.count(1)


class CgroupSite(NamedTuple):
    """Where cgroups for containers can be made: `directories` by controller. `how`: "cgroup v1", "cgroup v2",
    "systemd" (there are no directories then). `hierarchies`: the same for all of v1 that a container is shown, by their
    controllers as in /proc/self/cgroup."""

    how: str
    directories: Mapping[str, str]
    hierarchies: Mapping[str, str] = {}

    def holds(self, limit: str) -> bool:
        """Whether a limit can be held here."""
        return CONTROLLERS.get(limit, "") in self.directories


# ---- where they can be made ------------------------------------------------------------------------------------------


def find_sites(mountinfo: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup") -> list[CgroupSite]:
    """Returns the places for cgroups, v1 before v2, as this process may use them. The arguments are the files that say
    what is mounted where (proc_pid_mountinfo(5)) and which cgroups this process is in (cgroups(7))."""
    paths = dict(_own_paths(own))
    joined = _hierarchies(own)
    v1, hierarchies = dict[str, str](), dict[str, str]()
    v2 = ""
    for root, point, kind, options in _cgroup_mounts(mountinfo):
        if kind == "cgroup2":
            v2 = v2 or _below(point, root, paths.get("", "/"))
            continue
        for controller in _SHOWN:
            if controller in options and controller in paths:
                directory = _below(point, root, paths[controller])
                if _is_writable(directory):
                    hierarchies[joined[controller]] = directory
                    v1 |= {controller: directory} if controller in CONTROLLERS.values() else {}
    sites = [CgroupSite("cgroup v1", v1, hierarchies)] if v1 else []
    if v2:
        sites += _unified_sites(v2)
    return sites


def _own_paths(own: str) -> Iterator[tuple[str, str]]:
    """Yields the path of this process for each controller of v1, and for v2 under an empty name."""
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _hierarchies(own: str) -> dict[str, str]:
    """Returns for each controller of v1 all that are in its hierarchy."""
    joined = (line.split(":", 2)[1] for line in _read(own).splitlines())
    return {controller: controllers for controllers in joined for controller in controllers.split(",")}


def _cgroup_mounts(mountinfo: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yields root, mount point, type and options of each mounted hierarchy."""
    for line in _read(mountinfo).splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 4 and len(rest) > 2 and rest[0] in ("cgroup", "cgroup2"):
            yield fields[3], fields[4], rest[0], rest[2].split(",")


def _below(point: str, root: str, path: str) -> str:
    """Returns the directory of a cgroup under a mount whose root may be a cgroup below the hierarchy's."""
    prefix = root.rstrip("/")
    inside = path[len(prefix) :] if path == prefix or path.startswith(f"{prefix}/") else ""
    return f"{point}{inside}".rstrip("/")


def _is_writable(directory: str) -> bool:
    return os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)


def _unified_sites(own: str) -> list[CgroupSite]:
    """Returns the place below which cgroups of v2 can be made, or that systemd makes them."""
    wanted = {*_read(f"{own}/cgroup.controllers").split()} & {*CONTROLLERS.values()}
    if not wanted:
        return []
    for directory in _unified_parents(own):
        enabled = {*_read(f"{directory}/cgroup.subtree_control").split()} & wanted
        if enabled and _is_writable(directory):
            return [CgroupSite("cgroup v2", dict.fromkeys(sorted(enabled), directory))]
    return [CgroupSite("systemd", dict.fromkeys(sorted(wanted), ""))] if _has_systemd() else []


def _unified_parents(own: str) -> Iterator[str]:
    """Yields directories for cgroups of v2, after enabling controllers in them where that is allowed."""
    if os.path.basename(own) == _LEAF:
        own = os.path.dirname(own)
        yield own
        return
    is_root = not os.path.exists(f"{own}/cgroup.type")  # only the hierarchy's own root has none
    if is_root:
        _enable(own)
        yield own
        return
    yield os.path.dirname(own)
    if _is_writable(own) and _read(f"{own}/cgroup.procs").split() == [str(os.getpid())]:
        with suppress(OSError):
            leaf = f"{own}/{_LEAF}"
            os.makedirs(leaf, exist_ok=True)
            _write(f"{leaf}/cgroup.procs", str(os.getpid()))
            _enable(own)
            yield own


def _enable(directory: str) -> None:
    available = _read(f"{directory}/cgroup.controllers").split()
    wanted = [f"+{controller}" for controller in CONTROLLERS.values() if controller in available]
    with suppress(OSError):
        _write(f"{directory}/cgroup.subtree_control", " ".join(wanted))


def _has_systemd() -> bool:
    """Whether the caller's systemd can be asked for a scope: that of the user, or as root that of the system."""
    if not programs.find_program("busctl"):
        return False
    if os.geteuid() == 0:
        return os.path.exists("/run/systemd/private")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(runtime) and os.path.exists(f"{runtime}/systemd/private") and os.path.exists(f"{runtime}/bus")


def enforcement(sites: list[CgroupSite] | None = None) -> dict[str, str]:
    """Returns how each limit is held here, by its name; "" for one that cannot be."""
    found = find_sites() if sites is None else sites
    by_cgroup = {limit: next((site.how for site in found if site.holds(limit)), "") for limit in CONTROLLERS}
    return {
        "memory": by_cgroup["memory"] or "sampled",
        "cpus": by_cgroup["cpus"],
        "pids": by_cgroup["pids"] or "rlimit",
        "disk": "tmpfs",
        "files": "rlimit",
        "time": "watched",
        "idle": "watched",
    }


# ---- one cgroup ------------------------------------------------------------------------------------------------------


def open_group(limits: Mapping[str, tuple[float, str, bool]], sites: list[CgroupSite] | None = None) -> Cgroup | None:
    """Returns a new cgroup for limits, by name: (value, where, whether it must be enforced); None if no cgroup can hold
    one of them. Raises SandboxError where one that must be enforced cannot be."""
    wanted = {name: limits[name][0] for name in CONTROLLERS if name in limits}
    if not wanted:
        return None
    found = find_sites() if sites is None else sites
    places: dict[str, CgroupSite] = {}
    for name in wanted:
        site = next((site for site in found if site.holds(name)), None)
        if site is not None:
            places[name] = site
        elif name == "cpus" and limits[name][2]:
            raise SandboxError(
                f"no cgroup can limit processors here, as {limits[name][1] or '`limits`'} wants it",
                code="limit",
                hint="`envtool doctor` says why; `enforce: try` goes on without it",
            )
    if not places:
        return None
    how = {site.how for site in places.values()}
    if "systemd" in how:
        return SystemdScope(wanted)
    return DirectoryGroup({name: site.directories[CONTROLLERS[name]] for name, site in places.items()}, wanted, places)


class Cgroup(ABC):
    """What a cgroup says of the processes in it. `held`: the names of its limits."""

    held: frozenset[str] = frozenset()
    event = -1  # descriptor that is readable when memory may be over
    directories: Mapping[str, str] = {}  # by limit
    shown: tuple[str, ...] = ()  # the hierarchies that its processes are shown (cgroup_mounts.py)

    @abstractmethod
    def attach(self, process: int) -> None:
        """Puts a process into it. Raises SandboxError."""

    def free(self) -> None:  # noqa: B027 - nothing waits in a cgroup of v2
        """Lets what waits for memory go on, or be killed."""

    def close(self) -> None:  # noqa: B027 - systemd removes a scope with its last process
        """Removes it."""

    def is_over_memory(self) -> bool:
        """Whether a process waits for memory that it may not have, or was killed for it."""
        directory = self.directories.get("memory", "")
        if not directory:
            return False
        values = _read_pairs(f"{directory}/memory.oom_control") or _read_pairs(f"{directory}/memory.events")
        return bool(values.get("under_oom") or values.get("oom_kill"))

    def was_refused_memory(self) -> bool:
        """Whether memory was at its limit: a system call then fails (ENOMEM, EFAULT), where only a page fault waits.
        In v1 the kernel may have made room by dropping caches."""
        directory = self.directories.get("memory", "")
        if not directory:
            return False
        count = _read(f"{directory}/memory.failcnt").strip() or _read_pairs(f"{directory}/memory.events").get("oom", 0)
        return int(count) > 0

    def is_over_processes(self) -> bool:
        """Whether a process could not be started."""
        directory = self.directories.get("pids", "")
        return bool(directory) and bool(_read_pairs(f"{directory}/pids.events").get("max"))

    def peak(self) -> int:
        """Returns the most memory that it had, with files in memory and caches, in bytes; 0 if it does not say."""
        directory = self.directories.get("memory", "")
        text = _read(f"{directory}/memory.max_usage_in_bytes") or _read(f"{directory}/memory.peak")
        return int(text) if text.strip().isdigit() else 0


class DirectoryGroup(Cgroup):
    """A cgroup that this process makes and removes: of v1 (a directory for each controller), v2, or some of each."""

    def __init__(
        self, parents: Mapping[str, str], values: Mapping[str, float], sites: Mapping[str, CgroupSite]
    ) -> None:
        name = f"{_PREFIX}{os.getpid()}-{process_start(os.getpid())}-{next(_numbers)}"
        self._made: list[str] = []
        self._oom = -1
        self.held = frozenset(parents)
        self.directories = {limit: f"{parent}/{name}" for limit, parent in parents.items()}
        self.shown = ("",) if any(site.how == "cgroup v2" for site in sites.values()) else ()
        try:
            for directory in dict.fromkeys(self.directories.values()):
                self._make(directory)
            for limit, directory in self.directories.items():
                _set_limit(directory, limit, values[limit], unified=sites[limit].how == "cgroup v2")
            if "memory" in parents and sites["memory"].how == "cgroup v1":
                self._wait_for_memory(self.directories["memory"])
            if v1 := next((site for site in sites.values() if site.how == "cgroup v1"), None):
                self._show(v1, name)
        except OSError as error:
            self.close()
            text = f"the container's cgroup could not be made: {os.fsdecode(error.filename or '')}: {error.strerror}"
            raise SandboxError(text, code="limit", hint="`enforce: try` goes on without it") from error

    def _make(self, directory: str) -> None:
        parent = os.path.dirname(directory)
        sweep(parent)
        os.mkdir(directory, 0o755)
        self._made.append(directory)
        for setting in _CPUSET:
            if os.path.exists(f"{directory}/{setting}"):
                _write(f"{directory}/{setting}", _read(f"{parent}/{setting}"))

    def _show(self, site: CgroupSite, name: str) -> None:
        """Make what the container is shown of v1 its own, also where no limit is."""
        shown = []
        for controllers, parent in site.hierarchies.items():
            with suppress(OSError):
                if f"{parent}/{name}" not in self._made:
                    self._make(f"{parent}/{name}")
                shown.append(controllers)
        self.shown = (*shown, *self.shown)

    def _wait_for_memory(self, directory: str) -> None:
        """Have processes wait that are over, in place of one being killed, so that it can be seen which they are."""
        self._oom = os.open(f"{directory}/memory.oom_control", os.O_RDWR | os.O_CLOEXEC)
        self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        _write(f"{directory}/cgroup.event_control", f"{self.event} {self._oom}")
        os.write(self._oom, b"1")

    def attach(self, process: int) -> None:
        """See Cgroup."""
        for directory in self._made:
            try:
                _write(f"{directory}/cgroup.procs", str(process))
            except ProcessLookupError:  # it has ended; the supervisor will see that
                return
            except OSError as error:
                text = f"the container cannot enter its cgroup {directory}: {error.strerror}"
                raise SandboxError(text, code="limit", hint="`enforce: try` goes on without it") from error

    def free(self) -> None:
        """See Cgroup."""
        if self._oom >= 0:
            with suppress(OSError):
                os.write(self._oom, b"0")
            with suppress(OSError):
                os.read(self.event, 8)

    def close(self) -> None:
        """See Cgroup."""
        for descriptor in (self._oom, self.event):
            if descriptor >= 0:
                os.close(descriptor)
        self._oom = self.event = -1
        end = time.monotonic() + _REMOVAL_SECONDS
        for directory in self._made:
            while not _remove(directory) and time.monotonic() < end:
                time.sleep(0.005)
        self._made = []


def _set_limit(directory: str, limit: str, value: float, *, unified: bool) -> None:
    """Writes one limit. Raises OSError."""
    if limit == "memory":
        amount = str(int(value))
        _write(f"{directory}/{'memory.max' if unified else 'memory.limit_in_bytes'}", amount)
        with suppress(FileNotFoundError):  # without swap accounting
            if unified:
                _write(f"{directory}/memory.swap.max", "0")
            else:
                _write(f"{directory}/memory.memsw.limit_in_bytes", amount)
    elif limit == "pids":
        _write(f"{directory}/pids.max", str(int(value) + _OWN_PROCESSES))
    else:
        quota = max(_LEAST_QUOTA, int(value * _PERIOD))
        if unified:
            _write(f"{directory}/cpu.max", f"{quota} {_PERIOD}")
        else:
            _write(f"{directory}/cpu.cfs_period_us", str(_PERIOD))
            _write(f"{directory}/cpu.cfs_quota_us", str(quota))


class SystemdScope(Cgroup):
    """A scope that the caller's systemd makes for a process, and removes when the last process in it has ended."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values
        self.held = frozenset(values)
        self.shown = ("",)

    def attach(self, process: int) -> None:
        """See Cgroup."""
        name = f"{_PREFIX}{os.getpid()}-{process_start(os.getpid())}-{next(_numbers)}.scope"
        command = scope_command(name, process, self._values, system=os.geteuid() == 0)
        variables = {name: os.environ[name] for name in _BUS_VARIABLES if name in os.environ}
        ended = proc.run(command, env=variables, timeout=_SYSTEMD_SECONDS)
        reason = ended.failure() if ended.status else ""
        end = time.monotonic() + _SYSTEMD_SECONDS
        while not reason and time.monotonic() < end:
            path = dict(_own_paths(f"/proc/{process}/cgroup")).get("", "")
            if path.endswith(f"/{name}"):
                mounts = [mount for mount in _cgroup_mounts("/proc/self/mountinfo") if mount[2] == "cgroup2"]
                directory = _below(mounts[0][1], mounts[0][0], path) if mounts else ""
                self.directories = dict.fromkeys(self._values, directory)
                return
            time.sleep(0.002)
        text = f"systemd made no scope for the container: {reason or 'it did not answer'}"
        raise SandboxError(text, code="limit", hint="`enforce: try` goes on without it")


def scope_command(name: str, process: int, values: Mapping[str, float], *, system: bool) -> list[str]:
    """Returns the call of StartTransientUnit that makes a scope with these limits for a process (busctl(1),
    org.freedesktop.systemd1(5), systemd.resource-control(5))."""
    properties = [("PIDs", "au", "1", str(process)), ("CollectMode", "s", "inactive-or-failed")]
    if "memory" in values:
        properties += [("MemoryMax", "t", str(int(values["memory"]))), ("MemorySwapMax", "t", "0")]
    if "pids" in values:
        properties.append(("TasksMax", "t", str(int(values["pids"]) + _OWN_PROCESSES)))
    if "cpus" in values:
        properties.append(("CPUQuotaPerSecUSec", "t", str(int(values["cpus"] * 1_000_000))))
    return [
        "busctl", "--system" if system else "--user", f"--timeout={_SYSTEMD_SECONDS:g}", "call",
        "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
        "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", str(len(properties)),
        *(word for item in properties for word in item), "0",
    ]  # fmt: skip


# ---- what a killed envtool left --------------------------------------------------------------------------------------


def sweep(parent: str) -> None:
    """Removes cgroups in a directory whose envtool has ended."""
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in names:
        process, _, rest = name.removeprefix(_PREFIX).partition("-")
        start = rest.partition("-")[0]
        if process.isdigit() and start.isdigit() and process_start(int(process)) != int(start):
            _remove(f"{parent}/{name}")


def process_start(process: int) -> int:
    """Returns when a process started, in ticks since the machine did (proc_pid_stat(5)); -1 if there is none."""
    fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else -1


def _remove(directory: str) -> bool:
    """Removes a cgroup. Returns False while it has processes."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _read_pairs(path: str) -> dict[str, int]:
    """Returns the numbers of a file of lines like `oom_kill 1`."""
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _write(path: str, text: str) -> None:
    """Writes to a file that is there. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)

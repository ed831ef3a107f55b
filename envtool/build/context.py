"""The store, project, policies and events that a run works with, as one value that is handed down."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from envtool.build.disk_space import DiskSpace
from envtool.container.runner import LocalRunner, Runner
from envtool.errors import Interrupted
from envtool.lazy_dataclass import dataclass, field
from envtool.lock.lock import Lock
from envtool.model import Json
from envtool.project.host_access import HostAccess, HostPermissions
from envtool.store import fetch_sources
from envtool.store.leases import Leases
from envtool.store.store import Store

if TYPE_CHECKING:
    from envtool.build.secret_values import SecretValues
    from envtool.events import Emit
    from envtool.teamcache.client import TeamCacheClient

T = TypeVar("T")

DEFAULT_EPOCH = 1577836800  # 2020-01-01: for bases whose archive has no date; zip files cannot hold a year before 1980
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A latch that threads can query and poll() can wait for: the read end of a pipe, readable once the latch is
    set."""

    reader: int
    writer: int

    @classmethod
    def make(cls) -> Cancel:
        """Returns a new latch; `close` it when nothing uses it any more."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        return cls(reader=reader, writer=writer)

    def set(self, number: int = 15) -> None:
        """Asks everything to end; the steps of containers get signal `number` first. The number of bytes in the pipe is
        the signal, since many threads poll one pipe. Safe in a signal handler; a second call changes nothing."""
        try:
            if not self.is_set():
                os.write(self.writer, b"x" * number)
        except BlockingIOError:
            pass

    def is_set(self) -> bool:
        """Whether the latch is set."""
        import select

        poll = select.poll()
        poll.register(self.reader, select.POLLIN)
        return bool(poll.poll(0))

    def check(self) -> None:
        """Raises Interrupted when the latch is set."""
        if self.is_set():
            raise Interrupted

    def close(self) -> None:
        """Closes both descriptors."""
        os.close(self.reader)
        os.close(self.writer)


def _build_slots() -> threading.Semaphore:
    return threading.Semaphore(len(os.sched_getaffinity(0)))


class RunScoped:
    """Objects that are created once for a whole run, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, object] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        """Returns the object of this name, created by `make` at the first call."""
        with self._lock:
            if name not in self._held:
                self._held[name] = make()
            return cast("T", self._held[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The store, the project, the machine, the policies of this run, and the function that takes its events."""

    store: Store
    root: str  # absolute path of the project
    arch: str  # uname -m
    emit: Emit
    cancel: Cancel
    runner: Runner = field(default_factory=LocalRunner)  # what runs containers
    refresh: bool = False  # ask `resolve` again though answers are locked or remembered
    files: tuple[str, ...] = ()  # the spec, its includes and its lock: no task may write them as outputs
    logs: tuple[str, ...] = ()  # files in the project that this run writes: tasks do not see them (project/own_logs.py)
    # lists the project's files, for verbs that work on one snapshot of it
    listed: Callable[[], list[str]] | None = None
    lock: Lock = field(default_factory=Lock)
    tried: set[str] = field(default_factory=set)  # ids of questions whose locked pins were tried and are sound
    # reason why a passed run is not in the result cache -> its tasks
    unremembered: dict[str, list[str]] = field(default_factory=dict)
    # id of the events of a build -> memory, seconds of the processors and bytes written (events.Finished)
    used: dict[str, tuple[int, float, int]] = field(default_factory=dict)
    upgrading: Mapping[str, Json] = field(
        default_factory=dict
    )  # ids of questions that are asked again -> pins to prefer
    offline: bool = False  # nothing but the store is touched
    cached_only: bool = False  # nothing may be resolved or built
    share: TeamCacheClient | None = None  # the team cache, where one is configured
    shared: RunScoped = field(default_factory=RunScoped)  # see api.Site.shared
    # sublayers that are built at one time: as many as processors
    turns: threading.Semaphore = field(default_factory=_build_slots)
    leases: Leases = field(default_factory=Leases)  # items of the store that `gc` keeps while this run lasts
    disk_space: DiskSpace = field(default_factory=DiskSpace)
    # what the caller allows the project to read of this machine
    allowed: HostPermissions = field(default_factory=HostPermissions)
    # hooks of plugins that explain a failed task: see api.envtool_failure_hint
    failure_hints: tuple[Callable[..., str], ...] = ()
    arguments: tuple[str, ...] = ()  # the words after `--`: already in the commands, kept for reports

    def host_access(self) -> HostAccess:
        """Returns what opens files and variables of this machine. ENVTOOL_BLOBS comes from the caller, and files in the
        store are verified by their hash: both may be read."""
        return self.shared.get(
            "gate", lambda: HostAccess(self.root, self.allowed, (*_blob_folders(), self.store.path("blobs")))
        )

    def secrets(self) -> SecretValues:
        """Returns the secrets of this run."""
        from envtool.build.secret_values import SecretValues

        access = self.host_access()
        return self.shared.get("secrets", lambda: SecretValues(access))

    def sync(self, path: str) -> None:
        """Flushes the file system of a directory to its disk. Raises OSError, Interrupted."""
        from envtool.container import sync_disk

        sync_disk.syncfs(path, self.cancel.reader)

    def make_room(self, *, full: bool = False) -> bool:
        """Frees disk space before something is built or fetched; returns whether anything was removed: see
        DiskSpace.ensure."""
        return self.disk_space.ensure(self.store, self.root, self.leases, self.emit, full=full)


def _blob_folders() -> tuple[str, ...]:
    return tuple(os.path.normpath(path) for path in fetch_sources.local_blob_folders())


def base_environment(epoch: int) -> dict[str, str]:
    """Returns the variables of every container, before layers and envs add theirs."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch)}

"""What realising and running need of the world, as one value that is handed down."""

from __future__ import annotations

import os
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from envtool.build.disk_space import DiskSpace
from envtool.errors import Interrupted
from envtool.events import Emit
from envtool.lock.lock import Lock
from envtool.model import Json
from envtool.project.host_access import HostAccess, HostPermissions
from envtool.store import fetch_sources
from envtool.store.leases import Leases
from envtool.store.store import Store

if TYPE_CHECKING:
    from envtool.teamcache.client import TeamCacheClient

T = TypeVar("T")

DEFAULT_EPOCH = 1577836800  # 2020-01-01: for bases whose archive has no date; zip files cannot say less than 1980
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A latch that threads can ask and poll() can wait for: the read end of a pipe, readable once it is set."""

    reader: int
    writer: int

    @classmethod
    def make(cls) -> Cancel:
        """A fresh latch; `close` it when nothing uses it any more."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        return cls(reader=reader, writer=writer)

    def set(self, number: int = 15) -> None:
        """Ask everything to end; containers' steps get signal `number` first (how many bytes wait is the message,
        since many look at one pipe). Safe in a signal handler; setting twice is nothing new."""
        try:
            if not self.is_set():
                os.write(self.writer, b"x" * number)
        except BlockingIOError:
            pass

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        import select

        poll = select.poll()
        poll.register(self.reader, select.POLLIN)
        return bool(poll.poll(0))

    def check(self) -> None:
        """Raise Interrupted when the end was asked for."""
        if self.is_set():
            raise Interrupted

    def close(self) -> None:
        """Give the two descriptors back."""
        os.close(self.reader)
        os.close(self.writer)


def _build_slots() -> threading.Semaphore:
    return threading.Semaphore(os.cpu_count() or 1)


class RunScoped:
    """Things that are made once for a whole run, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, object] = {}

    def get(self, name: str, make: Callable[[], T]) -> T:
        """What is there of this name, made if nothing is."""
        with self._lock:
            if name not in self._held:
                self._held[name] = make()
            return cast("T", self._held[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The store, the project, the machine, and where news goes."""

    store: Store
    root: str  # absolute path of the project
    arch: str  # uname -m
    emit: Emit
    cancel: Cancel
    refresh: bool = False  # ask `resolve` again though answers are locked or remembered
    files: tuple[str, ...] = ()  # of the project: the spec, what it includes and its lock; never an output by chance
    logs: tuple[
        str, ...
    ] = ()  # of the project: what this run writes about itself; tasks do not see it (project/own_logs.py)
    listed: Callable[[], list[str]] | None = None  # the project's files, for verbs that look at one moment of it
    lock: Lock = field(default_factory=Lock)
    tried: set[str] = field(default_factory=set)  # ids of questions whose answer in the lock was found to be sound
    unremembered: dict[str, list[str]] = field(default_factory=dict)  # why a run that passed is not -> which
    moving: Mapping[str, Json] = field(default_factory=dict)  # ids of questions asked again -> pins to stay near to
    offline: bool = False  # nothing but the store is touched
    cached_only: bool = False  # nothing may be resolved or built
    share: TeamCacheClient | None = None  # the team cache, where there is one to be asked
    shared: RunScoped = field(default_factory=RunScoped)  # see api.Site.shared
    turns: threading.Semaphore = field(
        default_factory=_build_slots
    )  # who makes a part of a base: as many as processors
    claims: Leases = field(default_factory=Leases)  # what of the store is needed while this is
    room: DiskSpace = field(default_factory=DiskSpace)
    allowed: HostPermissions = field(
        default_factory=HostPermissions
    )  # what the caller lets the project have of this machine
    arguments: tuple[str, ...] = ()  # what stood after `--`: already in the commands, kept for what is said of a run

    def host_access(self) -> HostAccess:
        """What opens files and variables of this machine. ENVTOOL_BLOBS is the caller's word, and what the store has is
        known by its hash."""
        return self.shared.get(
            "gate", lambda: HostAccess(self.root, self.allowed, (*_blob_folders(), self.store.path("blobs")))
        )

    def sync(self, path: str) -> None:
        """Have a directory's file system on its disk. Raises OSError, Interrupted."""
        from envtool.container import sync_disk

        sync_disk.syncfs(path, self.cancel.reader)

    def make_room(self, *, full: bool = False) -> bool:
        """Before something is made or fetched: see Room.ensure."""
        return self.room.ensure(self.store, self.root, self.claims, self.emit, full=full)


def _blob_folders() -> tuple[str, ...]:
    named = [urllib.parse.urlsplit(url) for url in fetch_sources.read_blobs_variable()]
    return tuple(os.path.normpath(urllib.parse.unquote(url.path)) for url in named if url.scheme == "file")


def base_environment(epoch: int) -> dict[str, str]:
    """The variables of every container, before layers and envs add theirs."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch)}

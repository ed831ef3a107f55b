"""Room on the disk before something is made or fetched: what was used least recently goes until there is enough."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from envtool.errors import BuildError, MakeError, StoreError
from envtool.events import Emit, Finished, Noted, Started
from envtool.store import disk_errors, disk_limits
from envtool.store.leases import Leases
from envtool.store.store import Store

if TYPE_CHECKING:
    from envtool.store.collect import GcPolicy, GcResult
    from envtool.store.inventory import Inventory

LOW_SPACE = 1 << 30  # bytes: with less free, a command that says that there is no space left means this disk
HARDLY = 1_000_000  # bytes: whoever removes less has removed nothing
_ALL = 1 << 62
RETRY_AFTER = 60.0  # seconds after which it is tried again where not enough could be found


class DiskSpace:
    """Of one verb: what it needs itself, and when it looked last. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needs: list[weakref.WeakMethod[Callable[[], Iterable[str]]]] = []
        self._measured = False  # whether the store's whole size was looked at
        self._next = 0.0
        self._adding = threading.Lock()
        self._making: list[tuple[int, int]] = []  # what is made now takes so many bytes: at least, and mostly
        self._before = 0  # bytes that were free before the first of these was begun
        self._about = 0  # what all that was made at one time takes mostly
        self._told = False

    def protect(self, keys: Callable[[], Iterable[str]]) -> None:
        """Let no collection of ours take the layers that `keys` (a method) names when it is asked."""
        self._needs.append(weakref.WeakMethod(keys))

    @contextmanager
    def making(self, store: Store, what: str, fetched: int, missing: int, emit: Emit) -> Iterator[None]:
        """While something is made of `fetched` bytes, of which so many are `missing`. Added up with all else that is
        being made: each of two may have room, and both not. Said before anything is fetched where the disk is probably
        too small. Raises NoRoom where it clearly is."""
        need = disk_errors.needed(fetched, missing)
        with self._adding:
            left = disk_limits.free_space(store)[0]
            # what the others have written since is part of what they need
            self._before = max(self._before, left) if self._making else left
            least, self._about = (sum(each) for each in zip(*self._making, need, strict=True))
            called = f"{what}, with what is being made beside it," if self._making else what
            said, never = (
                disk_errors.space_warning(store.root, called, least, self._about, self._before)
                if fetched
                else ("", False)
            )
            if said and not never and not self._told:
                self._told = True
                emit(Noted(text=said))
            if never:
                error = StoreError(said, code="store-space", hint=disk_errors.HINT_FREE_SPACE)
                raise NoDiskSpace(error, error, sure=True)
            self._making.append(need)
        try:
            yield
        finally:
            with self._adding:
                self._making.remove(need)

    def ensure(self, store: Store, root: str, claims: Leases, emit: Emit, *, full: bool = False) -> bool:
        """Collect when less is free than has to be, or the store is larger than it may be; whether anything went. A
        disk that turned out to be `full` is collected whatever the variables say. Costs one system call when all is
        well. Raises StoreError for a variable that cannot be read."""
        wanted = disk_limits.missing_space(store, os.environ)
        limit = disk_limits.size_limit(os.environ)
        if full:
            free, disk = disk_limits.free_space(store)
            wanted = max(wanted, disk_limits.keep_free(disk, {}), self._about - free, 1)
        if not full and (wanted == 0 or time.monotonic() < self._next) and (limit is None or self._measured):
            return False
        with self._lock:
            if not full:
                wanted = disk_limits.missing_space(store, os.environ)  # another thread was here
                if not wanted and (limit is None or self._measured):
                    return False
            self._measured = True
            collected = self._collect(store, root, claims, wanted, limit, emit)
            if collected is None or collected.freed < wanted:
                self._next = time.monotonic() + RETRY_AFTER
            return collected is not None and collected.freed > 0

    def barren(self, store: Store, root: str, claims: Leases) -> bool:
        """Whether hardly anything of the store can go but what is needed now."""
        from envtool.container import userns
        from envtool.store.gc import gc

        policy = partial(self._policy, root, claims, _ALL, None)
        try:
            _, found = gc(store, policy, inside=userns.run_as_root, remove=userns.remove_as_root, dry_run=True)
        except (OSError, StoreError):
            return False
        return sum(item.size for item in found.gone) < HARDLY

    def _policy(self, root: str, claims: Leases, wanted: int, limit: int | None, found: Inventory) -> GcPolicy:
        from envtool.store.collect import GcPolicy
        from envtool.store.inventory import digests_in_locks

        own = claims.layers | digests_in_locks([root])
        for each in self._needs:
            keys = each()
            own |= frozenset(keys() if keys else ())
        return GcPolicy(
            now=time.time(),
            by_age=False,
            room=wanted,
            keep_size=limit,
            named=digests_in_locks(found.projects),
            spare=own,
        )

    def _collect(
        self, store: Store, root: str, claims: Leases, wanted: int, limit: int | None, emit: Emit
    ) -> GcResult | None:
        from envtool.container import userns
        from envtool.store.gc import gc

        began = time.time()
        policy = partial(self._policy, root, claims, wanted, limit)
        try:
            _, collected = gc(store, policy, inside=userns.run_as_root, remove=userns.remove_as_root)
        except (OSError, StoreError):  # what comes next has the words for a disk that is full
            return None
        if collected.gone:
            now = time.time()
            emit(Started(id="store", subject="store", name="gc", time=began))
            count = len(collected.gone)
            words = "thing that was" if count == 1 else "things that were"
            verb = "is" if count == 1 else "are"
            detail = f"{count} {words} used least recently {verb} gone, to make room"
            emit(
                Finished(
                    id="store", subject="store", name="gc", outcome="done", time=now, seconds=now - began, detail=detail
                )
            )
        return collected


class NoDiskSpace(Exception):  # noqa: N818 - the error is what went wrong
    """The disk was full when something went wrong. `full` says how full; `sure`: the system said so, or it was seen.
    Else the command said it, which nothing is removed for."""

    def __init__(self, error: MakeError | OSError, full: StoreError, *, sure: bool) -> None:
        super().__init__(str(error))
        self.error, self.full, self.sure = error, full, sure


@contextmanager
def detect_full_disk(store: Store) -> Iterator[None]:
    """Makes a NoRoom of an error that may have come of a full disk: looked at before what was written is removed."""
    try:
        yield
    except (MakeError, OSError) as error:
        number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", 0) or 0
        sure = number in disk_errors.DISK_FULL_ERRNOS or disk_limits.is_nearly_full(store)
        if sure or (_output_says_full(error) and disk_limits.free_space(store)[0] < LOW_SPACE):
            raise NoDiskSpace(error, disk_errors.disk_full_error(store.root, number), sure=sure) from error
        raise


def _output_says_full(error: MakeError | OSError) -> bool:
    from envtool.build import failure_hints

    return isinstance(error, BuildError) and bool(failure_hints.SPACE.search(error.output))

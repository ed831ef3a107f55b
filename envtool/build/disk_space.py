"""Frees disk space before something is built or fetched: removes the least recently used items until there is
enough."""

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
from envtool.store import disk_errors, disk_limits
from envtool.store.leases import Leases
from envtool.store.store import Store

if TYPE_CHECKING:
    from envtool.events import Emit
    from envtool.store.collect import GcPolicy, GcResult
    from envtool.store.inventory import Inventory

LOW_SPACE = 1 << 30  # bytes: with less free, a command that reports a full disk means this one
HARDLY = 1_000_000  # bytes: a collection that removes less counts as nothing
_ALL = 1 << 62
RETRY_AFTER = 60.0  # seconds until the next try after a collection that did not free enough


class DiskSpace:
    """The disk space of one run: the layers that it needs itself, and its last measurement. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._protected: list[weakref.WeakMethod[Callable[[], Iterable[str]]]] = []
        self._measured = False  # whether the size of the whole store was measured
        self._next_try = 0.0
        self._adding_lock = threading.Lock()
        self._builds: list[tuple[int, int]] = []  # bytes of each build in progress: at least, and probably
        self._free_before = 0  # bytes that were free before the first of these builds
        self._probable = 0  # bytes that all builds at one time probably take
        self._warned = False

    def protect(self, keys: Callable[[], Iterable[str]]) -> None:
        """Keeps the layers whose keys the method `keys` returns from every collection of this run."""
        self._protected.append(weakref.WeakMethod(keys))

    @contextmanager
    def making(self, store: Store, name: str, fetched: int, missing: int, emit: Emit) -> Iterator[None]:
        """Reserves space while something is built from `fetched` bytes, `missing` of which are not in the store yet.
        Builds at one time are added up, since each alone may fit and both together may not. Emits a warning before
        anything is fetched where the disk is probably too small. Raises NoDiskSpace where it clearly is."""
        from envtool.events import Noted

        need = disk_errors.needed(fetched, missing)
        with self._adding_lock:
            free = disk_limits.free_space(store)[0]
            # bytes that other builds wrote meanwhile are part of their need
            self._free_before = max(self._free_before, free) if self._builds else free
            minimum, self._probable = (sum(sizes) for sizes in zip(*self._builds, need, strict=True))
            subject = f"{name}, with what is being made beside it," if self._builds else name
            warning, is_certain = (
                disk_errors.space_warning(store.root, subject, minimum, self._probable, self._free_before)
                if fetched
                else ("", False)
            )
            if warning and not is_certain and not self._warned:
                self._warned = True
                emit(Noted(text=warning))
            if is_certain:
                error = StoreError(warning, code="store-space", hint=disk_errors.HINT_FREE_SPACE)
                raise NoDiskSpace(error, error, sure=True)
            self._builds.append(need)
        try:
            yield
        finally:
            with self._adding_lock:
                self._builds.remove(need)

    def ensure(self, store: Store, root: str, leases: Leases, emit: Emit, *, full: bool = False) -> bool:
        """Collects garbage when less is free than required, or the store is larger than allowed; returns whether
        anything was removed. A `full` disk is collected whatever the variables say. Costs one system call in the usual
        case. Raises StoreError for a variable that cannot be parsed."""
        missing = disk_limits.missing_space(store, os.environ)
        limit = disk_limits.size_limit(os.environ)
        if full:
            free, disk = disk_limits.free_space(store)
            missing = max(missing, disk_limits.keep_free(disk, {}), self._probable - free, 1)
        if not full and (missing == 0 or time.monotonic() < self._next_try) and (limit is None or self._measured):
            return False
        with self._lock:
            if not full:
                missing = disk_limits.missing_space(store, os.environ)  # another thread may have collected
                if not missing and (limit is None or self._measured):
                    return False
            self._measured = True
            collected = self._collect(store, root, leases, missing, limit, emit)
            if collected is None or collected.freed < missing:
                self._next_try = time.monotonic() + RETRY_AFTER
            return collected is not None and collected.freed > 0

    def barren(self, store: Store, root: str, leases: Leases) -> bool:
        """Whether a collection could free hardly anything beyond what is needed now."""
        from envtool.container import userns
        from envtool.store.gc import gc

        policy = partial(self._policy, root, leases, _ALL, None)
        try:
            _, result = gc(store, policy, inside=userns.run_as_root, remove=userns.remove_as_root, dry_run=True)
        except (OSError, StoreError):
            return False
        return sum(item.size for item in result.gone) < HARDLY

    def _policy(self, root: str, leases: Leases, missing: int, limit: int | None, inventory: Inventory) -> GcPolicy:
        from envtool.store.collect import GcPolicy
        from envtool.store.inventory import digests_in_locks

        spare = leases.layers | digests_in_locks([root])
        for reference in self._protected:
            keys = reference()
            spare |= frozenset(keys() if keys else ())
        return GcPolicy(
            now=time.time(),
            by_age=False,
            room=missing,
            keep_size=limit,
            named=digests_in_locks(inventory.projects),
            spare=spare,
        )

    def _collect(
        self, store: Store, root: str, leases: Leases, missing: int, limit: int | None, emit: Emit
    ) -> GcResult | None:
        from envtool.container import userns
        from envtool.events import Finished, Started
        from envtool.store.gc import gc

        began = time.time()
        policy = partial(self._policy, root, leases, missing, limit)
        try:
            _, result = gc(store, policy, inside=userns.run_as_root, remove=userns.remove_as_root)
        except (OSError, StoreError):  # the next write fails and reports the full disk
            return None
        if result.gone:
            now = time.time()
            emit(Started(id="store", subject="store", name="gc", time=began))
            count = len(result.gone)
            words = "thing that was" if count == 1 else "things that were"
            verb = "is" if count == 1 else "are"
            detail = f"{count} {words} used least recently {verb} gone, to make room"
            emit(
                Finished(
                    id="store", subject="store", name="gc", outcome="done", time=now, seconds=now - began, detail=detail
                )
            )
        return result


class NoDiskSpace(Exception):  # noqa: N818 - the error is what went wrong
    """Something failed on a full disk. `full` is the error that reports the disk; `sure`: the system reported it, or it
    was measured. Otherwise only a command reported it, and nothing is removed for that."""

    def __init__(self, error: MakeError | OSError, full: StoreError, *, sure: bool) -> None:
        super().__init__(str(error))
        self.error, self.full, self.sure = error, full, sure


@contextmanager
def detect_full_disk(store: Store) -> Iterator[None]:
    """Raises NoDiskSpace for an error that a full disk may have caused. The disk is measured before what was written is
    removed."""
    try:
        yield
    except (MakeError, OSError) as error:
        errno = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", 0) or 0
        sure = errno in disk_errors.DISK_FULL_ERRNOS or disk_limits.is_nearly_full(store)
        if sure or (_output_says_full(error) and disk_limits.free_space(store)[0] < LOW_SPACE):
            raise NoDiskSpace(error, disk_errors.disk_full_error(store.root, errno), sure=sure) from error
        raise


def _output_says_full(error: MakeError | OSError) -> bool:
    from envtool.build import failure_hints

    return isinstance(error, BuildError) and bool(failure_hints.SPACE.search(error.output))

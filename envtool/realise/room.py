"""Room on the disk before something is made or fetched: what was used least recently goes until there is enough."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envtool.errors import BuildError, MakeError, StoreError
from envtool.events import Emit, Finished, Started
from envtool.store import refusing, room
from envtool.store.claims import Claims
from envtool.store.store import Store

if TYPE_CHECKING:
    from envtool.store.collect import Collected, Policy
    from envtool.store.survey import Survey

SCARCE = 1 << 30  # bytes: with less free, a command that says that there is no space left means this disk
AGAIN = 60.0  # seconds after which it is tried again where not enough could be found


class Room:
    """Of one verb: what it needs itself, and when it looked last. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needs: list[weakref.WeakMethod[Callable[[], Iterable[str]]]] = []
        self._measured = False  # whether the store's whole size was looked at
        self._next = 0.0

    def need(self, keys: Callable[[], Iterable[str]]) -> None:
        """Let no collection of ours take the layers that `keys` (a method) names when it is asked."""
        self._needs.append(weakref.WeakMethod(keys))

    def ensure(self, store: Store, root: str, claims: Claims, emit: Emit, *, full: bool = False) -> bool:
        """Collect when less is free than has to be, or the store is larger than it may be; whether anything went. A
        disk that turned out to be `full` is collected whatever the variables say. Costs one system call when all is
        well. Raises StoreError for a variable that cannot be read."""
        wanted = room.lacking(store, os.environ)
        limit = room.limit(os.environ)
        if full:
            wanted = max(wanted, room.keep_free(room.free(store)[1], {}), 1)
        if not full and (wanted == 0 or time.monotonic() < self._next) and (limit is None or self._measured):
            return False
        with self._lock:
            if not full:
                wanted = room.lacking(store, os.environ)  # another thread was here
                if not wanted and (limit is None or self._measured):
                    return False
            self._measured = True
            collected = self._collect(store, root, claims, wanted, limit, emit)
            if collected is None or collected.freed < wanted:
                self._next = time.monotonic() + AGAIN
            return collected is not None and collected.freed > 0

    def _collect(
        self, store: Store, root: str, claims: Claims, wanted: int, limit: int | None, emit: Emit
    ) -> Collected | None:
        from envtool.container import ids
        from envtool.store.collect import Policy
        from envtool.store.gc import gc
        from envtool.store.survey import named

        began = time.time()

        def policy(found: Survey) -> Policy:
            own = claims.layers | named([root])
            for each in self._needs:
                keys = each()
                own |= frozenset(keys() if keys else ())
            return Policy(now=began, by_age=False, room=wanted, keep_size=limit, named=named(found.projects), spare=own)

        try:
            _, collected = gc(store, policy, inside=ids.inside, remove=ids.remove)
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


class NoRoom(Exception):  # noqa: N818 - the error is what went wrong
    """The disk was full when something went wrong. `full` says how full; `sure`: the system said so, or it was seen.
    Else the command said it, which nothing is removed for."""

    def __init__(self, error: MakeError | OSError, full: StoreError, *, sure: bool) -> None:
        super().__init__(str(error))
        self.error, self.full, self.sure = error, full, sure


@contextmanager
def watched(store: Store) -> Iterator[None]:
    """Makes a NoRoom of an error that may have come of a full disk: looked at before what was written is removed."""
    try:
        yield
    except (MakeError, OSError) as error:
        number = getattr(error if isinstance(error, OSError) else error.__cause__, "errno", 0) or 0
        sure = number in refusing.FULL or room.full(store)
        if sure or (_said(error) and room.free(store)[0] < SCARCE):
            raise NoRoom(error, refusing.full(store.root, number), sure=sure) from error
        raise


def _said(error: MakeError | OSError) -> bool:
    from envtool.realise import advice

    return isinstance(error, BuildError) and bool(advice.SPACE.search(error.output))

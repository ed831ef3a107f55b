"""Which states of a directory follow from each other by changes of this process, with no other process in between.

A directory's times tell that an entry was added or removed, not by whom. Where we write ourselves, we read the state
just before and just after: so states make chains, and two states of one chain differ by our changes alone.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    State: TypeAlias = tuple[int, int, int, int]


def directory_state(info: os.stat_result) -> State:
    """Returns device, inode, mtime and ctime (ns). A directory that is moved away and back has another ctime."""
    return (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)


class DirectoryChanges:
    """The changes that this process made. For any number of threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._chains: dict[State, int] = {}

    def record_around(self, directory: int) -> DirectoryChange:
        """Returns a context for one change in an open directory."""
        return DirectoryChange(self, directory)

    def note(self, before: State, after: State) -> None:
        """Note that a change of ours led from one state to the other."""
        self._chains[after] = self._chains.setdefault(before, len(self._chains))

    def only_ours(self, before: State, after: State) -> bool:
        """Returns whether only this process changed the directory between two states."""
        with self.lock:
            chain = self._chains.get(before)
            return before == after or (chain is not None and chain == self._chains.get(after))


class DirectoryChange:
    """See `DirectoryChanges.record_around`. One at a time: else the state of another thread's change would come
    between.
    """

    __slots__ = ("_before", "_changes", "_directory")

    def __init__(self, changes: DirectoryChanges, directory: int) -> None:
        self._changes, self._directory = changes, directory

    def __enter__(self) -> None:
        self._changes.lock.acquire()
        try:
            self._before = directory_state(os.fstat(self._directory))
        except BaseException:
            self._changes.lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._changes.note(self._before, directory_state(os.fstat(self._directory)))
        finally:
            self._changes.lock.release()


PROCESS_CHANGES = DirectoryChanges()

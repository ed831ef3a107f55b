"""Which states of a directory follow from each other by what this process did in it, with nobody else in between.

A directory's times say that something was put in or taken out, not by whom. Where we write ourselves, its state is
looked at just before and just after: so states make chains, and two states of one chain differ by our doing alone.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    State: TypeAlias = tuple[int, int, int, int]


def directory_state(found: os.stat_result) -> State:
    """Device, inode, mtime and ctime (ns): a directory that is moved away and back has another ctime."""
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


class DirectoryChanges:
    """What this process changed. For any number of threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._chains: dict[State, int] = {}

    def record_around(self, directory: int) -> DirectoryChange:
        """A context for one change in an open directory."""
        return DirectoryChange(self, directory)

    def note(self, before: State, after: State) -> None:
        """One state became the other by us."""
        self._chains[after] = self._chains.setdefault(before, len(self._chains))

    def only_ours(self, before: State, after: State) -> bool:
        """Whether nobody but us came between two states."""
        with self.lock:
            chain = self._chains.get(before)
            return before == after or (chain is not None and chain == self._chains.get(after))


class DirectoryChange:
    """See Changes.around. One at a time: else another's state would come between."""

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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._changes.note(self._before, directory_state(os.fstat(self._directory)))
        finally:
            self._changes.lock.release()


PROCESS_CHANGES = DirectoryChanges()

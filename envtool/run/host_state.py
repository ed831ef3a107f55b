"""The ctimes of files of this machine, which no program can set, and which of them decide a task. On the fast path of
`test`."""

from __future__ import annotations

import _thread
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MANY = 200  # directories
_RUNTIME, _NEAR = 4, 5  # components of a path


def pack(states: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Returns paths, each ended by a zero byte, and their ctimes (ns) as 64-bit integers: the arguments of
    `is_unchanged`."""
    names = os.fsencode("".join([f"{path}\0" for path in states]))
    return names, struct.pack(f"{len(states)}q", *states.values())


def is_unchanged(names: bytes, states: bytes) -> bool:
    """Returns whether each path exists and has the ctime that is given for it."""
    lstat = os.lstat
    try:
        ctimes = [lstat(name).st_ctime_ns for name in names.split(b"\0")[:-1]]
        return struct.pack(f"{len(ctimes)}q", *ctimes) == states
    except (OSError, struct.error):
        return False


def decisive_states(states: Mapping[str, int], trees: Iterable[str], opened: frozenset[str] | None) -> dict[str, int]:
    """Returns those of the states (ctimes by path) that decide a task which opened the files and directories `opened`;
    all of them if that is not known (None).

    Of the files in the directories `trees` those decide that were opened: the others may be edited in place. A
    directory always decides: its ctime changes when an entry is added, removed or replaced, also an entry that the task
    looked for in vain. The exception is a runtime of more than MANY directories of which nothing was opened: of that
    only the directories near its top decide. stat(2) leaves no trace, and to check all of them would cost each
    unchanged `test` milliseconds.
    """
    if opened is None:
        return dict(states)
    index = _index_of(states, trees)
    return index.always | index.of_opened(opened)


class ComparedStates:
    """Compares states with the machine, each once: all answers are of one moment, after the first question."""

    def __init__(self) -> None:
        self._index: _StateIndex | None = None
        self._answers: dict[str, bool] = {}

    def are_decisive_unchanged(
        self, states: Mapping[str, int], trees: Iterable[str], opened: frozenset[str] | None
    ) -> bool:
        """Returns what `is_unchanged` returns for those of the states that decide a task: see `decisive_states`."""
        if opened is None:
            return is_unchanged(*pack(states))
        index, answers = _index_of(states, trees), self._answers
        if self._index is not index:
            self._index = index
            answers.clear()
            answers[""] = is_unchanged(*index.packed())
        for runtime in index.runtimes_of(opened):
            if (name := f"{runtime}/") not in answers:
                answers[name] = is_unchanged(*index.packed(runtime))
            if not answers[name]:
                return False
        for path in opened - answers.keys():
            answers[path] = path not in states or _has_ctime(path, states[path])
        return answers[""] and all(answers[path] for path in opened)


def _has_ctime(path: str, ctime: int) -> bool:
    try:
        return os.lstat(path).st_ctime_ns == ctime
    except OSError:
        return False


class _StateIndex:
    """States, sorted by what they decide: `always`, and by runtime the directories that decide only if something of the
    runtime was opened."""

    __slots__ = ("_packed", "_runtimes", "always", "large", "states")

    def __init__(self, states: Mapping[str, int], trees: Iterable[str]) -> None:
        self.states = states
        self._packed: dict[str, tuple[bytes, bytes]] = {}
        self._runtimes: dict[str, str] = {}  # of files that tasks opened
        self.always: dict[str, int] = {}
        self.large: dict[str, dict[str, int]] = {}
        directories = {*trees}
        for path, state in states.items():
            if path in directories:
                self.large.setdefault(_runtime(path), {})[path] = state
            elif path.rpartition("/")[0] not in directories:
                self.always[path] = state
        sizes: dict[str, int] = {}
        for path in directories:
            runtime = _runtime(path)
            sizes[runtime] = sizes.get(runtime, 0) + 1
        for runtime, members in [*self.large.items()]:
            if sizes[runtime] <= MANY:
                self.always.update(self.large.pop(runtime))
            else:
                self.always.update((path, state) for path, state in members.items() if path.count("/") <= _NEAR)

    def packed(self, runtime: str = "") -> tuple[bytes, bytes]:
        """Returns `always`, or what decides for a large runtime, as `pack` does, which is done once: it takes 2 ms for
        1,500 paths."""
        if runtime not in self._packed:
            self._packed[runtime] = pack(self.large[runtime] if runtime else self.always)
        return self._packed[runtime]

    def runtimes_of(self, opened: frozenset[str]) -> set[str]:
        """Returns the large runtimes that these files are in."""
        if not self.large:
            return set()
        known = self._runtimes
        for path in opened - known.keys():
            known[path] = _runtime(path)
        return {known[path] for path in opened} & self.large.keys()

    def of_opened(self, opened: frozenset[str]) -> dict[str, int]:
        """Returns the states that decide a task because it opened these files, with some that always do."""
        decisive: dict[str, int] = {}
        for runtime in self.runtimes_of(opened):
            decisive.update(self.large[runtime])
        decisive.update((path, self.states[path]) for path in opened if path in self.states)
        return decisive


_last_index: list[_StateIndex] = []  # of the machine: all tasks of a run see one
_index_lock = _thread.allocate_lock()


def _index_of(states: Mapping[str, int], trees: Iterable[str]) -> _StateIndex:
    """Returns the index of states, which is made once for one mapping: that takes 20 ms for 20,000 files."""
    with _index_lock:
        last = _last_index[-1] if _last_index else None
        if last is None or last.states is not states:
            last = _StateIndex(states, trees)
            _last_index[:] = [last]
        return last


def index_ahead(states: Mapping[str, int], trees: Iterable[str]) -> None:
    """Begins to make the index of states in a thread: the tasks that it is for still run."""
    if not _last_index or _last_index[-1].states is not states:
        from threading import Thread

        Thread(target=lambda: _index_of(states, trees).packed(), name="index", daemon=True).start()


def _runtime(path: str) -> str:
    """Returns the directory of an installation that a path belongs to, roughly: `/usr/local/go/src`,
    `/usr/local/lib/ruby`."""
    return "/".join(path.split("/", _RUNTIME + 1)[: _RUNTIME + 1])

"""What this process has open and running: descriptors, threads, processes and mounts, and which of them a test leaves.

Others begin and end some at any moment: a thread of ours closes a file behind a call that has returned, and a server
that another test's fixture started answers on threads of this process. So two lists of two moments may differ though
nothing is left, in either direction. What a test leaves stays: `nothing_left` waits for the end of the new ones.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator

SECONDS = 30.0  # what is left after them, stays
Look = Callable[[], dict[Hashable, str]]


def descriptors() -> dict[Hashable, str]:
    """Returns the descriptors of this process, by number, device and inode, each with what the kernel calls it. That
    name changes: when a file is removed, and when the container ends that a directory belongs to."""
    found: dict[Hashable, str] = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the list itself, and what another thread has closed
            state = os.fstat(int(number))
            found[number, state.st_dev, state.st_ino] = f"descriptor {number}: {os.readlink(f'/proc/self/fd/{number}')}"
    return found


def threads() -> dict[Hashable, str]:
    """Returns the threads of this process, also those that `threading` does not know, with their names."""
    names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    return {number: f"thread {number}: {names.get(number, '')}" for number in os.listdir("/proc/self/task")}


def processes() -> dict[Hashable, str]:
    """Returns the processes below this one, also those that have ended and that nobody has waited for, by number and
    start time, with their command lines."""
    parents, starts = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
                parents[int(name)], starts[int(name)] = int(fields[1]), fields[19]
    numbers: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in numbers | {os.getpid()}} - numbers:
        numbers |= more
    return {(number, starts[number]): f"process {number}: {_command(number)}" for number in numbers}


def _command(number: int) -> str:
    try:
        with open(f"/proc/{number}/cmdline", errors="replace") as file:
            return file.read().replace("\0", " ")
    except OSError:
        return "has ended"


def mounts() -> dict[Hashable, str]:
    """Returns the mounts that this process sees, without those in another test's place: tests of other processes of
    this run make them."""
    with open("/proc/self/mountinfo") as file:
        return {row: f"mount {row.rstrip()}" for row in file if "/envtool-e2e-" not in row}


@contextlib.contextmanager
def nothing_left(*looks: Look) -> Iterator[None]:
    """Fails, with their names, if things that `looks` see begin in the body, and are still there after SECONDS. It is no
    failure that one ends which was there before the body."""
    before = [look() for look in looks]
    yield
    left = _new(looks, before)
    deadline = time.monotonic() + SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        now = _new(looks, before)
        left = {key: name for key, name in left.items() if key in now}
    assert not left, "left behind: " + "; ".join(left.values())


def _new(looks: tuple[Look, ...], before: list[dict[Hashable, str]]) -> dict[Hashable, str]:
    found = {}
    for look, then in zip(looks, before, strict=True):
        found |= {(look.__name__, key): name for key, name in look().items() if key not in then}
    return found

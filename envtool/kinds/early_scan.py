"""A scan of this machine that begins before the spec is read, in a process of its own: for the kind `host`.

A run with a base of kind `host` has to know the state of some 30,000 files before its first task, which takes 150 ms.
The process is forked before this one has threads, and the run imports its modules and plans meanwhile. What changes
between the scan and a task is found as ever, by the ctimes, when the task is recorded.

    this process --fork--> the scan --memory file--> `take`, for the first question of the kind
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` takes 2 ms for its enumerations
import fcntl
import marshal
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.kinds.host_files import HostFiles

_VALID_SECONDS = 5.0  # from the beginning of a scan to the question that it answers
_BASE, _BEFORE, _NAME = b"base:", b" \t\r\n{'\"", b"host"
_FLOOR = 10  # descriptors of the process begin here
# its process, lifeline and memory file, and when it began, on the monotonic clock
_begun: list[tuple[int, int, int, float]] = []


def is_expected(spec: bytes) -> bool:
    """Returns whether the text of a spec looks like one with a base of kind `host`. A wrong guess costs some processor
    time, or leaves the scan to this process.
    """
    for part in spec.split(_BASE)[1:]:
        rest = part[:200].lstrip(_BEFORE)
        following = rest[len(_NAME) : len(_NAME) + 1]
        if rest.startswith(_NAME) and not following.isalnum() and following not in (b"-", b"_"):
            return True
    return False


def begin() -> None:
    """Begin to scan, unless that has begun, or there is one processor only. The caller has no other thread. Where there
    can be no process, nothing happens: the kind scans by itself.
    """
    if _begun or len(os.sched_getaffinity(0)) < 2:
        return
    opened: list[int] = []
    try:
        read, write = os.pipe()
        opened += [read, write]
        memory = os.memfd_create("scan", os.MFD_CLOEXEC)
        opened.append(memory)
        child = os.fork()
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        return
    if child == 0:
        try:
            _scan(read, memory)
        finally:
            os._exit(1)
    os.close(read)
    _begun.append((child, write, memory, time.monotonic()))


def take() -> HostFiles | None:
    """Returns what was scanned, for the caller alone, once the scan is done. None if none has begun, if it began too
    long ago, or if it failed. Called by any thread.
    """
    try:
        child, lifeline, descriptor, began = _begun.pop()  # by one thread: others find nothing
    except IndexError:
        return None
    from envtool.kinds.host_files import HostFiles

    try:
        if late := time.monotonic() - began > _VALID_SECONDS:
            os.kill(child, _signal.SIGKILL)
        if os.waitpid(child, 0)[1] != 0 or late:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return HostFiles(*marshal.load(file))  # noqa: S302 - of a process that this one has forked
    finally:
        os.close(descriptor)
        os.close(lifeline)


def end() -> None:
    """End a scan that nobody took."""
    while _begun:
        child, lifeline, memory, _ = _begun.pop()
        os.kill(child, _signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(memory)
        os.close(lifeline)


def _scan(lifeline: int, descriptor: int) -> None:
    """The work of the process, which ends here. It has no descriptor but its two, so that nobody waits for its end who
    waits for the end of this run's output, and ends with the other end of `lifeline`.
    """
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGIO):
        _signal.signal(number, _signal.SIG_DFL)
    lifeline, descriptor = (fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _FLOOR) for each in (lifeline, descriptor))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    low, high = sorted((lifeline, descriptor))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, 1 << 20)
    # the kernel sends SIGIO, which ends a process, when the last copy of the other end is closed (fcntl(2), F_SETOWN)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(lifeline, 1)
        os._exit(1)  # it was closed before
    except BlockingIOError:
        pass
    from envtool.kinds.host_files import LEFT_OUT, scan_host

    found = scan_host(LEFT_OUT)
    with open(descriptor, "wb", closefd=False) as file:
        marshal.dump((found.digest, found.etc, found.states, found.trees, found.unseen), file)
    os._exit(0)

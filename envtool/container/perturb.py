"""Varies what must not matter between two runs, inside a container (`envtool verify`).

The order of directories: the kernel asks a process of ours about every getdents64(2) of a step (seccomp_unotify(2)).
That process reads the whole directory through the very same open file (pidfd_getfd(2)) and returns its entries sorted
by name, or in reverse. So the order depends neither on the file system nor on the layer that a directory is in, nor on
when it was made. The position of the open file is then the number of entries that were returned: rewinddir and seekdir
work.

Runs in the container, where nothing can be imported any more.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import fcntl
import os
import select
import sys
from ctypes import create_string_buffer

from envtool.container import syscalls

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND: include/uapi/linux/seccomp.h
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_READ = 1 << 16
_MAX_LISTINGS = 512  # listings that are kept while they are read


class ContainerPerturber:
    """One container's variation: call `begin` once in pid 1, then `install_filter` in every step."""

    def __init__(self, order: str, processors: int, pids: int) -> None:
        self.order, self.processors, self.pids = order, processors, pids
        self._seed = os.getpid()  # so that several containers do not share one processor
        self._lister: _socket.socket | None = None

    def begin(self) -> None:
        """Restrict the processors, use up process ids and, with an order, start the process that answers."""
        if self.processors:
            allowed = sorted(os.sched_getaffinity(0))
            first = self._seed % len(allowed)
            os.sched_setaffinity(0, (allowed + allowed)[first : first + min(self.processors, len(allowed))])
        for _ in range(self.pids):
            if not (child := os.fork()):
                os._exit(0)
            os.waitpid(child, 0)
        if self.order:
            near, self._lister = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            if not os.fork():
                try:
                    for number in (1, 2, 3, 10, 12, 15):
                        _signal.signal(number, _signal.SIG_IGN)
                    syscalls.close_all_but({0, 1, 2, near.fileno()})
                    _DirectoryLister(near, backward=self.order == "backward").serve()
                finally:
                    os._exit(1)
            near.close()

    def needed_descriptors(self) -> set[int]:
        """Returns the descriptors that `install_filter` needs."""
        return set() if self._lister is None else {self._lister.fileno()}

    def install_filter(self, code: bytes) -> None:
        """Install the filter of a step and hand its notifications to the process that answers."""
        if self._lister is None:
            syscalls.load_seccomp(code)
            return
        listener = syscalls.load_seccomp(code, listen=True)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))
        self._lister.sendmsg([b"l"], [rights])
        os.close(listener)
        self._lister.close()


class _DirectoryLister:
    """Answers notifications about directories until it is killed with the container."""

    def __init__(self, sock: _socket.socket, *, backward: bool) -> None:
        self.sock, self.backward = sock, backward
        self.listings: dict[tuple[int, int], list[bytes]] = {}

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while True:
            for descriptor, events in poll.poll():
                if descriptor == self.sock.fileno():
                    _, rights, _, _ = self.sock.recvmsg(1, 64)
                    if not rights:
                        poll.unregister(descriptor)
                        continue
                    listener = int.from_bytes(rights[0][2][:4], sys.byteorder)
                    poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(descriptor)
                else:  # every process of that step is gone
                    poll.unregister(descriptor)
                    os.close(descriptor)

    def _answer(self, listener: int) -> None:
        notification = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, notification)
        except OSError:  # the process that asked was killed
            return
        process = int.from_bytes(notification[8:12], sys.byteorder)
        first, second, third = (int.from_bytes(notification[at : at + 8], sys.byteorder) for at in (32, 40, 48))
        value, error, flags, undo = 0, 0, 0, None
        try:
            value, undo = self._give_entries(process, first & 0xFFFFFFFF, second, third & 0xFFFFFFFF)
        except _KernelError as refusal:
            error = -refusal.number
        except OSError:  # a process that we may not look into gets the order of the kernel
            flags = _CONTINUE
        reply = b"".join((
            bytes(notification[:8]),
            value.to_bytes(8, sys.byteorder, signed=True),
            error.to_bytes(4, sys.byteorder, signed=True),
            flags.to_bytes(4, sys.byteorder),
        ))  # fmt: skip
        try:
            fcntl.ioctl(listener, _SEND, bytearray(reply))
        except OSError:  # a signal came: the process will ask again, from the old position
            if undo is not None:
                os.lseek(*undo, os.SEEK_SET)
        finally:
            if undo is not None:
                os.close(undo[0])

    def _give_entries(self, process: int, number: int, address: int, size: int) -> tuple[int, tuple[int, int]]:
        """Write the next entries to the process. Returns the number of bytes, and (descriptor, position) to undo it."""
        directory = _duplicate_descriptor(process, number)
        try:
            position = os.lseek(directory, 0, os.SEEK_CUR)
            key = (process, number)
            if position == 0 or key not in self.listings:
                if len(self.listings) >= _MAX_LISTINGS:
                    del self.listings[next(iter(self.listings))]
                self.listings[key] = _read_entries(directory, backward=self.backward)
                os.lseek(directory, position, os.SEEK_SET)
            records, count = _take_records(self.listings[key][position:], position, size)
            if not count:
                del self.listings[key]
            else:
                memory = os.open(f"/proc/{process}/mem", os.O_RDWR | os.O_CLOEXEC)
                try:
                    os.pwrite(memory, records, address)
                finally:
                    os.close(memory)
                os.lseek(directory, position + count, os.SEEK_SET)
        except BaseException:
            os.close(directory)
            raise
        return len(records), (directory, position)


class _KernelError(Exception):
    """The error that the kernel itself would answer the call with."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _duplicate_descriptor(process: int, number: int) -> int:
    """Returns a descriptor of the very same open file."""
    try:
        handle = syscalls.syscall("pidfd_open", process, 0)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOENT):  # a thread that is not the first of its process
            raise
        with open(f"/proc/{process}/status", "rb") as file:
            (leader,) = [line.split()[1] for line in file.read().split(b"\n") if line.startswith(b"Tgid:")]
        handle = syscalls.syscall("pidfd_open", int(leader), 0)
    try:
        return syscalls.syscall("pidfd_getfd", handle, number, 0)
    finally:
        os.close(handle)


def _read_entries(directory: int, *, backward: bool) -> list[bytes]:
    """Returns all records (struct linux_dirent64) of an open directory, sorted."""
    os.lseek(directory, 0, os.SEEK_SET)
    entries: list[tuple[bytes, bytes]] = []
    buffer = create_string_buffer(_READ)
    while True:
        try:
            size = syscalls.getdents(directory, buffer, _READ)
        except OSError as problem:
            raise _KernelError(problem.errno or errno.EIO) from None
        if not size:
            break
        block, position = buffer.raw[:size], 0
        while position < size:
            length = int.from_bytes(block[position + 16 : position + 18], sys.byteorder)
            record = block[position : position + length]
            entries.append((record[19:].split(b"\0", 1)[0], record))
            position += length
    entries.sort(reverse=backward)
    return [record for _, record in entries]


def _take_records(records: list[bytes], position: int, size: int) -> tuple[bytes, int]:
    """Returns as many records as `size` bytes hold, each with the position after it, and their number."""
    taken: list[bytes] = []
    used = 0
    for record in records:
        if used + len(record) > size:
            if not taken:
                raise _KernelError(errno.EINVAL)
            break
        used += len(record)
        after = position + len(taken) + 1
        taken.append(record[:8] + after.to_bytes(8, sys.byteorder) + record[16:])
    return b"".join(taken), len(taken)

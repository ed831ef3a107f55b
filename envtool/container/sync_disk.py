"""Calls syncfs(2) in a child process: a process that waits for the disk cannot be killed, and envtool must end when it
is interrupted.
"""

from __future__ import annotations

import ctypes
import os
import select

from envtool.container import syscalls, userns
from envtool.errors import Interrupted


def syncfs(path: str, cancel: int = -1) -> None:
    """Write everything on the file system of a directory to its disk. Raises OSError, and Interrupted once the
    descriptor `cancel` is readable: the child then goes on by itself.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    library = ctypes.CDLL(None, use_errno=True)
    try:
        with userns.fork_lock:
            up, down = os.pipe()
            child = userns.fork()
            if child == 0:
                _run_syncfs(library, directory, down)
            os.close(down)
    finally:
        os.close(directory)
    try:
        poll = select.poll()
        for descriptor in (up, *([cancel] if cancel >= 0 else [])):
            poll.register(descriptor, select.POLLIN)
        if not any(descriptor == up for descriptor, _ in poll.poll()):
            raise Interrupted
        number = int(os.read(up, 16) or b"5")  # EIO if the child was killed
        os.waitpid(child, 0)
    finally:
        os.close(up)
    if number:
        raise OSError(number, os.strerror(number), path)


def _run_syncfs(library: ctypes.CDLL, directory: int, down: int) -> None:
    number = 5
    try:
        syscalls.close_all_but({directory, down})  # a descriptor of our parent may hold a lock
        number = ctypes.get_errno() if library.syncfs(directory) else 0
        os.write(down, b"%d" % number)
    finally:
        os._exit(0)

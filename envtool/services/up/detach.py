"""Starts a process that outlives the terminal: a new program in a session of its own, whose parent becomes init.

It inherits one descriptor: a socket, on which it reports to the process that started it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from typing import Any

import envtool
from envtool.container import syscalls, userns

REPORT = 3  # the descriptor of the socket in the new process
_MAX_ARGUMENTS = 1 << 18  # bytes
_FLOOR = 10  # the lowest descriptor that is not one of the child's first ones


def spawn_detached(module: str, arguments: dict[str, Any]) -> socket.socket:
    """Starts `main(arguments, socket)` of a module in a process of its own. Returns the caller's end of the socket.
    Raises OSError."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = (
        f"import sys; sys.path[:] = {_import_path()!r}\n"
        "from envtool.services.up.detach import run_detached\n"
        f"run_detached({module!r})"
    )
    with far, userns.fork_lock:
        high = fcntl.fcntl(far.fileno(), fcntl.F_DUPFD_CLOEXEC, _FLOOR)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        keeps_errors = bool(os.environ.get("ENVTOOL_DEBUG"))
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, null, number) for number in ((0, 1) if keeps_errors else (0, 1, 2))]
        actions.append((os.POSIX_SPAWN_DUP2, high, REPORT))
        try:
            child = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", code],
                dict(os.environ),
                file_actions=actions,
                setsid=True,
            )
        finally:
            os.close(high)
            os.close(null)
    os.waitpid(child, 0)  # it forks at once, and ends
    near.send(json.dumps(arguments).encode())  # not on the command line, which every user can read
    return near


def run_detached(module: str) -> None:
    """Calls the module, in the new process. Forks before: a process that is no session leader never gets a controlling
    terminal. Closes all other descriptors."""
    if os.fork():
        os._exit(0)
    syscalls.close_all_but({0, 1, 2, REPORT})
    os.set_inheritable(REPORT, False)
    os.chdir("/")
    from importlib import import_module

    report = socket.socket(fileno=REPORT)
    if arguments := report.recv(_MAX_ARGUMENTS):  # b"": the process that started this one was killed
        import_module(module).main(json.loads(arguments), report)
    os._exit(0)


def _import_path() -> list[str]:
    """Returns sys.path for the new process: that of this process, without the current directory."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(envtool.__file__)))
    return [*dict.fromkeys([ours, *(path for path in sys.path if os.path.isabs(path))])]

"""Starts the processes of a pod (pod.py); a holder may start before it is known which pod it will hold.

The command line imports this before it has read its spec: nothing here takes long to import.
"""

from __future__ import annotations

import fcntl
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RESOLVER = ("LOCALDOMAIN", "RES_OPTIONS")  # variables that change how names are looked up (resolver(3))
_FLOOR = 10  # descriptors from here on are not those of standard streams
_SIGKILL = 9
EARLY_SPARE = 2  # members that an early holder makes ahead: a service, and the container that uses it

_early: list[tuple[int, int, int]] = []  # at most one: its process, our end of its lifeline, our socket to it


def spawn(code: str, given: tuple[int, int, int], read: int) -> int:
    """Start one of a pod's processes. It gets the descriptors CONTROL, LINK and POLICY of pod_process.py (-1: none),
    and `read`, which is closed here, as LIFELINE. Returns its number. Raises OSError.
    """
    ends: dict[int, int] = {}
    try:
        for place, number in zip((0, 3, 4, 1), (*given, read), strict=True):
            if number >= 0:
                ends[place] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FLOOR)
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, end, place) for place, end in ends.items()]
        if given[0] < 0:
            actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
        if not os.environ.get("ENVTOOL_DEBUG"):
            actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        # A process group of its own: ^C at the terminal is for tasks, which need the network while they end.
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {import_path()!r}\n{code}"],
            {"PATH": "/usr/bin:/bin", **{name: os.environ[name] for name in _RESOLVER if name in os.environ}},
            file_actions=actions,
            setpgroup=0,
        )
    finally:
        for end in (read, *ends.values()):
            os.close(end)


def holder_code(*, user: bool, kind: str, spare: int, policy: bool = False) -> str:
    """Returns the program of a holder: see `pod_holder.main`."""
    arguments = f"user={user!r}, kind={kind!r}, spare={spare!r}, policy={policy!r}"
    return f"from envtool.container.pod_holder import main\nmain({arguments})"


def import_path() -> list[str]:
    """Returns where a Python of its own imports from: as this process does, never the current directory."""
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [*dict.fromkeys([ours, *(path for path in sys.path if os.path.isabs(path))])]


# ---- a holder that starts before its pod ---------------------------------------------------------------------------


def start_early() -> None:
    """Start the holder of a pod of the usual sort, unless one waits already: it makes its networks while this process,
    which has no other thread yet, reads its spec. The first such pod takes it over; `end_early` ends one that no pod
    took. Where it cannot be started, the pod reports that.
    """
    import _socket

    if _early:
        return
    opened: list[int] = []
    try:
        ours, control = (end.detach() for end in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET))
        opened += [ours, control]
        read, write = os.pipe()
        opened.append(write)
        child = spawn(holder_code(user=True, kind="", spare=EARLY_SPARE), (control, -1, -1), read)
        _early.append((child, write, ours))
        opened[:] = [control]
    except OSError:
        pass
    finally:
        for end in opened:
            os.close(end)


def take_early() -> tuple[int, int, int] | None:
    """Returns a holder that no pod has taken, for the caller alone: its process, and our ends of its lifeline and of
    its socket, as descriptors. None if there is none.
    """
    try:
        return _early.pop()  # by one thread: others find nothing
    except IndexError:
        return None


def end_early() -> None:
    """End a holder that no pod took."""
    if early := take_early():
        child, lifeline, sock = early
        os.kill(child, _SIGKILL)
        os.close(lifeline)
        os.close(sock)
        os.waitpid(child, 0)

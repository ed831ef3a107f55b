"""What the two processes of a pod, its holder and its gateway, share: they end with their caller, open few files, and
get what they serve from a memory file.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys

from envtool.container import messages, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CONTROL, LIFELINE, LINK, POLICY = 0, 1, 3, 4  # descriptors that they are started with; 2 is standard error
_ALL_FILE_RIGHTS = (1 << 13) - 1  # LANDLOCK_ACCESS_FS_*
WRITE, READ, READ_DIRECTORY = 1 << 1, 1 << 2, 1 << 3


def die_with_caller() -> None:
    """Be killed when the caller ends, which alone has the other end of the pipe LIFELINE. Called again after a change
    of ids: the kernel compares those of then and now.
    """
    fcntl.fcntl(LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(LIFELINE, fcntl.F_SETSIG, syscalls.SIGKILL)
    fcntl.fcntl(LIFELINE, fcntl.F_SETFL, fcntl.fcntl(LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(LIFELINE, 0)
    if poll.poll(0):  # it had ended before
        os._exit(1)


def confine_files(paths: Iterable[str], rights: int) -> None:
    """Let this thread, and those that it starts, open only what is below these paths, with these rights, where the
    kernel can do so (landlock(7), Linux 5.13). Paths that do not exist are left out.
    """
    try:
        rules = syscalls.syscall("landlock_create_ruleset", _ALL_FILE_RIGHTS.to_bytes(8, "little"), 8, 0)
    except OSError:
        return
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        below = rights.to_bytes(8, "little") + place.to_bytes(4, sys.byteorder)
        syscalls.syscall("landlock_add_rule", rules, 1, below, 0)  # LANDLOCK_RULE_PATH_BENEATH
        os.close(place)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.syscall("landlock_restrict_self", rules, 0)
    os.close(rules)


def write_policy(*values: int | str) -> int:
    """Returns a descriptor of a memory file with one message, for `read_policy` in another process."""
    descriptor = os.memfd_create("policy", os.MFD_CLOEXEC)
    os.write(descriptor, messages.pack(*values))
    return descriptor


def read_policy() -> tuple[int | str, ...]:
    """Returns the message of the memory file POLICY, which is closed."""
    data = os.pread(POLICY, os.fstat(POLICY).st_size, 0)
    os.close(POLICY)
    return messages.unpack(data)

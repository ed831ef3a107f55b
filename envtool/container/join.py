"""Lets a container be made in namespaces of another one: its network, its System V IPC, its host name.

They come as descriptors, never by a process number or path that another process could have taken: pid 1 of the other
container opens its own and sends them. A namespace exists until its last descriptor is closed, whatever becomes of that
container.

Who owns a network namespace decides who may enter it. So the user namespace is entered too, first: both containers have
the same ids, and the capabilities that a container's root keeps apply to the network that they share. Their processes,
mounts and files stay apart.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import sys

from envtool.container import messages, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.container.execution import RunningContainer

# The file in /proc/PID/ns, and the flag of setns(2), of each namespace; in the order in which they are entered.
_FLAGS = {
    "user": ("user", syscalls.CLONE_NEWUSER),
    "network": ("net", syscalls.CLONE_NEWNET),
    "ipc": ("ipc", syscalls.CLONE_NEWIPC),
    "uts": ("uts", syscalls.CLONE_NEWUTS),
}
KINDS = tuple(_FLAGS)[1:]
_GET_TYPE = 0xB703  # NS_GET_NSTYPE (ioctl_nsfs(2))


class Namespaces:
    """Namespaces that a container can be made in, as descriptors by name ("user", "network" …), and a context that
    closes them. Takes the descriptors over. Raises ValueError for a descriptor that is not what its name says.
    """

    def __init__(self, descriptors: dict[str, int]) -> None:
        self.descriptors = descriptors
        for name, descriptor in descriptors.items():
            if name not in _FLAGS or _type_of(descriptor) != _FLAGS[name][1]:
                self.close()
                raise ValueError(f"descriptor {descriptor} is no {name} namespace")
        if "user" not in descriptors:
            self.close()
            raise ValueError("other namespaces are entered from their user namespace, which is not among these")

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


def _type_of(descriptor: int) -> int:
    try:
        return fcntl.ioctl(descriptor, _GET_TYPE)
    except OSError:
        return 0


def ask_namespaces(supervisor: RunningContainer, kinds: tuple[str, ...]) -> Namespaces:
    """Returns namespaces of a running container. Raises ValueError for a kind that cannot be joined, SandboxError."""
    from envtool.container import execution

    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(KINDS)}")
    if "network" in kinds and supervisor.program["network"]:
        raise ValueError("that container has this machine's network, and none of its own")
    channel = execution.send_request(supervisor, messages.pack("namespaces"))
    try:
        message, received = execution.receive(channel, execution.ANSWER_SECONDS)
    finally:
        channel.close()
    if len(received) != len(_FLAGS) or message != ("namespaces",):
        for descriptor in received:
            os.close(descriptor)
        match message:
            case ():
                raise execution.ended()
            case ("error", str(stage), int(number), str(text)):
                raise execution.start_error(stage, number, text)
        raise execution.broken("it sent a message out of turn")
    named = dict(zip(_FLAGS, received, strict=True))
    for name in [*named]:
        if name not in ("user", *kinds):
            os.close(named.pop(name))
    try:
        return Namespaces(named)
    except ValueError as error:
        raise execution.broken(str(error)) from None


def send_namespaces(channel: _socket.socket) -> None:
    """In pid 1: send descriptors of its own namespaces. Raises OSError."""
    descriptors: list[int] = []
    try:
        for file, _ in _FLAGS.values():
            descriptors.append(os.open(f"/proc/self/ns/{file}", os.O_RDONLY | os.O_CLOEXEC))
        rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors)
        message = messages.pack("namespaces")
        channel.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)], _socket.MSG_DONTWAIT)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def enter_namespaces(descriptors: dict[str, int], ids: userns.IdMaps, user: str) -> int:
    """In the helper: enter namespaces. Returns their flags. Raises StageError, also where their ids are other ones than
    the container's would be.
    """
    flags = 0
    for name, (_, flag) in _FLAGS.items():  # the user namespace comes first: it gives the rights to the others
        if name not in descriptors:
            continue
        try:
            syscalls.syscall("setns", descriptors[name], flag)
        except OSError as error:
            raise messages.StageError("join", error) from error
        os.close(descriptors[name])
        flags |= flag
    for file, extents in zip(("uid_map", "gid_map"), ids.extents(user=user == "user"), strict=True):
        with open(f"/proc/self/{file}", "rb") as lines:
            found = sorted(tuple(map(int, line.split())) for line in lines)
        if found != sorted(extents):
            raise messages.StageError("join", OSError(), "its user ids are other ones")
    return flags

"""The process that holds a pod: it owns the pod's user and network namespaces, makes members' networks, answers their
queries for names, and joins published ports with them. pod.py starts it, and tells it what to do.

    start -> namespaces -> pyroute2 is imported (a child writes the id maps meanwhile) -> hub -> "up" -> loop

It is a program of its own, so that it has none of the caller's memory or descriptors. It dies with its caller, whatever
ends that: the caller alone has the other end of a pipe, and when that closes, the kernel kills the holder (fcntl(2),
F_SETSIG), even a stopped one. PR_SET_PDEATHSIG would do so when the caller's *thread* ends that started it.

In the loop it holds what the work of the loop needs: the capabilities to make networks of its own namespace, no way to
start or signal a process, no sockets but of IP and netlink (seccomp.build_holder_filter), no files but settings of
networks. Nothing is imported any more: the ids that it has then may not be allowed to read the installation.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import select
import selectors
import socket
import sys
from typing import Any, NoReturn

from envtool.container import messages, seccomp, syscalls, userns

CONTROL, LIFELINE = 0, 1  # descriptors that it is started with
MESSAGE = 1 << 18  # bytes of the largest message
_ANCILLARY = 64  # bytes
_TITLE = b"envtool: the network of a pod"
_CAPABILITIES = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN: of its own user namespace
_ALL_FILE_RIGHTS, _READ_AND_WRITE = (1 << 13) - 1, 1 << 1 | 1 << 2  # LANDLOCK_ACCESS_FS_*
_MAX_FILES = 16384
_RESERVED_FILES = 256


class _StageError(Exception):
    """A stage of the start failed: `report` is the message to the caller."""

    def __init__(self, stage: str, error: OSError) -> None:
        super().__init__(stage)
        self.report = ("error", stage, error.errno or 0, str(error.strerror or error))


def main(*, user: bool, kind: str, spare: int) -> NoReturn:
    """Hold a pod until the caller ends. `user`: a single id is 1000. `kind`: of the hub ("": what the kernel has).
    `spare`: the number of members whose networks are made before they are asked for.
    """
    gc.disable()  # until all is imported
    _die_with_caller()
    syscalls.command_line_range()
    syscalls.set_process_title(_TITLE)
    control = socket.socket(fileno=CONTROL)
    try:
        holder = _Holder(control, *_begin(user, kind), spare)
        gc.freeze()
        gc.enable()
        holder.serve()
    except _StageError as error:
        _send(control, *error.report)
    except OSError as error:
        _send(control, "error", getattr(error, "stage", "network"), error.errno or 0, str(error.strerror or error))
    except BaseException as error:
        _send(control, "error", "internal", 0, f"{type(error).__name__}: {error}"[:2000])
    os._exit(1)


def _die_with_caller() -> None:
    fcntl.fcntl(LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(LIFELINE, fcntl.F_SETSIG, syscalls.SIGKILL)
    fcntl.fcntl(LIFELINE, fcntl.F_SETFL, fcntl.fcntl(LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(LIFELINE, 0)
    if poll.poll(0):  # it had ended before
        os._exit(1)


def _begin(user: bool, kind: str) -> tuple[Any, int]:
    """Returns the hub, made in new namespaces, and a descriptor of the user namespace. Raises _StageError, OSError."""
    ids = userns.caller_ids()
    finish_maps = _start_mapper(ids, user)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
    except OSError as error:
        raise _StageError("unshare", error) from error
    namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finish_maps(begun=True)
    from envtool.container import attempts, dns, name_server, network, publish, service_table  # noqa: F401

    network.warm_up()
    finish_maps()
    userns.become_root(ids.mode)
    _die_with_caller()  # the kernel compares the ids of then and now
    os.umask(0o077)
    return network.Hub(kind), namespace


def _confine_files() -> None:
    """Let this process open nothing but settings of networks, where the kernel can do so (landlock(7), Linux 5.13):
    with a single id it has the caller's, and could else read and change the caller's files.
    """
    try:
        rules = syscalls.syscall("landlock_create_ruleset", _ALL_FILE_RIGHTS.to_bytes(8, "little"), 8, 0)
    except OSError:
        return
    settings = os.open("/proc/sys/net", os.O_PATH | os.O_CLOEXEC)
    below = _READ_AND_WRITE.to_bytes(8, "little") + settings.to_bytes(4, sys.byteorder)
    syscalls.syscall("landlock_add_rule", rules, 1, below, 0)  # LANDLOCK_RULE_PATH_BENEATH
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.syscall("landlock_restrict_self", rules, 0)
    os.close(settings)
    os.close(rules)


def _start_mapper(ids: userns.IdMaps, user: bool) -> Any:
    """Fork the child that will write this process's id maps: newuidmap, and root, must do it from the caller's
    namespace. Returns a function that lets it begin, and one call later waits for it; that raises _StageError.
    """
    holder = os.getpid()
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent(holder)
            os.close(down_write)
            if os.read(down_read, 1) == b"k":
                userns.write_map(holder, *ids.extents(user=user), ids.mode)
                os.write(up_write, messages.pack("ok"))
        except OSError as error:
            os.write(up_write, messages.pack("error", "ids", error.errno or 0, str(error.strerror or error)))
        finally:
            os._exit(0)
    os.close(down_read)
    os.close(up_write)

    def finish(*, begun: bool = False) -> None:
        if begun:
            os.write(down_write, b"k")
            return
        answer = os.read(up_read, 65536)
        os.close(down_write)
        os.close(up_read)
        os.waitpid(child, 0)
        report = messages.unpack(answer) if answer else ("error", "ids", 0, "no answer")
        if report != ("ok",):
            raise _StageError("ids", OSError(report[2], report[3]))

    return finish


def _send(control: socket.socket, *values: int | str, descriptors: tuple[int, ...] = ()) -> None:
    rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    try:
        control.sendmsg([messages.pack(*values)], ancillary)
    except OSError:  # the caller has ended, and so does this process
        os._exit(1)


class _Holder:
    """The loop: requests of the caller, members' queries and attempts, connections to published ports."""

    def __init__(self, control: socket.socket, hub: Any, namespace: int, spare: int) -> None:
        from envtool.container import network
        from envtool.container.attempts import Attempts
        from envtool.container.dns import DnsResolver
        from envtool.container.name_server import NameServer
        from envtool.container.publish import Publisher
        from envtool.container.relay import DESCRIPTORS
        from envtool.container.service_table import ServiceTable

        limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _MAX_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self._control, self._hub, self._namespace = control, hub, namespace
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._receive_request)
        self._table = ServiceTable()
        self._members: dict[str, Any] = {}
        self._spare, self._spares = spare, list[Any]()
        self._resolver = DnsResolver(self._table)
        NameServer(self._selector, self._resolver, network.HUB_ADDRESS)
        # Half of the descriptors are for members: one is a descriptor of a namespace.
        self._publisher = Publisher(self._selector, self._table, max(1, (limit - _RESERVED_FILES) // 2 // DESCRIPTORS))
        self._attempts = Attempts(network.NETWORK, network.MASK)
        self._selector.register(self._attempts.socket, selectors.EVENT_READ, self._attempts.on_event)

    def serve(self) -> NoReturn:
        """Narrow this process's rights, and serve until it is killed."""
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # in single mode, members have its user id
        _confine_files()
        syscalls.limit_bounding_set(_CAPABILITIES)
        syscalls.set_capabilities(_CAPABILITIES)
        syscalls.load_seccomp(seccomp.build_holder_filter())
        _send(self._control, "up", self._hub.kind, descriptors=(self._namespace,))
        os.close(self._namespace)
        while True:
            making = len(self._spares) < self._spare
            for key, _ in self._selector.select(0 if making else None):
                key.data()
            if making:
                self._make_spare()

    def _make_spare(self) -> None:
        try:
            self._spares.append(self._hub.make_member())
        except OSError:  # the next request for a member reports it
            self._spare = 0

    def _receive_request(self) -> None:
        data, ancillary, _, _ = self._control.recvmsg(MESSAGE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        _, descriptors = messages.parse_ancillary(ancillary)
        try:
            values, given = self._handle_request(messages.unpack(data), descriptors)
            _send(self._control, *values, descriptors=given)
        except OSError as error:
            stage = getattr(error, "stage", "network")
            _send(self._control, "error", stage, error.errno or 0, str(error.strerror or error))
        except KeyError as error:
            _send(self._control, "error", "request", 0, f"`{error.args[0]}` is not in this pod")
        except ValueError as error:
            _send(self._control, "error", "request", 0, str(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _handle_request(
        self, request: tuple[int | str, ...], descriptors: list[int]
    ) -> tuple[tuple[int | str, ...], tuple[int, ...]]:
        """Carry out a request. Returns the reply and its descriptors. Raises OSError, KeyError and ValueError."""
        match request:
            case ("member", str(name), str(service), int(default_route)):
                return self._add_member(name, service, bool(default_route))
            case ("service", str(service)):
                self._table.declare(service)
            case ("ready", str(name), int(ready)):
                self._table.set_ready(name, ready=bool(ready))
            case ("remove", str(name)):
                self._table.remove(name)
                self._hub.remove_member(self._members.pop(name.lower()))
            case ("publish", int(number), str(service), int(port)) if len(descriptors) == 1:
                self._publisher.add(number, socket.socket(fileno=descriptors.pop()), service, port)
            case ("unpublish", int(number)):
                self._publisher.remove(number)
            case ("socket",):  # of the hub's namespace: the caller, who is in none of them, connects it
                probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                descriptors.append(probe.detach())  # closed here once it is sent
                return ("socket",), (descriptors[-1],)
            case ("noted",):
                return ("noted", self._describe_noted()), ()
            case _:
                raise ValueError("not a request of ours")
        return ("ok",), ()

    def _add_member(
        self, name: str, service: str, default_route: bool
    ) -> tuple[tuple[int | str, ...], tuple[int, ...]]:
        self._table.check(name, service)
        member = self._spares.pop(0) if self._spares else self._hub.make_member()
        self._spare = max(self._spare - 1, 0)
        if default_route:
            self._hub.add_default_route(member)
        self._table.add(name, service, member.address)
        self._members[name.lower()] = member
        return ("member", member.address), (member.descriptor,)

    def _describe_noted(self) -> str:
        """Returns lines: "tcp" or "udp", address, port, number; "name", name, number; "more", number."""
        lines = [
            f"{protocol} {address} {port} {count}" for (protocol, address, port), count in self._attempts.noted.items()
        ]
        lines += [f"name {name} {count}" for name, count in self._resolver.unknown.items()]
        return "\n".join([*lines, f"more {self._attempts.more + self._resolver.more_unknown}"])

"""The process that holds a pod: it owns the pod's user and network namespaces, makes members' networks, answers their
queries for names, and joins published ports with them. pod.py starts it, and sends it requests.

    start -> namespaces -> imports (a child writes the id maps meanwhile) -> hub -> "up" -> loop

Where the pod has a policy for what is outside of it, a second process, the gateway (gateway.py), connects there.

It is a program of its own, so that it has none of the caller's memory or descriptors. It dies with its caller, whatever
ends that: the caller alone has the other end of a pipe, and when that closes, the kernel kills the holder (fcntl(2),
F_SETSIG; pod_process.py), even a stopped one. PR_SET_PDEATHSIG would do so when the caller's *thread* ends that started
it.

In the loop it holds what the work of the loop needs: the capabilities to make networks of its own namespace, no way to
start or signal a process, no sockets but of IP and netlink (seccomp.build_holder_filter), no files but settings of
networks. Nothing is imported any more: the ids that it has then may not be allowed to read the installation.
"""

from __future__ import annotations

import _socket
import gc
import os
import resource
import sys

from envtool.container import event_loop, messages, pod_process, seccomp, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MESSAGE = 1 << 18  # bytes of the largest message
_ANCILLARY = 64  # bytes
_TITLE = b"envtool: the network of a pod"
_CAPABILITIES = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN: of its own user namespace
_PAGE = 256  # destinations of one message
_MAX_FILES = 16384
_RESERVED_FILES = 256


class _StageError(Exception):
    """A stage of the start failed: `report` is the message to the caller."""

    def __init__(self, stage: str, error: OSError) -> None:
        super().__init__(stage)
        self.report = ("error", stage, error.errno or 0, str(error.strerror or error))


def main(*, user: bool, kind: str, spare: int, policy: bool = False) -> NoReturn:
    """Hold a pod until the caller ends. `user`: a single id is 1000. `kind`: of the hub ("": what the kernel has).
    `spare`: the number of members whose networks are made before they are asked for. `policy`: there is a gateway.
    """
    gc.disable()  # until all is imported
    pod_process.die_with_caller()
    syscalls.command_line_range()
    syscalls.set_process_title(_TITLE)
    control = _socket.socket(fileno=pod_process.CONTROL)
    try:
        holder = _Holder(control, *_begin(user, kind, policy), spare, policy)
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


def _import_network() -> None:
    """Load all that a holder without a policy needs."""
    from envtool.container import attempts, dns, name_server, network, publish, service_table  # noqa: F401

    network.load_messages()


def _begin(user: bool, kind: str, policy: bool) -> tuple[Any, int]:
    """Returns the hub, made in new namespaces, and a descriptor of the user namespace. Raises _StageError, OSError."""
    ids = userns.caller_ids()
    finish_maps = _start_mapper(ids, user)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
    except OSError as error:
        raise _StageError("unshare", error) from error
    namespace = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finish_maps(begun=True)
    _import_network()
    if policy:
        from envtool.container import network_compiler, network_policy, redirect  # noqa: F401

        network_compiler.warm_up()
    finish_maps()
    userns.become_root(ids.mode)
    pod_process.die_with_caller()  # the kernel compares the ids of then and now
    os.umask(0o077)
    from envtool.container import network

    return network.Hub(kind), namespace


def _confine_files() -> None:
    """Let this process open nothing but settings of networks, where the kernel can do so: with a single id it has the
    caller's, and could else read and change the caller's files.
    """
    pod_process.confine_files(("/proc/sys/net",), pod_process.READ | pod_process.WRITE)


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


def _send(control: _socket.socket, *values: int | str, descriptors: tuple[int, ...] = ()) -> None:
    rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
    try:
        control.sendmsg([messages.pack(*values)], ancillary)
    except OSError:  # the caller has ended, and so does this process
        os._exit(1)


class _Holder:
    """The loop: requests of the caller, members' queries and attempts, connections to published ports."""

    def __init__(self, control: _socket.socket, hub: Any, namespace: int, spare: int, policy: bool) -> None:
        from envtool.container import network_addresses
        from envtool.container.attempts import Attempts
        from envtool.container.dns import DnsResolver
        from envtool.container.name_server import NameServer
        from envtool.container.publish import Publisher
        from envtool.container.relay import DESCRIPTORS
        from envtool.container.service_table import ServiceTable

        limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _MAX_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self._control, self._hub, self._namespace = control, hub, namespace
        self._loop = event_loop.EventLoop()
        self._loop.register(control, event_loop.READ, self._receive_request)
        self._table = ServiceTable()
        self._members: dict[str, Any] = {}
        self._localhost: dict[str, list[int]] = {}  # ports at members' own loopback, by the name of the member
        self._spares: list[Any] = []
        self._spare = spare
        self._attempts = Attempts(network_addresses.NETWORK, network_addresses.MASK)
        self._redirector: Any = None
        self._resolver = DnsResolver(self._table, self._apply_policy() if policy else None)
        NameServer(self._loop, self._resolver, network_addresses.HUB_ADDRESS)
        # Half of the descriptors are for members: one is a descriptor of a namespace.
        self._publisher = Publisher(self._loop, self._table, max(1, (limit - _RESERVED_FILES) // 2 // DESCRIPTORS))
        self._loop.register(self._attempts.socket, event_loop.READ, self._attempts.on_event)

    def _apply_policy(self) -> Any:
        """Have connections to outside redirected to the gateway, as the policy says. Returns what names outside of the
        pod have as an address. Raises _StageError, OSError.
        """
        from envtool.container.address_book import AddressBook
        from envtool.container.network_policy import NetworkPolicy
        from envtool.container.redirect import Redirector

        learn, rules, *_ = pod_process.read_policy()
        policy, book = NetworkPolicy(str(rules).split(), learn=bool(learn)), AddressBook()
        self._hub.divert(policy.addresses, everywhere=policy.learn)
        link = _socket.socket(fileno=pod_process.LINK)
        message = link.recv(MESSAGE)
        if message != messages.pack("up"):
            raise _StageError("gateway", OSError(0, "its process has ended"))
        self._redirector = Redirector(self._loop, self._hub, policy, book, self._attempts, link, lambda: os._exit(1))
        self._attempts.redirect = self._redirector.on_packet
        return lambda name: book.address_of(name) if policy.has_name(name) else None

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
            self._loop.run_once(0 if making else None)
            if making:
                self._make_spare()

    def _make_spare(self) -> None:
        try:
            self._spares.append(self._hub.make_member())
        except OSError:  # the next request for a member reports it
            self._spare = 0

    def _receive_request(self) -> None:
        data, ancillary, _, _ = self._control.recvmsg(MESSAGE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        _, descriptors = messages.parse_ancillary(ancillary)
        try:
            values, given = self._handle_request(messages.unpack(data), descriptors)
            if values:
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
        """Carry out a request. Returns the reply (none: it has no values) and its descriptors. Raises OSError, KeyError
        and ValueError."""
        match request:
            case ("member", str(name), str(service), int(default_route)):
                return self._add_member(name, service, bool(default_route))
            case ("service", str(service)):
                self._table.declare(service)
            case ("ready", str(name), int(ready)):
                self._table.set_ready(name, ready=bool(ready))
            case ("remove", str(name)):
                self._table.remove(name)
                member = self._members.pop(name.lower())
                for opened in self._localhost.pop(name.lower(), ()):
                    self._publisher.remove(opened)
                if self._redirector is not None:
                    self._redirector.remove_member(member)
                self._hub.remove_member(member)
            case ("publish", int(number), str(service), int(port)) if len(descriptors) == 1:
                self._publisher.add(number, _socket.socket(fileno=descriptors.pop()), service, port)
            case ("localhost", int(number), str(name), str(service), int(port)) if 0 < port < 1 << 16:
                (listener,) = self._hub.listen_in(self._members[name.lower()], (("127.0.0.1", port),))
                self._publisher.add(number, listener, service, port)
                self._localhost.setdefault(name.lower(), []).append(number)
            case ("spare", int(spare)):
                self._spare = max(self._spare, spare - len(self._members))
                return (), ()
            case ("unpublish", int(number)):
                self._publisher.remove(number)
            case ("socket",):  # of the hub's namespace: the caller, who is in none of them, connects it
                probe = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
                descriptors.append(probe.detach())  # closed here once it is sent
                return ("socket",), (descriptors[-1],)
            case ("noted",):
                return ("noted", self._describe_noted()), ()
            case ("passed", int(start)):
                passed = [] if self._redirector is None else [*self._redirector.passed][start : start + _PAGE]
                return ("passed", "\n".join([f"{host} {port}" for host, port in passed])), ()
            case _:
                raise ValueError("not a request of ours")
        return ("ok",), ()

    def _add_member(
        self, name: str, service: str, default_route: bool
    ) -> tuple[tuple[int | str, ...], tuple[int, ...]]:
        self._table.check(name, service)
        member = self._spares.pop(0) if self._spares else self._hub.make_member()
        self._spare = max(self._spare - 1, 0)
        if default_route or self._redirector is not None:
            self._hub.add_default_route(member)
        if self._redirector is not None:
            self._redirector.add_member(member)
        self._table.add(name, service, member.address)
        self._members[name.lower()] = member
        return ("member", member.address), (member.descriptor,)

    def _describe_noted(self) -> str:
        """Returns lines: "tcp" or "udp", host, port, number, reason; "name", name, 0, number; "more", number."""
        lines = [
            f"{protocol} {host} {port} {count} {reason}"
            for (protocol, host, port, reason), count in self._attempts.noted.items()
        ]
        lines += [f"name {name} 0 {count} " for name, count in self._resolver.unknown.items()]
        return "\n".join([*lines, f"more {self._attempts.more + self._resolver.more_unknown}"])

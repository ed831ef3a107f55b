"""The network of one run. Its containers have addresses of their own, and reach each other by name, but nothing else.

A pod is a user namespace, and in it a network namespace for each member, joined by a bridge. A process of its own, the
holder (pod_holder.py), owns them and answers queries for names; this module is its caller's side. Containers are made
in a member's namespaces by their descriptors. All of it exists as long as the holder, which dies with this process.

    with Pod(spare=3) as pod:                       # returns at once: the holder starts meanwhile
        member = pod.add_member("db-1", service="db")     # waits until it is there
        pod.set_ready("db-1", ready=True)           # from now on `db` is its address
        port = pod.publish("db", 5432)              # on this machine's loopback

A container reaches nothing outside of its pod, except what a policy allows (network_policy.py has the rules):

    with Pod(allow=("pypi.example:443", "*.example.org:443")) as pod:
        ...
        pod.attempts()                              # what was tried beyond

Programs need no settings for it: an allowed name has an address, and a process on this machine's network, the gateway
(gateway.py), carries TCP connections to it unchanged. It carries no UDP. A name that is not allowed does not exist, a
port that is not allowed refuses connections at once, other addresses are unreachable.

Addresses are 10.64.0.0/16: private ones (RFC 1918), which servers take for a network of friends, in a part of them that
neither container engines nor home networks use by default. No packet leaves the pod: every pod has the same addresses,
whatever networks this machine is in. Names outside have addresses of 198.18.0.0/15 (RFC 2544).
"""

from __future__ import annotations

import _thread
import os
import socket
from contextlib import suppress

from envtool.container import messages, pod_spawn, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from envtool.container.join import Namespaces

RESOLVER = "10.64.0.1"
_MESSAGE, _ANCILLARY = 1 << 18, 128  # bytes
_SECONDS = 60  # that a request may take: the start of the holder on a busy machine, too


class Member:
    """One container's place in a pod: its name, address, and network namespace, a descriptor that the pod closes."""

    __slots__ = ("address", "name", "namespace")

    def __init__(self, name: str, address: str, namespace: int) -> None:
        self.name = name
        self.address = address
        self.namespace = namespace


class Attempt:
    """An attempt of members to reach something outside of the pod: an unknown name (`protocol` "name", `port` 0), or a
    host by "tcp" or "udp". `host` is a name, if the address came from one. `count` is the number of packets. `reason`
    says why an allowed host could not be reached; "": it is not allowed.
    """

    __slots__ = ("count", "host", "port", "protocol", "reason")

    def __init__(self, protocol: str, host: str, port: int, count: int, reason: str = "") -> None:
        self.protocol = protocol
        self.host = host
        self.port = port
        self.count = count
        self.reason = reason

    def __repr__(self) -> str:
        reason = f", {self.reason}" if self.reason else ""
        return f"Attempt({self.protocol} {self.host}:{self.port}, {self.count}{reason})"


class Pod:
    """The network of one run, as a context that leaves nothing of it. Any thread may call its methods.

    `user`: a single user id is 1000 in it, as in tasks, else 0. `spare`: how many members' networks are made before
    they are asked for. `kind` "bridge" or "routed": how they are joined; "": as this kernel can. `allow`: what members
    may connect to outside; with `learn` that is everything but this machine itself, and `passed` says what it was.
    Names are compared in lower case. Every method raises SandboxError where the kernel refuses (code "network-kernel":
    it has no such devices) or the holder has ended ("network-lost"), and ValueError for a rule, name or number that
    cannot be. FetchError (code "fetch-proxy"): this machine's proxy cannot be used.
    """

    def __init__(
        self, *, user: bool = True, spare: int = 0, kind: str = "", allow: Sequence[str] = (), learn: bool = False
    ) -> None:
        self._lock = _thread.allocate_lock()
        self._members: dict[str, Member] = {}
        self._user_namespace = -1
        self._kind = ""
        self._ports = 0
        self._error: Exception | None = None
        self._holder = self._gateway = 0
        self._lifelines: list[int] = []  # one for each process
        self._start(user, spare, kind, tuple(allow), learn)

    def _start(self, user: bool, spare: int, kind: str, allow: tuple[str, ...], learn: bool) -> None:
        policy = bool(allow) or learn
        code = pod_spawn.holder_code(user=bool(user), kind=kind, spare=int(spare), policy=policy)
        files: tuple[int, ...] = _policy_files(allow, learn) if policy else ()
        sockets: list[socket.socket] = []
        try:
            self._socket, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sockets += [control, *(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) if policy else ())]
            places = [sock.fileno() for sock in sockets]
            with userns.fork_lock:
                if policy:
                    self._holder = self._spawn(code, (places[0], places[1], files[0]))
                    code = "from envtool.container.gateway import main\nmain()"
                    self._gateway = self._spawn(code, (-1, places[2], files[1]))
                elif user and not kind and (early := pod_spawn.take_early()):
                    self._holder, lifeline, descriptor = early
                    self._lifelines.append(lifeline)
                    self._socket.close()
                    self._socket = socket.socket(fileno=descriptor)
                    if spare > pod_spawn.EARLY_SPARE:
                        with suppress(OSError):  # it has ended, which the first request reports
                            self._socket.send(messages.pack("spare", int(spare)))
                else:
                    self._holder = self._spawn(code, (places[0], -1, -1))
        except BaseException:
            self.close()
            raise
        finally:
            for sock in sockets:
                sock.close()
            for descriptor in files:
                os.close(descriptor)
        self._socket.settimeout(_SECONDS)

    def _spawn(self, code: str, given: tuple[int, int, int]) -> int:
        """Start one of the pod's processes; see `pod_spawn.spawn`. Returns its number."""
        read, write = os.pipe()
        self._lifelines.append(write)
        return pod_spawn.spawn(code, given, read)

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, wait: bool = True) -> None:
        """End the pod: the holder, the gateway, and this process's descriptors of its namespaces. Without `wait` return
        when they are sure to end: the kernel takes some 10 ms to take a packet socket away.
        """
        lifelines, self._lifelines = self._lifelines, []
        if not lifelines:
            return
        children = [child for child in (self._holder, self._gateway) if child]
        for child in children:
            os.kill(child, syscalls.SIGKILL)  # a child of ours may have a copy of the pipe's end for a moment
        for lifeline in lifelines:
            os.close(lifeline)
        if not wait:
            _thread.start_new_thread(_reap, (children,))
        with self._lock:  # a request that waited for it has failed
            if wait:
                _reap(children)
            self._socket.close()
            for member in self._members.values():
                os.close(member.namespace)
            self._members.clear()
            if self._user_namespace >= 0:
                os.close(self._user_namespace)
                self._user_namespace = -1

    def fileno(self) -> int:
        """Returns a descriptor for poll(2): outside of calls it is readable when the holder has ended."""
        return self._socket.fileno()

    def open_end(self) -> int:
        """Returns a descriptor for poll(2), which the caller closes: it is readable once the holder has ended, during
        calls too (pidfd_open(2)).
        """
        return os.pidfd_open(self._holder)

    @property
    def kind(self) -> str:
        """How the members are joined: "bridge" or "routed". Waits until the pod is there."""
        with self._lock:
            self._await_start()
            return self._kind

    @property
    def user_namespace(self) -> int:
        """The descriptor of the user namespace that owns the pod, which the pod closes. Waits until it is there."""
        with self._lock:
            self._await_start()
            return self._user_namespace

    def add_member(self, name: str, service: str = "", *, default_route: bool = False) -> Member:
        """Returns a new member, which is not ready; its own name is its address at once. With `default_route` packets
        for other networks are noted (`attempts`), and refused as they are without it.
        """
        reply = ("member", str, 1)
        (address, *_), descriptors = self._request("member", name, service, int(default_route), reply=reply)
        member = Member(name, address, descriptors[0])
        self._members[name.lower()] = member
        return member

    def namespaces(self, name: str) -> Namespaces:
        """Returns a member's namespaces, for the `joins` of its container, as descriptors that the caller closes."""
        from envtool.container.join import Namespaces

        return Namespaces(
            {"user": os.dup(self.user_namespace), "network": os.dup(self._members[name.lower()].namespace)}
        )

    def declare_service(self, service: str) -> None:
        """Declares a service that has no member yet, so that a query for its name is answered with "try again"."""
        self._request("service", service)

    def set_ready(self, name: str, *, ready: bool) -> None:
        """Adds a member to the answers for its service's name and to its published ports, or removes it from them. Open
        connections stay."""
        self._request("ready", name, int(ready))

    def remove_member(self, name: str) -> None:
        """Removes a member whose processes have ended. Its network ends with the last descriptor of its namespace."""
        self._request("remove", name)
        os.close(self._members.pop(name.lower()).namespace)

    def publish(self, service: str, port: int, *, host_port: int = 0) -> tuple[int, int]:
        """Publishes a port of a service on this machine's loopback: connections go to the members that are ready, in
        turn. Returns a number for `unpublish`, and the port of this machine (`host_port` 0: a free one). Raises OSError
        if that port is in use.
        """
        listener = socket.create_server(("127.0.0.1", host_port), backlog=128)
        try:
            with self._lock:
                self._ports += 1
                number = self._ports
            self._request("publish", number, service, port, descriptor=listener.fileno())
            return number, listener.getsockname()[1]
        finally:
            listener.close()  # the holder has it: when that ends, clients are refused

    def unpublish(self, number: int) -> None:
        """Accepts no more connections on a published port. Open connections stay."""
        self._request("unpublish", number)

    def open_localhost(self, member: str, service: str, port: int) -> None:
        """Let a port of a member's own loopback lead to the same port of the members of a service that are ready, in
        turn, until the member is removed. Raises SandboxError where the port is in use.
        """
        with self._lock:
            self._ports += 1
            number = self._ports
        self._request("localhost", number, member, service, port)

    def connect(self, address: str, port: int, *, seconds: float) -> socket.socket:
        """Returns a connection to a member from within the pod, as another member would make it. Raises OSError."""
        connection = self.open_socket(seconds=seconds)
        try:
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def open_socket(self, *, seconds: float) -> socket.socket:
        """Returns a TCP socket of the pod's own network, with this time-out, for the caller to connect and close."""
        _, (descriptor,) = self._request("socket", reply=("socket", 1))
        opened = socket.socket(fileno=descriptor)
        opened.settimeout(seconds)
        return opened

    def attempts(self) -> tuple[tuple[Attempt, ...], int]:
        """Returns what members tried outside of the pod and could not reach, and the number of packets to what is not
        listed: a list is not longer than 256 addresses and 256 names.
        """
        (text, *_), _ = self._request("noted", reply=("noted", str, 0))
        *lines, more = text.split("\n")
        found = []
        for line in lines:
            protocol, host, port, count, reason = line.split(" ", 4)
            found.append(Attempt(protocol, host, int(port), int(count), reason))
        return tuple(found), int(more.partition(" ")[2])

    def passed(self) -> tuple[tuple[str, int], ...]:
        """Returns what members were connected to outside of the pod: names, or addresses where they used those, each
        with a port, sorted; at most 4,096. As rules they are the smallest policy that would have allowed it.
        """
        found: list[tuple[str, int]] = []
        while True:
            (text, *_), _ = self._request("passed", len(found), reply=("passed", str, 0))
            if not text:
                return tuple(sorted(found))
            found += [(host, int(port)) for host, _, port in (line.partition(" ") for line in text.split("\n"))]

    def confirm(self, newest: int | None, members: frozenset[str]) -> int:
        """See StartedPod: nothing began early in this pod."""
        del newest, members
        return 0

    def take_place(self) -> tuple[str, int, int] | None:
        """See StartedPod."""
        return None

    def _request(
        self, *values: int | str, descriptor: int = -1, reply: tuple[Any, ...] = ("ok", 0)
    ) -> tuple[tuple[Any, ...], list[int]]:
        """Returns the reply to a request without its first word, and its descriptors. `reply` has that word, the types
        of the values after it, and the number of descriptors.
        """
        word, *types, count = reply
        with self._lock:
            self._await_start()
            try:
                data = messages.pack(*values)
                socket.send_fds(self._socket, [data], [descriptor] if descriptor >= 0 else [])
                message, descriptors = self._receive()
            except OSError as error:
                raise self._lost(error) from error
            if message[:1] == (word,) and [type(value) for value in message[1:]] == types and len(descriptors) == count:
                return message[1:], descriptors
            for received in descriptors:
                os.close(received)
            match message:
                case ("error", str(), int(), str()):
                    raise _request_error(message)
                case _:  # also where this process may have no more descriptors
                    raise self._lost(None)

    def _await_start(self) -> None:
        """Wait for the holder's first message. Raises SandboxError."""
        if not self._lifelines:
            raise ValueError("the pod is closed")
        if self._error is not None:
            raise self._error
        if self._user_namespace >= 0:
            return
        try:
            message, descriptors = self._receive()
        except OSError as error:
            raise self._lost(error) from error
        match message:
            case ("up", str(kind)) if len(descriptors) == 1:
                self._kind, self._user_namespace = kind, descriptors[0]
            case ("error", str(), int(), str()):
                self._error = _request_error(message)
                raise self._error
            case _:
                raise self._lost(None)

    def _receive(self) -> tuple[tuple[int | str, ...], list[int]]:
        data, ancillary, _, _ = self._socket.recvmsg(_MESSAGE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise ConnectionResetError("it has ended")
        return messages.unpack(data), messages.parse_ancillary(ancillary)[1]

    def _lost(self, error: OSError | None) -> Exception:
        """Returns the error of a holder that has ended, or does not answer. Later calls raise it, too."""
        from envtool.container.kernel_errors import sandbox_error

        reason = "its process has ended" if isinstance(error, ConnectionError) else "it sent an invalid message"
        if isinstance(error, TimeoutError):
            reason = "it does not answer"
        self._error = sandbox_error("network-lost", 0, reason)
        return self._error


def _policy_files(allow: tuple[str, ...], learn: bool) -> tuple[int, int]:
    """Returns descriptors of files with the policy, for the holder and for the gateway. Only the gateway gets the
    password of this machine's proxy. Raises ValueError for an invalid rule, FetchError.
    """
    from envtool.container.network_policy import NetworkPolicy
    from envtool.container.pod_process import write_policy
    from envtool.net.host_config import tunnel_proxy

    rules = "\n".join(NetworkPolicy(allow, learn=learn).rules)
    proxy = tunnel_proxy() or ("", 0, "", "")
    return write_policy(int(learn), rules), write_policy(int(learn), rules, *proxy)


def _reap(children: list[int]) -> None:
    for child in children:
        os.waitpid(child, 0)


def _request_error(message: tuple[Any, ...]) -> Exception:
    from envtool.container.kernel_errors import sandbox_error

    _, stage, number, text = message
    return ValueError(text) if stage == "request" else sandbox_error(stage, number, text)


def resolv_conf() -> bytes:
    """Returns the /etc/resolv.conf of members. The resolver is always there; the C library's own time-outs are long
    enough for a busy machine.
    """
    return f"nameserver {RESOLVER}\n".encode()

"""The gateway: the process that connects the members of a pod to the hosts that its policy allows. pod.py starts it.

    member --SYN--> holder --dial--> gateway --connect--> the destination, by this machine's network
    member <=====> accepted socket <== relay ==> connected socket

A socket belongs to the network namespace that it was made in. The holder is in the pod's, so its sockets lead nowhere
else; the gateway is in this machine's, and has the member's side of a connection as a descriptor from the holder. Bytes
are passed on as they are: TLS is between the member and the destination. The gateway checks the policy again, so that
the holder, which reads members' packets, could not lead it elsewhere.

As the holder, the gateway is a program of its own, and dies with its caller; it also ends when the holder ends. It has
no capabilities. If the caller is root, it has a user id of the containers. It cannot start, signal or trace a process,
and opens only files that a look-up of names reads (landlock(7)).
"""

from __future__ import annotations

import errno
import gc
import heapq
import os
import resource
import socket
import sys
import time
from typing import Any, NoReturn

from envtool.container import event_loop, pod_process, seccomp, syscalls, userns
from envtool.container.gateway_dial import Dial
from envtool.container.gateway_link import GatewayLink
from envtool.container.host_resolver import HostResolver
from envtool.container.network_policy import NetworkPolicy, is_loopback
from envtool.container.relay import DESCRIPTORS, PipePool, Relay, reset

_TITLE = b"envtool: the gateway of a pod"
_MAX_FILES = 16384
_RESERVED_FILES = 128
_MAX_TIMERS = 8192  # a connection has two
_ACCEPT_SECONDS = 15.0  # until the member's side of a connection that was made has come
# What looking up names reads: the resolver's configuration, libraries of name services, their sockets and caches.
_READABLE = (
    "/etc", "/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/usr/share/zoneinfo", "/nix/store",
    "/gnu/store", "/run/systemd", "/run/resolvconf", "/run/NetworkManager", "/run/nscd", "/run/connman", "/var/lib/sss",
)  # fmt: skip


def main() -> NoReturn:
    """Serve the holder until it or the caller ends."""
    gc.disable()
    pod_process.die_with_caller()
    syscalls.command_line_range()
    syscalls.set_process_title(_TITLE)
    try:
        gateway = _Gateway(pod_process.read_policy())
        gc.freeze()
        gc.enable()
        gateway.serve()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # seen with ENVTOOL_DEBUG=1 alone
    os._exit(1)


def _readable_places() -> list[str]:
    """Returns the directories that a look-up of names reads: the usual ones, and those of the resolver's files."""
    files = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
    return [*dict.fromkeys([*_READABLE, *(os.path.dirname(os.path.realpath(path)) for path in files)])]


def _give_up_rights() -> None:
    """Drops the rights that this process does not need. Threads that are started later have the same rights."""
    ids = userns.caller_ids()
    if ids.mode == "root":
        syscalls.limit_bounding_set(0)
        os.setgroups([])
        group, user = ids.gids[0][1], ids.uids[0][1]
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        pod_process.die_with_caller()
    syscalls.set_capabilities(0)
    os.umask(0o077)
    os.chdir("/")
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    places = [path for path in _readable_places() if path != "/"]
    pod_process.confine_files(places, pod_process.READ | pod_process.READ_DIRECTORY)


class _Gateway:
    """The loop: dials of the holder, and the connections that came of them."""

    def __init__(self, policy: tuple[int | str, ...]) -> None:
        learn, rules, proxy_host, proxy_port, authorization, exceptions = policy
        self.policy = NetworkPolicy(str(rules).split(), learn=bool(learn))
        self.proxy: Any = None
        if proxy_host:
            from envtool.net import host_config

            host_config.bypasses_proxy("localhost", 443, "")  # loads what it needs
            self.proxy = host_config.TunnelProxy(str(proxy_host), int(proxy_port), str(authorization), str(exceptions))
            self._bypasses = host_config.bypasses_proxy
        limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], _MAX_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        self._limit = max(1, (limit - _RESERVED_FILES) // DESCRIPTORS)
        self._dials: dict[int, Dial] = {}
        self._connected: dict[int, tuple[socket.socket, list[Any]]] = {}  # the member's side has not come yet
        self._relays: dict[int, Relay] = {}
        self._timers: list[list[Any]] = []
        self._timer_number = 0
        self._pipes = PipePool()
        _give_up_rights()
        self.loop = event_loop.EventLoop()
        self.resolver = HostResolver(self.loop)
        link = socket.socket(fileno=pod_process.LINK)
        self._link = GatewayLink(self.loop, link, self._handle, lambda: os._exit(0))

    def serve(self) -> NoReturn:
        """Narrow this process's rights further, and serve until it is killed."""
        syscalls.load_seccomp(seccomp.build_gateway_filter(), all_threads=True)
        self._link.send("up")
        while True:
            seconds = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            self.loop.run_once(seconds)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                function = heapq.heappop(self._timers)[-1]
                if function is not None:
                    function()

    def call_later(self, seconds: float, function: Any) -> list[Any]:
        """Call a function after some time. Its last item set to None, what is returned cancels it."""
        self._timer_number += 1
        timer = [time.monotonic() + seconds, self._timer_number, function]
        if len(self._timers) > _MAX_TIMERS:  # most of them were cancelled
            self._timers = [timer for timer in self._timers if timer[-1] is not None]
            heapq.heapify(self._timers)
        heapq.heappush(self._timers, timer)
        return timer

    def uses_proxy(self, host: str, port: int) -> bool:
        """Returns whether a destination is reached through this machine's proxy: none of this machine's loopback is."""
        if self.proxy is None or host in ("localhost", "::1") or is_loopback(host):
            return False
        return not self._bypasses(host, port, self.proxy.exceptions)

    def _handle(self, message: tuple[int | str, ...], descriptors: list[int]) -> None:
        match message:
            case ("dial", int(number), str(host), int(port)):
                if len(self._dials) + len(self._connected) + len(self._relays) >= self._limit:
                    self._link.send(
                        "failed", number, errno.ECONNREFUSED, f"{self._limit} connections are open at once already"
                    )
                    return
                dial = Dial(self, host, port, lambda *result: self._on_dialled(number, *result))
                self._dials[number] = dial
                dial.start()
            case ("accepted", int(number)):
                if descriptors:
                    self._join(number, socket.socket(fileno=descriptors.pop()))
                elif number in self._connected:  # this process has no descriptor left for it
                    self._drop(number)
            case _:
                os._exit(1)

    def _on_dialled(self, number: int, sock: socket.socket | None, error: int, reason: str) -> None:
        del self._dials[number]
        if sock is None:
            self._link.send("failed", number, error, reason)
            return
        self._connected[number] = (sock, self.call_later(_ACCEPT_SECONDS, lambda: self._expire(number)))
        self._link.send("connected", number)

    def _expire(self, number: int) -> None:
        self._drop(number)
        self._link.send("expired", number)

    def _drop(self, number: int) -> None:
        sock, timer = self._connected.pop(number)
        timer[-1] = None
        sock.close()

    def _join(self, number: int, member: socket.socket) -> None:
        if number not in self._connected:  # it came too late
            reset(member)
            return
        outside, timer = self._connected.pop(number)
        timer[-1] = None
        member.setblocking(False)
        relay = Relay(self.loop, self._pipes, (member, outside), lambda: self._on_relay_end(number))
        self._relays[number] = relay
        relay.on_event()

    def _on_relay_end(self, number: int) -> None:
        del self._relays[number]
        if not self._relays:
            self._pipes.clear()

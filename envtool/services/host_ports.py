"""Publishes ports of services on this machine. If a port is taken, names the process that has it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from envtool.container.started import LISTENING, read_tcp_sockets
from envtool.services import service_errors

if TYPE_CHECKING:
    from envtool.container.runner import StartedPod
    from envtool.services.service_request import PublishedPort, ServiceRequest


def publish_port(pod: StartedPod, request: ServiceRequest, published: PublishedPort) -> tuple[int, int]:
    """Publishes a port of a service. Returns the number for `unpublish`, and the port of this machine. Raises
    ServiceError if that port is taken, or the user may not use it."""
    try:
        return pod.publish(request.name, published.port, host_port=published.host_port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = find_holder(published.host_port)
        elif error.errno in (errno.EACCES, errno.EPERM):
            holder = "this machine's administrator: ports below 1024 are not for every user"
        else:
            raise
        raise service_errors.taken_port_error(request, published.where, published.host_port, holder) from error


def find_holder(port: int) -> str:
    """Returns the process that listens on a port of this machine, as in "postgres (process 4711)"; "" for a process of
    another user, whose descriptors cannot be read."""
    inodes = {
        sock.inode for sock in read_tcp_sockets("/proc/self/net") if sock.port == port and sock.state == LISTENING
    }
    links = {f"socket:[{inode}]" for inode in inodes}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            for descriptor in os.listdir(f"/proc/{name}/fd"):
                if os.readlink(f"/proc/{name}/fd/{descriptor}") in links:
                    return _describe(name)
        except OSError:  # another user's, or it has ended
            continue
    return ""


def _describe(number: str) -> str:
    """Returns a process in words. Raises OSError."""
    with open(f"/proc/{number}/cmdline", "rb") as file:
        if file.read(8) == b"envtool:":  # the network of other services
            return f"envtool (process {number}): `envtool ps --all` lists all services that run"
    with open(f"/proc/{number}/comm", "rb") as file:
        return f"{file.read().decode(errors='replace').strip()} (process {number})"

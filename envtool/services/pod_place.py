"""The place in a pod of a container that is not a service: of a task, `exec` or `shell`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from envtool.errors import SandboxError
from envtool.services import service_errors
from envtool.services.fresh_server import FreshServer
from envtool.services.service_container import pod_mounts
from envtool.store.locked_directory import create_locked
from envtool.store.temp_dirs import removed_at_end

if TYPE_CHECKING:
    from envtool.container.join import Namespaces
    from envtool.container.program import BindMount, TextMount
    from envtool.container.runner import StartedPod
    from envtool.services.service_request import ServiceRequest
    from envtool.store.store import Store


class PodPlace(NamedTuple):
    """A container's place in the pod: the values that its Program and `Runner.run` get from the pod."""

    address: str
    hostname: str
    namespaces: Namespaces  # for `joins`
    mounts: tuple[TextMount, ...]
    binds: tuple[BindMount, ...] = ()
    lists: Mapping[str, str] = MappingProxyType({})  # lists of directories -> what is added at the end

    def extend_variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Returns the variables of a container in this place."""
        joined = {name: ":".join(filter(None, (variables.get(name), added))) for name, added in self.lists.items()}
        return {**variables, **joined}


@contextmanager
def open_place(
    pod: StartedPod,
    store: Store,
    fresh: Callable[[str, threading.Event], None],
    name: str,
    services: Iterable[ServiceRequest],
    *,
    default_route: bool,
) -> Iterator[PodPlace]:
    """A context with a place in the pod. The container may ask for services that are `fresh` (FreshServer); those with
    `localhost` are at its own loopback. With `default_route` what it tries outside is noted. Raises SandboxError, and
    ServiceError where two would be at one port."""
    ports = _localhost_ports(services)
    member = pod.add_member(name, default_route=default_route)
    try:
        for port, request in ports.items():
            try:
                pod.open_localhost(name, request.name, port)
            except SandboxError as error:
                raise service_errors.localhost_error(request, port, str(error)) from error
        path, lock, listener = pod.take_place() or (*create_locked(store.path("tmp")), None)
        with (
            removed_at_end(path, lock) as directory,
            pod.namespaces(name) as namespaces,
            FreshServer(directory, fresh, listener) as server,
        ):
            yield PodPlace(member.address, name, namespaces, pod_mounts(), server.binds, server.variables)
    finally:
        pod.remove_member(name)


def _localhost_ports(services: Iterable[ServiceRequest]) -> dict[int, ServiceRequest]:
    """Returns the services at the container's own loopback, by port. Raises ServiceError for a port of two: what
    images expose is not known when the spec is read."""
    ports: dict[int, ServiceRequest] = {}
    for request in services:
        for port in request.localhost:
            first = ports.setdefault(port, request)
            if first is not request:
                raise service_errors.localhost_error(request, port, f"service `{first.name}` is there")
    return ports

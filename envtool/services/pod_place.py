"""The place of a container in a pod that is no service: a task, `exec`, `shell`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from envtool.services.fresh_server import FreshServer
from envtool.services.service_container import pod_mounts
from envtool.store.temp_dirs import temp_directory

if TYPE_CHECKING:
    from envtool.container.join import Namespaces
    from envtool.container.program import BindMount, TextMount
    from envtool.container.runner import StartedPod
    from envtool.store.store import Store


class PodPlace(NamedTuple):
    """A container's place in the pod: what its Program and its start get."""

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
    pod: StartedPod, store: Store, fresh: Callable[[str, threading.Event], None], name: str, *, default_route: bool
) -> Iterator[PodPlace]:
    """A context with a place in the pod. The container may ask for services that are `fresh` (FreshServer). With
    `default_route` what it tries outside is noted. Raises SandboxError."""
    member = pod.add_member(name, default_route=default_route)
    try:
        with (
            pod.namespaces(name) as namespaces,
            temp_directory(store) as directory,
            FreshServer(directory, fresh) as server,
        ):
            yield PodPlace(member.address, name, namespaces, pod_mounts(), server.binds, server.variables)
    finally:
        pod.remove_member(name)

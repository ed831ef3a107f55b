"""The setting of a ServiceGroup, and the states of its services and replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from envtool.lazy_dataclass import dataclass
from envtool.store import layers

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.errors import EnvtoolError
    from envtool.services.replica import Replica, ReplicaStage
    from envtool.services.service_container import LocalService, ServiceProject


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSetting:
    """The setting of a group. `name` is the name of its task; the names of its logs in `directory` begin with it."""

    context: Context
    project: ServiceProject
    env: str
    name: str
    directory: str  # of the run's logs: see project/rundir.py
    restart: str = "never"  # the restart policy of services that declare none
    publishes: bool = False  # whether the ports of `publish:` are published
    # Whether a service that fails ends the group: `failure` is set, and `cancel` becomes readable.
    fails: bool = True
    changed: Callable[[ReplicaState], None] | None = None  # gets each change of a replica; called by any thread
    output: Callable[[str, bytes], None] | None = None  # gets a replica's name and its output
    see_project: Callable[[], ServiceProject] | None = None  # returns the project as it is now; None: `project`


def open_scratch(context: Context, where: str) -> AbstractContextManager[str]:
    """A context with the directory for what a container writes: "" if that is in memory."""
    if where != "disk":
        return nullcontext("")
    return layers.temp_directory(context.store, remove=context.runner.remove)


class ReplicaState(NamedTuple):
    """One replica at one moment."""

    service: str
    replica: str
    stage: ReplicaStage
    since: float  # seconds since the epoch
    address: str
    restarts: int
    status: int | None  # of the container that ended last
    error: EnvtoolError | None
    killed: bool  # by SIGKILL: it did not end by its stop signal
    log: str  # path
    limit: str = ""  # which limit ended the last container, in words

    @classmethod
    def of(cls, replica: Replica, log: str) -> ReplicaState:
        """Returns the state of a replica now."""
        return cls(
            service=replica.request.name,
            replica=replica.name,
            stage=replica.stage,
            since=replica.since,
            address=replica.address,
            restarts=replica.restarts,
            status=replica.status,
            error=replica.error,
            killed=replica.killed,
            log=log,
            limit=replica.limit,
        )


class RunningService:
    """One service of a group, and its replicas by their numbers. Its fields are changed under the group's condition."""

    def __init__(self, local: LocalService) -> None:
        self.local = local
        self.replicas: dict[int, Replica] = {}
        self.is_up = False  # all replicas are ready, or the one-shot has succeeded
        self.error: EnvtoolError | None = None  # why it did not start
        self.is_stopping = False
        self.deadline = 0.0  # of its stop (time.monotonic)
        self.published: dict[int, int] = {}  # number in the pod -> port of this machine

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.local.request.name

    def published_ports(self) -> tuple[tuple[int, int], ...]:
        """Returns its published ports, as pairs (port of the service, port of this machine)."""
        ports = (published.port for published in self.local.request.publish)
        return tuple(zip(ports, self.published.values(), strict=False))

    def free_number(self) -> int:
        """Returns the smallest number that no replica has."""
        return next(number for number in range(1, len(self.replicas) + 2) if number not in self.replicas)


def services_above(name: str, services: Mapping[str, RunningService]) -> list[RunningService]:
    """Returns the services that need the service of this name, directly or through others, needed ones first.
    `services` are in an order in which each stands after those that it needs."""
    above: dict[str, RunningService] = {}
    for other in services.values():
        if any(need == name or need in above for need in other.local.request.needs):
            above[other.name] = other
    return [*above.values()]


def find_replica(services: Mapping[str, RunningService], name: str) -> Replica | None:
    """Returns the replica of this name, or the first of the service of this name: one that is up, if there is one."""
    service = services.get(name)
    replicas = [replica for each in services.values() for replica in each.replicas.values()]
    if service is not None and service.replicas:
        return min(service.replicas.values(), key=lambda replica: (not replica.is_up, replica.number))
    return next((replica for replica in replicas if replica.name == name), None)

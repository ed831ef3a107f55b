"""A group of services that the user changes while it runs: services are removed, published again, or killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.services.group import ServiceGroup

if TYPE_CHECKING:
    from envtool.errors import EnvtoolError
    from envtool.services.group_values import RunningService
    from envtool.services.service_container import LocalService


class StandingGroup(ServiceGroup):
    """A ServiceGroup for `envtool up`."""

    def __enter__(self) -> StandingGroup:
        super().__enter__()
        return self

    def replace(self, name: str, local: LocalService) -> None:
        """See ServiceGroup. Then publishes the ports again, if they differ."""
        service = self._service(name)
        published = service.local.request.publish
        super().replace(name, local)
        is_whole = len(service.published) == len(local.request.publish)  # else a port was taken at the last attempt
        if published != local.request.publish or not is_whole:
            with self._operation:
                self._unpublish(service)
                self._publish(service)

    def remove(self, name: str) -> None:
        """Drains, stops and forgets a service. The caller has stopped the services that need it. Raises
        ServiceError."""
        service = self._service(name)
        with self._operation:
            with self._condition:
                service.is_stopping = True
            self._remove_replicas(service, [*service.replicas.values()])
            self._unpublish(service)
            with self._condition:
                self._services.pop(name, None)

    def fail(self, name: str, error: EnvtoolError) -> None:
        """Kills the replicas of a service. Returns when they have ended; `error` is then the reason of their failure.
        Raises ServiceError."""
        replicas = [*self._service(name).replicas.values()]
        for replica in replicas:
            replica.fail(error)
        for replica in replicas:
            replica.await_end()

    def _unpublish(self, service: RunningService) -> None:
        while service.published:
            self._pod.unpublish(service.published.popitem()[0])

"""The services of one run, in a pod of their own: starts them in the order of their needs, stops them in reverse."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from envtool.build.context import Cancel
from envtool.container import syscalls
from envtool.container.kernel_errors import sandbox_error
from envtool.errors import EnvtoolError, Interrupted, StoreError
from envtool.events import Noted
from envtool.project import rundir
from envtool.services import group_values, host_ports, service_errors
from envtool.services.group_values import GroupSetting, ReplicaState, RunningService
from envtool.services.pod_place import PodPlace, open_place
from envtool.services.replica import Replica, ReplicaSite, drain, merge_opened
from envtool.services.replica_log import LogPump, ReplicaLog
from envtool.services.service_container import LocalService
from envtool.store import layers
from envtool.store.disk_errors import to_envtool_error
from envtool.tracking import track_work

if TYPE_CHECKING:
    from envtool.container.pod import Attempt
    from envtool.container.runner import StartedContainer, StartedPod
    from envtool.container.started import Usage

INTERRUPT_GRACE = 2.0  # seconds that services have to end after an interrupt, at most
_END_SECONDS = 10.0  # at most, from the end of a container until its replica has noted it
_FAILURE_SECONDS = 0.2  # a command may fail so long before the end of its service is noted
_POLL_SECONDS = 1.0


class ServiceGroup:
    """The services of one run, as a context that leaves none of them running. Any thread may call its methods.

    `spare` is the number of containers that are expected in the pod. `user`: where containers have a single id, it is
    1000, as in tasks. `allow` lists the places outside of the pod ("host:port") that its containers may connect to. The
    pod starts when the context begins, in a process of its own; `pod` is one that has been started before.
    """

    def __init__(
        self,
        setting: GroupSetting,
        *,
        spare: int = 0,
        user: bool = True,
        allow: Sequence[str] = (),
        pod: StartedPod | None = None,
    ) -> None:
        self.setting = setting
        self._given_pod = pod
        self.failure: EnvtoolError | None = None  # of the service that failed first
        self._options: dict[str, Any] = {"spare": spare, "user": user, **({"allow": tuple(allow)} if allow else {})}
        self._condition = threading.Condition(threading.RLock())
        self._operation = threading.Lock()  # held by `scale`, `restart` and `replace`
        self._services: dict[str, RunningService] = {}
        self._logs: dict[str, ReplicaLog] = {}  # by the replica's name; a later replica of the same name adds to it
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.interrupted = False  # whether the run was cancelled
        self._exits = ExitStack()

    # ---- the context

    def __enter__(self) -> ServiceGroup:
        context = self.setting.context
        with ExitStack() as exits:
            self._cancel = Cancel.make()
            exits.callback(self._cancel.close)
            self._pod: StartedPod = self._given_pod or context.runner.pod(**self._options)
            exits.callback(self._pod.close, wait=False)
            end = self._pod.open_end()
            exits.callback(os.close, end)
            self._pump = exits.enter_context(LogPump(context.secrets().forms))
            self._pump.watch(context.cancel.reader, self._interrupt)
            self._pump.watch(end, self._on_lost_pod)
            self._site = ReplicaSite(
                runner=context.runner,
                store=context.store.root,
                pod=self._pod,
                pump=self._pump,
                see_project=self.setting.see_project or (lambda: self.setting.project),
                restart=self.setting.restart,
                open_log=self._open_log,
                open_scratch=partial(group_values.open_scratch, context),
                changed=self._on_change,
                secrets=context.secrets(),
            )
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._exits:
            with self._condition:
                self._closing = True
                self._condition.notify_all()
            try:
                self.stop()
            finally:
                self._end_all()

    def _end_all(self) -> None:
        """Kills what still runs, and waits for all threads."""
        with self._condition:
            replicas = [replica for service in self._services.values() for replica in service.replicas.values()]
        for replica in replicas:
            replica.kill()
        for replica in replicas:
            replica.join()
        for thread in self._threads:
            thread.join()
        for log in self._logs.values():
            log.close()

    @property
    def cancel(self) -> int:
        """A descriptor that becomes readable when the run is cancelled or a service has failed: for the `cancel` of
        containers that use the services."""
        return self._cancel.reader

    def _interrupt(self) -> None:
        with self._condition:
            self.interrupted = True
            latest = time.monotonic() + INTERRUPT_GRACE
            for service in self._services.values():  # also those that are being stopped already
                service.deadline = min(service.deadline, latest)
            self._cancel.set(syscalls.requested_signal(self.setting.context.cancel.reader))
            self._condition.notify_all()

    def _on_lost_pod(self) -> None:
        with self._condition:
            if not self._closing and self.failure is None:
                self.failure = sandbox_error("network-lost", 0, "its process has ended")
                self._cancel.set()
            self._condition.notify_all()

    def _open_log(self, replica: str) -> ReplicaLog:
        path = self._log_path(replica)
        try:
            with self._condition:
                if replica not in self._logs:
                    self._logs[replica] = log = ReplicaLog(rundir.create_file(path))
                    if self.setting.output is not None:
                        log.listen(partial(self.setting.output, replica))
                return self._logs[replica]
        except OSError as error:
            raise StoreError(f"the log cannot be written: {error.strerror}: {path}", code="evidence-write") from error

    def _log_path(self, replica: str) -> str:
        return rundir.log_path(self.setting.directory, self.setting.env, f"{self.setting.name}.{replica}")

    def _on_change(self, replica: Replica) -> None:
        with self._condition:
            if replica.stage == "failed" and self.setting.fails and not self._closing and self.failure is None:
                service = self._services.get(replica.request.name)
                if service is not None and service.replicas.get(replica.number) is replica and not service.is_stopping:
                    self.failure = replica.error
                    self._cancel.set()
            self._condition.notify_all()
        if self.setting.changed is not None:
            self.setting.changed(self._state(replica))

    # ---- starting

    def start(self, services: Sequence[LocalService]) -> None:
        """Starts services. Returns when all are ready, and one-shots have succeeded. Raises ServiceError for the first
        that fails (in a group that a failure does not end: later), SandboxError, StoreError, Interrupted."""
        context = self.setting.context
        self._exits.enter_context(
            layers.hold_layers(context.store, [made.layer for local in services for made in local.stack.layers])
        )
        added = [RunningService(local) for local in services]
        with self._condition:
            former = [self._services[service.name] for service in added if service.name in self._services]
        for replica in [replica for service in former for replica in service.replicas.values()]:
            replica.kill()
            replica.join()
        with self._condition:
            self._services.update({service.name: service for service in added})
        for service in added:
            self._pod.declare_service(service.name)
        threads = [threading.Thread(target=self._bring_up, args=(service,), daemon=True) for service in added]
        self._threads += threads
        for thread in threads:
            thread.start()
        with self._condition:
            while not all(service.is_up or service.error for service in added) and not self._has_ended():
                self._condition.wait(_POLL_SECONDS)
        self.check()
        for service in added:
            if service.error is not None:
                raise service.error

    def _has_ended(self) -> bool:
        return self._closing or self.interrupted or self.failure is not None

    def check(self) -> None:
        """Raises Interrupted if the run was cancelled, and the error of the service that failed first."""
        if self.interrupted:
            raise Interrupted
        if self.failure is not None:
            raise self.failure

    def await_failure(self, *, failed: bool) -> None:
        """Waits until the failure of a service that ended before a command is noted in `failure`. `failed`: the command
        failed, perhaps because of a service whose end is not noted yet."""
        with self._condition:
            replicas = [replica for service in self._services.values() for replica in service.replicas.values()]
        late = any(replica.has_just_ended() for replica in replicas)
        with self._condition:
            self._condition.wait_for(self._has_ended, _END_SECONDS if late else _FAILURE_SECONDS * failed)

    def _bring_up(self, service: RunningService) -> None:
        """The thread of one service until it is up."""
        with self._condition:
            needed = [self._services[name] for name in service.local.request.needs]
            while not all(other.is_up for other in needed):
                if self._has_ended():
                    return
                if failed := next((other for other in needed if other.error is not None), None):
                    self._give_up(service, failed.error)
                    return
                self._condition.wait(_POLL_SECONDS)
        setting, name = self.setting, service.name
        event_id = f"service:{setting.env}:{setting.name}:{name}"
        try:
            with track_work(setting.context.emit, event_id, "service", name, env=setting.env) as work:
                request = service.local.request
                replicas = [self._add_replica(service, service.local) for _ in range(request.replicas)]
                error = self._await_ready(replicas)
                if error is not None:
                    work.outcome, work.detail = "failed", error.message
                    self._give_up(service, error)
                    return
                if any(not replica.is_up for replica in replicas):
                    work.outcome = "interrupted"
                    return
                work.outcome, work.detail = "done", "" if request.once else "ready"
                self._publish(service)
        except Interrupted:
            return
        except Exception as error:  # of the kernel, or a fault of ours: `start` must not wait for ever
            self._give_up(service, to_envtool_error(error, setting.context.store.root))
            return
        with self._condition:
            service.is_up = True
            self._condition.notify_all()

    def _give_up(self, service: RunningService, error: EnvtoolError | None) -> None:
        """Notes the error of a service that did not start. Ends the group, if a failure does that."""
        with self._condition:
            service.error = error
            if self.setting.fails and self.failure is None:
                self.failure = error
                self._cancel.set()
            self._condition.notify_all()

    def _add_replica(self, service: RunningService, local: LocalService) -> Replica:
        """Starts one more replica, and returns at once."""
        with self._condition:
            if self._closing:
                raise Interrupted
            number = service.free_number()
            replica = service.replicas[number] = Replica(local, number, self._site)
        replica.start()
        return replica

    def _await_ready(self, replicas: Sequence[Replica], over: threading.Event | None = None) -> EnvtoolError | None:
        """Waits for replicas. Returns the error of the first that failed; None if all are up, at `over` or the end."""
        with self._condition:
            while not (self._has_ended() or (over and over.is_set())):
                if failed := [replica for replica in replicas if replica.stage == "failed"]:
                    return failed[0].error
                if all(replica.is_up for replica in replicas):
                    return None
                self._condition.wait(0.05 if over else _POLL_SECONDS)
            return next((replica.error for replica in replicas if replica.error is not None), None)

    def _publish(self, service: RunningService) -> None:
        if self.setting.publishes:
            for published in service.local.request.publish:
                number, port = host_ports.publish_port(self._pod, service.local.request, published)
                service.published[number] = port

    # ---- states

    def published(self) -> Mapping[str, tuple[tuple[int, int], ...]]:
        """Returns the published ports of each service, as pairs (port of the service, port of this machine)."""
        with self._condition:
            return {name: ports for name, service in self._services.items() if (ports := service.published_ports())}

    def states(self) -> tuple[ReplicaState, ...]:
        """Returns all replicas, by service and number."""
        with self._condition:
            return tuple(
                self._state(replica)
                for service in self._services.values()
                for _, replica in sorted(service.replicas.items())
            )

    def _state(self, replica: Replica) -> ReplicaState:
        return ReplicaState.of(replica, self._log_path(replica.name))

    def usage(self, replica: str) -> Usage:
        """Returns what the processes of a replica use now. Raises ServiceError for an unknown name."""
        return self._find_replica(replica).usage()

    def container(self, name: str) -> StartedContainer:
        """Returns the container of a replica, or of the first replica of a service. Raises ServiceError if none
        runs."""
        return self._find_replica(name).container()

    def replica_log(self, name: str) -> ReplicaLog:
        """Returns the log of a replica. Raises ServiceError for an unknown name."""
        return self._find_replica(name).log

    def _find_replica(self, name: str) -> Replica:
        with self._condition:
            if (replica := group_values.find_replica(self._services, name)) is None:
                raise service_errors.unknown_service_error(name, [*self._services])
            return replica

    def attempts(self) -> tuple[tuple[Attempt, ...], int]:
        """Returns what containers tried outside of the pod: see `Pod.attempts`."""
        return self._pod.attempts()

    def opened(self) -> tuple[str, ...] | None:
        """Returns the watched files that services opened so far; None where this is not known. Call it once all have
        stopped."""
        with self._condition:
            return merge_opened(replica for service in self._services.values() for replica in service.replicas.values())

    def member(self, name: str = "envtool", *, default_route: bool = False) -> AbstractContextManager[PodPlace]:
        """A context with the place in the pod of a task. With `default_route` the pod notes what the task tries to
        reach outside (`attempts`). Raises SandboxError."""
        with self._condition:
            requests = [service.local.request for service in self._services.values()]
        store = self.setting.context.store
        return open_place(self._pod, store, self.fresh, name, requests, default_route=default_route)

    # ---- while they run

    def _service(self, name: str) -> RunningService:
        with self._condition:
            if name not in self._services:
                raise service_errors.unknown_service_error(name, [*self._services])
            return self._services[name]

    def scale(self, name: str, count: int) -> None:
        """Changes the number of a service's replicas. Returns when new ones are ready, and surplus ones, which are
        drained first, have ended. Raises ServiceError if a new replica fails; the old ones then stay."""
        service = self._service(name)
        with self._operation:
            more = [self._add_replica(service, service.local) for _ in range(count - len(service.replicas))]
            self._keep_if_ready(service, more)
            fewer = [service.replicas[number] for number in sorted(service.replicas, reverse=True)]
            self._remove_replicas(service, fewer[: max(0, len(fewer) - count)])
            request = replace(service.local.request, replicas=count)
            service.local = service.local._replace(request=request)

    def restart(self, name: str) -> None:
        """Stops each replica of a service and starts it anew, one after the other. Raises ServiceError."""
        service = self._service(name)
        with self._operation:
            for number, old in sorted(service.replicas.items()):
                self._remove_replicas(service, [old])
                with self._condition:
                    new = service.replicas[number] = Replica(service.local, number, self._site)
                new.start()
                self._raise_unless_ready([new])

    def fresh(self, name: str, over: threading.Event | None = None) -> None:
        """Kills a service, throws away what it has written, and starts it anew on its prepared state. Then one-shots
        that need the service, such as migrations, run again. Returns when all are ready, or `over` is set. Raises
        ServiceError, Interrupted."""
        service = self._service(name)
        with self._operation:
            self.check()
            self._start_anew(service, over)
            for other in group_values.services_above(name, self._services):
                if other.local.request.once:
                    self._start_anew(other, over)

    def _start_anew(self, service: RunningService, over: threading.Event | None) -> None:
        with self._condition:
            old = [*service.replicas.values()]
        for replica in old:
            replica.kill()
        for replica in old:
            replica.await_end()
            replica.join()
        with self._condition:
            if self._closing or service.is_stopping:
                raise Interrupted
            new = [Replica(service.local, replica.number, self._site) for replica in old]
            for replica, former in zip(new, old, strict=True):  # what that opened decides the task, too
                replica.opened = former.opened
            service.replicas.update({replica.number: replica for replica in new})
        for replica in new:
            replica.start()
        self._raise_unless_ready(new, over)

    def replace(self, name: str, local: LocalService) -> None:
        """Replaces a service by another one, replica by replica: each new replica is ready before an old one ends.
        Raises ServiceError if a new replica fails; that replica is removed, and the remaining old ones stay."""
        service = self._service(name)
        with self._operation:
            self._exits.enter_context(
                layers.hold_layers(self.setting.context.store, [made.layer for made in local.stack.layers])
            )
            old = [service.replicas[number] for number in sorted(service.replicas)]
            for position in range(max(len(old), local.request.replicas)):
                if position < local.request.replicas:
                    self._keep_if_ready(service, [self._add_replica(service, local)])
                self._remove_replicas(service, old[position : position + 1])
            service.local = local

    def _keep_if_ready(self, service: RunningService, new: list[Replica]) -> None:
        try:
            self._raise_unless_ready(new)
        except BaseException:
            self._remove_replicas(service, new)
            raise

    def _raise_unless_ready(self, replicas: list[Replica], over: threading.Event | None = None) -> None:
        error = self._await_ready(replicas, over)
        if error is not None:
            raise error
        self.check()

    def _remove_replicas(self, service: RunningService, replicas: list[Replica]) -> None:
        """Drains and stops replicas, all at once."""
        with self._condition:
            for replica in replicas:
                service.replicas.pop(replica.number, None)
        drain(replicas, service.local.request.grace)
        for replica in replicas:
            replica.begin_stop()
        deadline = time.monotonic() + service.local.request.grace
        for replica in replicas:
            if not replica.await_end(max(0.0, deadline - time.monotonic())):
                replica.kill()
            replica.join()

    # ---- stopping

    def stop(self, *names: str) -> tuple[ReplicaState, ...]:
        """Stops services; without names all. A service gets its stop signal once the services that need it have ended;
        services that do not need each other stop at the same time. What does not end within its grace is killed.
        Returns how they ended. Further calls do nothing."""
        with self._condition:
            remaining = {
                name: service
                for name, service in self._services.items()
                if (not names or name in names) and not service.is_stopping
            }
            stopped = [*remaining.values()]
            while remaining:
                self._begin_stops(remaining)
                now = time.monotonic()
                for name, service in [*remaining.items()]:
                    running = [replica for replica in service.replicas.values() if not replica.await_end(0)]
                    if not running:
                        del remaining[name]
                    elif service.is_stopping and now >= service.deadline:
                        for replica in running:
                            self._kill_late(replica)
                        service.deadline = now + _POLL_SECONDS
                if remaining and not any(self._is_free(service, remaining) for service in remaining.values()):
                    deadlines = [service.deadline for service in remaining.values() if service.is_stopping]
                    self._condition.wait(max(0.001, min([now + _POLL_SECONDS, *deadlines]) - now))
        return tuple(self._state(replica) for service in stopped for replica in service.replicas.values())

    def _kill_late(self, replica: Replica) -> None:
        if not (replica.killed or self.interrupted):  # say it: every run waits for the whole grace
            self.setting.context.emit(Noted(text=service_errors.not_stopped_note(replica.request, replica.name)))
        replica.kill()

    def _begin_stops(self, remaining: Mapping[str, RunningService]) -> None:
        for service in remaining.values():
            if self._is_free(service, remaining):
                service.is_stopping = True
                grace = service.local.request.grace
                service.deadline = time.monotonic() + (min(grace, INTERRUPT_GRACE) if self.interrupted else grace)
                for replica in service.replicas.values():
                    replica.begin_stop()

    def _is_free(self, service: RunningService, remaining: Mapping[str, RunningService]) -> bool:
        """Whether a service can be stopped now: it is not being stopped yet, and no running service needs it."""
        return not service.is_stopping and not any(
            service.name in other.local.request.needs for other in remaining.values()
        )

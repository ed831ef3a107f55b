"""One replica of a service: starts its container, waits for the end, restarts it by its policy, and stops it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from envtool import errors
from envtool.container.started import ESTABLISHED, LISTENING, Usage
from envtool.errors import EnvtoolError, SandboxError
from envtool.services import service_errors
from envtool.services.ready import NotReady, await_ready
from envtool.services.ready_probes import MAX_WAITING, ProbeTarget
from envtool.services.service_container import LocalService, ServiceProject, make_service_program, signal_number
from envtool.store.disk_errors import to_envtool_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.build.secret_values import SecretValues
    from envtool.container.messages import Exit
    from envtool.container.runner import Runner, StartedContainer, StartedPod
    from envtool.services.replica_log import LogPump, ReplicaLog
    from envtool.services.service_request import ServiceRequest

ReplicaStage: TypeAlias = Literal["starting", "ready", "restarting", "stopping", "ended", "failed"]

MAX_FIRST_RESTARTS = 2  # of a replica that was never ready
MAX_RESTARTS = 10  # in a row, each after less than STABLE_SECONDS
STABLE_SECONDS = 10.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 10.0  # seconds before a start: twice as long each time
_LATE_CLIENTS = 0.03  # seconds in which clients connect that looked up the address just before
_DRAIN_PAUSE = 0.01  # seconds between two looks at open connections: the kernel's table of them takes 12 ms to read
_READ_SECONDS = 0.5  # in which the last output of a container is read


class ReplicaSite(NamedTuple):
    """What the replicas of a group have in common."""

    runner: Runner
    store: str  # path
    pod: StartedPod
    pump: LogPump
    see_project: Callable[[], ServiceProject]
    restart: str  # the restart policy of services that declare none
    open_log: Callable[[str], ReplicaLog]  # by the replica's name
    open_scratch: Callable[[str], AbstractContextManager[str]]  # "memory" or "disk" -> its directory
    changed: Callable[[Replica], None]  # called by any thread after each change of `stage`
    secrets: SecretValues | None = None  # the values of the services' secrets


class Replica:
    """A container of a service, and the containers that replace it when it ends. Any thread may call its methods."""

    def __init__(self, service: LocalService, number: int, site: ReplicaSite) -> None:
        self.service, self.number = service, number
        self.name = f"{service.request.name}-{number}"
        self.stage: ReplicaStage = "starting"
        self.address = ""
        self.restarts = 0
        self.status: int | None = None  # of the container that ended last
        self.limit = ""  # which limit ended that, in words
        self.error: EnvtoolError | None = None  # why it failed
        self.killed = False  # it did not end by its stop signal
        self.since = time.time()  # of its stage
        self.opened: set[str] | None = set()  # watched files that its containers opened; None: not known
        self._site = site
        self._log = site.open_log(self.name)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._over = threading.Event()
        self._container: StartedContainer | None = None
        self._was_ready = False
        self._late: Callable[[], EnvtoolError] | None = None  # makes the error of a replica that was not ready in time
        self._thread = threading.Thread(target=self._run, name=f"service {self.name}", daemon=True)

    @property
    def request(self) -> ServiceRequest:
        """The service."""
        return self.service.request

    @property
    def is_up(self) -> bool:
        """Whether the replica is ready; a one-shot: whether it has succeeded."""
        return self.stage == "ready" or (self.request.once and self.stage == "ended" and self.status == 0)

    def has_just_ended(self) -> bool:
        """Returns whether its container has ended by itself, while its stage is still "ready"."""
        with self._lock:
            container = self._container if self.stage == "ready" and not self._stop.is_set() else None
        policy = self.request.restart or self._site.restart
        return container is not None and policy == "never" and not container.is_running()

    # ---- from outside

    def start(self) -> None:
        """Starts the first container, and returns at once."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Takes the replica out of the answers for its service's name, and sends the stop signal. Returns at once."""
        with self._lock:
            self._stop.set()
            container = self._container
        if self.stage in ("starting", "ready", "restarting"):
            self._set_stage("stopping")
        self._set_ready(ready=False)
        if container is not None:
            container.end(signal_number(self.request.stop_signal))

    def kill(self) -> None:
        """Kills the container, and prevents further ones. Returns at once."""
        with self._lock:
            self._stop.set()
            container = self._container
        if container is not None:
            self.killed = True
            container.kill()

    def fail(self, error: EnvtoolError) -> None:
        """Kills the container, if it runs; the replica has then failed with `error`. Returns at once."""
        if not self._over.is_set():
            self.error = error
            self.kill()

    def await_end(self, seconds: float | None = None) -> bool:
        """Waits for the end of the replica, at most so many seconds. Returns whether it has ended."""
        return self._over.wait(seconds)

    def join(self) -> None:
        """Waits for its thread. Call it after `kill` or `await_end`."""
        if self._thread.ident is not None:
            self._thread.join()

    def withdraw(self) -> None:
        """Takes the replica out of the answers for its service's name; open connections stay."""
        self._set_ready(ready=False)

    def has_connections(self) -> bool:
        """Returns whether a client is connected to a port that the replica listens on."""
        container = self._container
        sockets = container.tcp_sockets() if container is not None else ()
        ports = {sock.port for sock in sockets if sock.state == LISTENING}
        return any(sock.state == ESTABLISHED and sock.port in ports for sock in sockets)

    def container(self) -> StartedContainer:
        """Returns its container. Raises ServiceError if no container runs now."""
        container = self._container
        if container is None:
            message = f"service `{self.request.name}` (replica {self.name}) does not run"
            raise errors.ServiceError(message, code="service-not-running", service=self.request.name)
        return container

    def log_tail(self) -> str:
        """Returns the last lines of its log."""
        return self._log.tail()

    @property
    def log(self) -> ReplicaLog:
        """The log of the replica."""
        return self._log

    def usage(self) -> Usage:
        """Returns what its processes use now."""
        container = self._container
        return container.usage() if container is not None else Usage(0, 0.0, 0)

    # ---- its thread

    def _run(self) -> None:
        try:
            self._live()
        except Exception as error:  # also a bug: it ends this service, with a message
            self._fail(to_envtool_error(error, self._site.store))
        finally:
            self._over.set()
            self._site.changed(self)

    def _live(self) -> None:
        """Starts containers one after the other, as the restart policy says. Raises EnvtoolError if the last one
        failed."""
        request, in_row, ready_once = self.request, 0, False
        while True:
            began = time.monotonic()
            ended = self._run_once()
            self.status = ended.status
            self.limit = service_errors.describe_end(request, ended) if ended.exceeded is not None else ""
            if self.error is not None:
                raise self.error
            if self._stop.is_set() or (request.once and ended.status == 0):
                self._set_stage("ended")
                return
            in_row = 1 if time.monotonic() - began > STABLE_SECONDS else in_row + 1
            if not self._may_restart(ended):
                raise service_errors.ended_error(request, self.name, ended, self.log_tail(), ready=self._was_ready)
            ready_once = ready_once or self._was_ready
            if in_row > (MAX_RESTARTS if ready_once else MAX_FIRST_RESTARTS):
                raise service_errors.restarts_error(request, self.name, ended, in_row, self.log_tail())
            self.restarts += 1
            self._set_stage("restarting")
            if self._stop.wait(min(_FIRST_BACKOFF * 2 ** (in_row - 1), _LONGEST_BACKOFF)):
                if self.error is not None:
                    raise self.error
                self._set_stage("ended")
                return

    def _may_restart(self, ended: Exit) -> bool:
        policy = self.request.restart or self._site.restart
        if ended.status == 0 and self.request.once:
            return False
        return policy == "always" or (policy == "on-failure" and ended.status != 0)

    def _run_once(self) -> Exit:
        """Runs one container to its end. Raises EnvtoolError if it could not be started, or was not ready in time."""
        site, self._was_ready = self._site, False
        with ExitStack() as exits:
            scratch = exits.enter_context(site.open_scratch(self.request.scratch))
            member = site.pod.add_member(self.name, self.request.name)
            exits.callback(self._leave_pod)
            self.address = member.address
            program = make_service_program(self.service, site.see_project(), member, scratch, site.secrets)
            self._log.begin(MAX_WAITING if any(check.how == "log" for check in self.request.ready) else 0)
            writer, drained = site.pump.open(self._log.feed)
            with site.pod.namespaces(self.name) as joins:
                try:
                    container = exits.enter_context(
                        site.runner.start(program, stdout=writer, stderr=writer, joins=joins)
                    )
                finally:
                    os.close(writer)
            with self._lock:
                self._container = container
                if self._stop.is_set():
                    container.kill()
            exits.callback(self._forget_container)
            deadline = time.monotonic() + self.request.within  # from here: a network may start slowly
            target = ProbeTarget(self.name, member.address, container, site.pod, self._log, site.pump)
            ended = self._await_exit(target, deadline)
            drained.wait(_READ_SECONDS)
            self._note_opened(ended)
        if self._late is not None and not self._stop.is_set():
            raise self._late()
        return ended

    def _await_exit(self, target: ProbeTarget, deadline: float) -> Exit:
        gone = threading.Event()
        self._late = None
        prober = threading.Thread(target=self._probe, args=(target, gone, deadline), daemon=True)
        prober.start()
        try:
            return target.container.wait()
        finally:
            gone.set()
            prober.join()
            self._set_ready(ready=False)

    def _probe(self, target: ProbeTarget, gone: threading.Event, deadline: float) -> None:
        """Waits until the replica is ready. Kills its container if that takes too long."""
        request = self.request
        try:
            if request.once:
                if not gone.wait(max(0.0, deadline - time.monotonic())):
                    self._late = lambda: service_errors.not_ended_error(request, self.name, self.log_tail())
                    target.container.kill()
            elif await_ready(request, target, gone, deadline):
                self._site.pod.set_ready(self.name, ready=True)
                self._was_ready = True
                self._log.begin()  # nobody looks for a line in it any more
                self._set_stage("ready")
        except NotReady as late:
            where, reason = late.where, late.reason
            self._late = lambda: service_errors.not_ready_error(request, self.name, where, reason, self.log_tail())
            target.container.kill()
        except Exception as error:
            failure = to_envtool_error(error, self._site.store)
            self._late = lambda: failure
            target.container.kill()

    def _note_opened(self, ended: Exit) -> None:
        if ended.opened is None:
            self.opened = None
        elif self.opened is not None:
            self.opened |= {*ended.opened}

    def _forget_container(self) -> None:
        with self._lock:
            self._container = None

    def _leave_pod(self) -> None:
        with suppress(SandboxError):  # the pod has ended, and the member with it
            self._site.pod.remove_member(self.name)

    def _set_ready(self, *, ready: bool) -> None:
        with suppress(SandboxError, ValueError):  # the pod or the member is gone
            self._site.pod.set_ready(self.name, ready=ready)

    def _set_stage(self, stage: ReplicaStage) -> None:
        with self._lock:  # never held while others are called
            if stage == "ready" and self._stop.is_set():
                return
            self.stage, self.since = stage, time.time()
        self._site.changed(self)

    def _fail(self, error: EnvtoolError) -> None:
        self.error = error
        self._set_stage("failed")


def drain(replicas: Sequence[Replica], seconds: float) -> None:
    """Takes replicas out of the answers for their service's name. Waits until their open connections have ended, at
    most so many seconds."""
    for replica in replicas:
        replica.withdraw()
    end, busy, pause = time.monotonic() + seconds, [*replicas], _LATE_CLIENTS
    while busy and time.monotonic() < end:
        time.sleep(pause)
        busy, pause = [replica for replica in busy if replica.has_connections()], _DRAIN_PAUSE


def merge_opened(replicas: Iterable[Replica]) -> tuple[str, ...] | None:
    """Returns the watched files that any of some replicas opened, sorted; None where this is not known of one."""
    paths: set[str] = set()
    for replica in replicas:
        if replica.opened is None:
            return None
        paths |= replica.opened
    return tuple(sorted(paths))

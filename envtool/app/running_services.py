"""Shows, stops, scales and enters the services that run: `ps`, `down`, `scale`, `logs`, and `exec --service`. No spec
is read: the service manager knows what runs, even if the spec has changed since.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from envtool.app.command_request import CommandRequest, find_spec
from envtool.errors import EnvtoolError, StoreError, UsageError, near_name_hint
from envtool.lazy_dataclass import dataclass
from envtool.services.up import control_client, control_protocol
from envtool.services.up.project_state import ProjectState, StateRecord, list_states
from envtool.services.up.service_log import LogLine, LogReader
from envtool.store import store as stores

_POLL_SECONDS = 0.1  # between two looks at a log that is followed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectServices:
    """The services of one project: their state now, or when they ended. `replicas` has the values of
    services/up/service_status.py."""

    root: str
    spec: str
    running: bool
    record: StateRecord
    replicas: tuple[dict[str, Any], ...] = ()


def find_state(request: CommandRequest) -> ProjectState:
    """Returns the directory of the project's services. Raises UsageError, StoreError."""
    path = find_spec(request)
    return ProjectState.of(stores.open_store().root, os.path.dirname(path), os.path.basename(path))


def show(request: CommandRequest, *, everywhere: bool = False) -> tuple[ProjectServices, ...]:
    """Returns the services of the project, or (`everywhere`) of all projects of this user: those that run, and those
    that ended without `down`. Raises UsageError, StoreError."""
    states = list_states(stores.open_store().root) if everywhere else [find_state(request)]
    found = [_look(state) for state in states]
    return tuple(sorted((item for item in found if item is not None), key=lambda item: (item.root, item.spec)))


def _look(state: ProjectState) -> ProjectServices | None:
    record = state.read_record()
    replicas: list[dict[str, Any]] = []
    try:
        replicas = control_client.collect(state, "status")
        running = True
    except UsageError as error:
        if error.code != "up-not-running":
            raise
        running = False
    except StoreError:
        running = state.is_running()
    record = state.read_record() or record
    if record is None or (record.ended and not record.reason and not running):
        return None
    return ProjectServices(root=record.root, spec=record.spec, running=running, record=record, replicas=tuple(replicas))


def stop(
    request: CommandRequest, services: Sequence[str] = (), *, everywhere: bool = False
) -> Iterator[dict[str, Any]]:
    """Stops services of the project (none named: all), or those of all projects, and removes their state. Yields a
    message for each project or service that stopped. Raises UsageError, StoreError."""
    states = list_states(stores.open_store().root) if everywhere else [find_state(request)]
    if services:
        yield from control_client.collect(states[0], "stop", seconds=None, services=[*services])
        return
    for state in states:
        record = state.read_record()
        was_running = _stop_all(state)
        if (was_running or record is not None) and record is not None:
            yield {"project": record.root, "spec": record.spec, "stopped": was_running}


def _stop_all(state: ProjectState) -> bool:
    """Returns whether services ran."""
    was_running, record = state.is_running(), state.read_record()
    try:
        with control_client.ask(state, "follow", seconds=None) as watched:
            record = state.read_record()  # of this manager: it is written before the manager listens
            control_client.collect(state, "stop", services=[])
            control_client.wait_until_ended(state, watched.connection, record)
    except EnvtoolError as error:
        if error.code not in ("up-not-running", "up-lost"):
            raise
        if state.is_running():  # stopped by a signal, or hanging: the kernel kills its containers with it
            control_client.kill(state)
    deadline = time.monotonic() + control_client.SHORT_SECONDS
    while not (state.has_another_holder(record) or state.forget()):
        if time.monotonic() > deadline:
            raise control_protocol.broken("it does not end")
    return was_running


def scale(request: CommandRequest, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Changes the number of replicas of services. Returns when new replicas are ready and surplus ones have ended.
    Raises UsageError, ServiceError of a replica that failed, StoreError."""
    return control_client.collect(find_state(request), "scale", seconds=None, counts=counts)


def make_fresh(request: CommandRequest, services: Sequence[str]) -> list[dict[str, Any]]:
    """Throws away what services have written, and starts them anew on their prepared state; returns when they are
    ready. Raises UsageError, ServiceError, StoreError."""
    return control_client.collect(find_state(request), "fresh", seconds=None, services=[*services])


def read_logs(
    request: CommandRequest, services: Sequence[str], *, count: int | None, follow: bool
) -> Iterator[LogLine]:
    """Yields the last lines of services or replicas (none named: of all); with `follow` also later lines, until the
    services are stopped. Raises UsageError."""
    state = find_state(request)
    record = state.read_record()
    if record is None and not state.is_running():
        raise control_client.not_running()
    reader = LogReader(state.path, services)
    lines = reader.last(None)
    if not lines:
        _check_names(state, services)
    yield from lines if count is None else lines[len(lines) - min(count, len(lines)) :]
    if not follow:
        return
    connection = control_client.connect(state)
    while connection is not None:
        ended = _has_ended(connection)
        yield from reader.new()
        if ended:
            break


def _has_ended(connection: socket.socket) -> bool:
    """Waits at most _POLL_SECONDS. Returns whether the manager has ended."""
    connection.settimeout(_POLL_SECONDS)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def _check_names(state: ProjectState, services: Sequence[str]) -> None:
    known = {line.service for line in LogReader(state.path).last(None)}
    for name in services:
        if name not in known and name.rpartition("-")[0] not in known:
            raise UsageError(
                f"no service `{name}` printed anything", code="up-service", hint=near_name_hint(name, known)
            )


def enter(request: CommandRequest, service: str, argv: Sequence[str], *, terminal: bool, term: str) -> int:
    """Runs a command in the container of a running service, with this process's standard streams. Returns its exit
    status. Raises UsageError, SandboxError, StoreError."""
    from envtool.container.execution import Execution, window_of

    answer = control_client.ask(
        find_state(request),
        "exec",
        descriptors=() if terminal else (0, 1, 2),
        service=service,
        argv=[*argv],
        terminal=terminal,
        window=window_of((0, 1)) if terminal else -1,
        variables={"TERM": term} if terminal else {},
    )
    with answer:
        for _ in answer.messages():
            if len(answer.descriptors) == 1:
                channel = socket.socket(fileno=answer.descriptors[0])
                with Execution.of_channel(channel, terminal=terminal) as execution:
                    return execution.wait().status
            control_protocol.close_all(answer.descriptors)
    raise control_protocol.broken("it sent a message out of turn")

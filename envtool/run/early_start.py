"""Starts the task of a run, and its services, from what the last run noted (early_record.py), before the modules of
this run are imported.

Nothing is believed: the run reads its spec, makes its plan and its programs as ever, and takes over what is equal to
them (container/early_run.py). A note that is out of date only costs the time of a container that is ended. So it is
enough to compare what changes often: the spec and its lock, the layers, the variables of this command line. What is
noted reaches nothing outside of its pod, has no secret and needs no leave of the caller.

    main thread  the note, pod, first services, the task's container | imports, spec, plan .. asks for pod, containers
    a thread                                                          further services, ready? the task └── gets them

A task without services needs no pod: the main thread starts it (container/early_container.py), and imports.
"""

from __future__ import annotations

import _thread
import binascii
import os
import time

from envtool.fs import store_files
from envtool.project import OWN, VENDOR, git, is_own_path
from envtool.run import fast_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from envtool.container.early_container import EarlyContainer
    from envtool.container.early_run import EarlyPod

FORMAT = 2
ADDRESS, PLACE = "address.of.member", "/directory.of.fresh"  # in a noted program, where each run has its own
NOTES = "early notes"  # name of the list of notes in the context of a run
TASK_MEMBER = "envtool"
_PAUSE = 0.001  # seconds between two looks whether a service is ready
_READY_SECONDS = 60.0


def plan_path(store: str, spec: str, task: str, envs: tuple[str, ...]) -> str:
    """Returns the path of the note of a run; the content says which run it belongs to."""
    name = binascii.crc32("\0".join((str(os.geteuid()), spec, task, *envs)).encode("utf-8", "surrogateescape"))
    return f"{store}/plans/{name:08x}.early"


def plan_version() -> tuple[object, ...]:
    """Returns what the meaning of a note depends on."""
    return (FORMAT, *fast_exec.plan_version(), os.uname().release)


def start(store: str, spec: str, task: str, envs: tuple[str, ...], *, alone: bool = True) -> None:
    """Starts what the last run of this task noted, if that still holds as far as it is quick to compare; `alone` False:
    only what has services. Never raises OSError."""
    try:
        plan: dict[str, Any] = store_files.decode_with_checksum(
            store_files.read_regular_file(plan_path(store, spec, task, envs))
        )[0]
        if plan["version"] != plan_version() or (plan["spec"], plan["task"], plan["envs"]) != (spec, task, envs):
            return
        if not (alone or plan["services"]) or not all(
            fast_exec.stat_signature(path) == state for path, state in plan["watch"]
        ):
            return
        locks: list[int] = []
        try:
            locks += [fast_exec.hold(path) for path in plan["locks"]]  # gc must not remove the layers
            running = fast_exec.start_gits(plan) if plan["sees_project"] else None
            begin = _begin if plan["services"] else _begin_task
            begin(store, plan, running, locks)
            locks = []
        finally:
            for descriptor in locks:
                os.close(descriptor)
    except (OSError, ValueError, EOFError, TypeError, LookupError, git.RepositoryError, _LeftToRunError):
        return


def _begin_task(_store: str, plan: dict[str, Any], running: dict[str, git.Git] | None, locks: list[int]) -> None:
    from envtool.container.early_container import EarlyTask

    hidden = _list_hidden(plan, running) if running is not None else ()
    EarlyTask(_fill_in(plan["program"], "", "", hidden), plan["trees"], locks).await_start()


def _begin(store: str, plan: dict[str, Any], running: dict[str, git.Git] | None, locks: list[int]) -> None:
    from envtool.container import early_run, enterable_init  # noqa: F401 - before the thread needs it

    pod = early_run.EarlyPod(user=plan["user"], spare=plan["spare"])
    early_run.EarlyRun(pod, locks)
    starter = _EarlyStarter(store, plan, pod)
    if starter.start_first(running):
        _thread.start_new_thread(starter.go_on, ())


class _EarlyStarter:
    """Starts the containers of a note, one after the other: the first by the main thread, the others by a thread."""

    def __init__(self, store: str, plan: dict[str, Any], pod: EarlyPod) -> None:
        self._store, self._plan, self._pod = store, plan, pod
        self._hidden: tuple[str, ...] = ()
        self._pending = [*plan["services"]]  # that have not started
        self._waiting: dict[str, list[_EarlyMember]] = {}  # by service: members that are not ready
        self._task: EarlyContainer | None = None  # made, and waiting for the services

    def start_first(self, running: dict[str, git.Git] | None) -> bool:
        """Starts the services that need no other one, and makes the task if there are no further ones. Returns when
        they run, and whether there is more to do. Called by the main thread: its imports would take the interpreter
        away from the threads that start containers, and a processor from the services."""
        return self._attempt(self._start_first, running)

    def go_on(self) -> None:
        """Starts what is left."""
        self._attempt(self._start_rest)

    def _attempt(self, step: Callable[..., None], *arguments: Any) -> bool:
        """Returns whether a step succeeded. What cannot be started is left to the run, which reports why."""
        try:
            step(*arguments)
        except _LeftToRunError:
            return False
        except Exception:  # the run starts all itself, and reports what is wrong
            if os.environ.get("ENVTOOL_DEBUG"):
                raise
            return False
        return True

    def _start_first(self, running: dict[str, git.Git] | None) -> None:
        if running is not None:
            self._hidden = _list_hidden(self._plan, running)
        self._start_services(frozenset())
        for members in self._waiting.values():
            if not all(member.container.await_start() for member in members):
                raise _LeftToRunError
        self._make_task()
        if self._task is not None:
            self._task.await_start()

    def _start_services(self, ready: frozenset[str]) -> None:
        """Starts the services that need no others than those that are ready."""
        for service in [service for service in self._pending if ready.issuperset(service["needs"])]:
            self._pending.remove(service)
            self._waiting[service["name"]] = self._start_service(service)

    def _start_rest(self) -> None:
        """Starts services, each when those are ready that it needs, and the task, which begins when all are."""
        ready: frozenset[str] = frozenset()
        end = time.monotonic() + _READY_SECONDS
        while self._pending or self._waiting:
            self._start_services(ready)
            self._make_task()
            for name, members in [*self._waiting.items()]:
                members[:] = [member for member in members if not self._is_ready(member)]
                if not members:
                    del self._waiting[name]
                    ready |= {name}
            if self._waiting:
                if time.monotonic() > end or not self._pod.is_open:
                    return
                time.sleep(_PAUSE)
        if self._task is not None:
            self._task.go()
        elif self._plan["program"] is not None:
            self._start_task(self._plan["program"])

    def _make_task(self) -> None:
        """Makes the container of the task while the last services get ready. One with a time-out is made when they
        are."""
        program = self._plan["program"]
        if self._task is None and program is not None and program["timeout"] is None and not self._pending:
            self._task = self._start_task(program, waits=True)

    def _start_service(self, service: dict[str, Any]) -> list[_EarlyMember]:
        self._pod.declare_service(service["name"])
        members = []
        for name, program in service["members"]:
            address, container = self._start(name, service["name"], program)
            members.append(_EarlyMember(name, address, service["checks"], container))
        return members

    def _start_task(self, program: dict[str, Any], *, waits: bool = False) -> EarlyContainer:
        from envtool.services import fresh_directory
        from envtool.store.locked_directory import create_locked

        directory, lock = create_locked(f"{self._store}/tmp")
        place = (directory, lock, fresh_directory.fill(directory))
        return self._start(TASK_MEMBER, "", program, place, waits=waits)[1]

    def _start(
        self,
        name: str,
        service: str,
        program: dict[str, Any],
        place: tuple[str, int, int] | None = None,
        *,
        waits: bool = False,
    ) -> tuple[str, EarlyContainer]:
        """Returns the address of a container, and the container, which starts. Raises _LeftToRunError."""
        directory = place[0] if place else ""
        started = self._pod.start_early(
            name, service, lambda address: _fill_in(program, address, directory, self._hidden), place, waits=waits
        )
        if started is None:
            raise _LeftToRunError
        return started

    def _is_ready(self, member: _EarlyMember) -> bool:
        """Returns whether a member of a service is ready. Raises _LeftToRunError where it has ended, or its output has
        gone to the run."""
        container = member.container
        if container.has_ended or container.adopted or not (member.checks or container.await_start()):
            raise _LeftToRunError
        while member.checks:
            port, text = member.checks[0]
            if not (self._answers(member, port) if port else container.has_printed(text)):
                return False
            del member.checks[0]
        self._pod.set_ready(member.name, ready=True)
        return True

    def _answers(self, member: _EarlyMember, port: int) -> bool:
        """Returns whether a port of a member accepts a connection. One socket is for all attempts: after a refusal it
        can be connected again (connect(2), of Linux)."""
        if member.probe is None:
            member.probe = self._pod.open_socket(seconds=1.0)
        try:
            member.probe.connect((member.address, port))
        except ConnectionRefusedError:
            return False
        except OSError:
            member.probe.close()
            member.probe = None
            return False
        member.probe.close()
        member.probe = None
        return True


class _EarlyMember:
    """A container of a service, and the checks that have not succeeded: a port that answers, or (0) a text that it
    prints."""

    __slots__ = ("address", "checks", "container", "name", "probe")

    def __init__(self, name: str, address: str, checks: list[tuple[int, bytes]], container: EarlyContainer) -> None:
        self.name, self.address, self.checks, self.container = name, address, [*checks], container
        self.probe: socket.socket | None = None  # not connected


class _LeftToRunError(Exception):
    """The run starts what has not started."""


def _list_hidden(plan: dict[str, Any], running: dict[str, git.Git]) -> tuple[str, ...]:
    """Returns what source_files.list_hidden returns. Raises _LeftToRunError where the project has another repository
    than the noted one, and what git raises."""
    hidden = [*fast_exec.list_hidden(plan, running)]
    top = running.get("")
    if top is not None and top.repository.directory != plan["git"]:
        raise _LeftToRunError
    if os.path.isdir(os.path.join(plan["project"], VENDOR)):
        hidden.append(VENDOR)
    return tuple(path for path in hidden if path in (OWN, VENDOR) or not is_own_path(os.fsencode(path)))


def _fill_in(program: dict[str, Any], address: str, directory: str, hidden: tuple[str, ...]) -> dict[str, Any]:
    """Returns a noted program with the values of this run."""
    operations = []
    for operation in program["operations"]:
        values = [value.replace(ADDRESS.encode(), address.encode()) if isinstance(value, bytes) else value
                  for value in operation] if operation[0] == "hosts" else operation  # fmt: skip
        operations.append(tuple(directory if value == PLACE else value for value in values))
    return {**program, "operations": tuple(operations), "hidden": hidden if program["hidden"] else ()}

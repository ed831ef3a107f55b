"""Containers that start before a run knows what it will start: a pod, its services, and the task beside them.

`run/early_start.py` starts them from what the last run noted. The run decides later, when it has read its spec. It asks
for the same pod, members and containers as ever, by the Runner. A container that it asks for is taken over if it began
already and its program is equal, value by value; if it is not, it is ended, and the run's own container starts in its
place. What the run does not ask for is ended before the task begins.

    EarlyRun ──take_pod──> EarlyPod        `confirm`: the project has not changed since, and these are the members
                              └─ find(joins) ──> EarlyContainer ──taken over──> adopted_container.py

All of it dies with this process. Imported by the command line before the spec is read: nothing here takes long. A task
without services needs no pod: early_container.py.
"""

from __future__ import annotations

import _thread
import os
import sys
from contextlib import suppress

from envtool.container.early_container import EarlyContainer, identify, is_same
from envtool.container.pod import Pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.container.join import Namespaces
    from envtool.container.pod import Member

_EARLY_SWITCH_SECONDS = 0.0001  # that a thread waits for the interpreter while the main thread imports
_SWITCH_SECONDS = sys.getswitchinterval()

_runs: list[EarlyRun] = []  # at most one: that of this process
_pods: list[EarlyPod] = []  # at most one: the pod that no run has taken


class EarlyPod(Pod):
    """A pod some of whose members are there already, with their containers."""

    def __init__(self, *, user: bool, spare: int) -> None:
        super().__init__(user=user, spare=spare)
        self.user = user
        self.lock = _thread.RLock()
        self.is_open = True  # whether further containers start early
        self.is_confirmed = False
        self.members: frozenset[str] | None = None  # that the run will have
        self.early: dict[str, tuple[tuple[str, str, bool], Member]] = {}  # members that the run has not asked for
        self.services: list[EarlyContainer] = []
        self.task: EarlyContainer | None = None
        self.place: tuple[str, int, int] | None = None  # directory, its lock, a socket: see FreshServer

    # ---- before the run has it

    def start_early(
        self,
        name: str,
        service: str,
        make_program: Callable[[str], dict[str, Any]],
        place: tuple[str, int, int] | None = None,
        *,
        waits: bool = False,
    ) -> tuple[str, EarlyContainer] | None:
        """Starts a container in a new member, of a service or ("") of the task, with its `place` (`take_place`); the
        program is made of the address. One that `waits` begins its steps at `go`. Returns the address and the
        container; None if the run goes on by itself."""
        with self.lock:
            if not self.is_open or not (self.members is None or name in self.members):
                if place is not None:
                    _remove_place(place)
                return None
            self.place = place
            member = super().add_member(name, service, default_route=not service)
            self.early[name] = (name, service, not service), member
            container = EarlyContainer(
                make_program(member.address), self.namespaces(name), held=bool(service), waits=waits
            )
            if service:
                self.services.append(container)
            else:
                self.task = container
            return member.address, container

    # ---- for the run

    def confirm(self, newest: int | None, members: frozenset[str]) -> int:
        """See StartedPod."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        with self.lock:
            began = [container.began for container in self.containers()]
            self.is_confirmed = newest is not None and newest < min(began, default=1 << 63)
            self.members = members
            if not self.is_confirmed or not members.issuperset(self.early):
                self.drop()
            return min(began) if began and self.is_open else 0

    def add_member(self, name: str, service: str = "", *, default_route: bool = False) -> Member:
        """See Pod."""
        with self.lock:
            if not self.is_confirmed:
                self.drop()
            wanted, member = self.early.pop(name, ((), None))
            if member is not None and wanted == (name, service, default_route):
                return member
            self.is_open = False  # from now on the run starts all that has not begun
            if member is not None:
                self.early[name] = (name, service, default_route), member
                self.drop()
            return super().add_member(name, service, default_route=default_route)

    def take_place(self) -> tuple[str, int, int] | None:
        """See StartedPod."""
        with self.lock:
            place, self.place = self.place, None
        if place is not None and self.task is None:
            _remove_place(place)
            return None
        return place

    def _are_all_adopted(self) -> bool:
        """Whether the run has taken over every service that it has, and starts none itself."""
        count = len(self.members or ()) - 1  # without the task
        return len(self.services) == count and all(one.adopted for one in self.services)

    @property
    def is_complete(self) -> bool:
        """Whether the run has taken over all, with the task."""
        return self.task is not None and all(container.adopted for container in self.containers())

    def containers(self) -> list[EarlyContainer]:
        """Returns all that have started early, and have not been ended."""
        return [*self.services, *([self.task] if self.task else [])]

    def take_over(self, joins: Namespaces, program: dict[str, Any]) -> EarlyContainer | None:
        """Returns the container that began early in these namespaces, for the caller to end, if its program is this one
        and it may stand for it: a service has to run, and a task to have begun beside all services of the run. Ends one
        that may not."""
        with self.lock:
            space = identify(joins)
            container = next((one for one in self.containers() if one.space == space and not one.adopted), None)
            if container is None:
                return None
            is_task = container is self.task
            may_stand = self._are_all_adopted() if is_task else not container.has_ended
            if self.is_confirmed and may_stand and is_same(container.program, program):
                container.go()
                if container.await_start():
                    container.adopt()
                    return container
            self._end([container])
            return None

    def drop(self) -> None:
        """Ends all that the run has not taken over, and starts nothing more. What has no container any more is no
        member either."""
        with self.lock:
            self.is_open = False
            self._end([container for container in self.containers() if not container.adopted])
            for name in [*self.early]:
                del self.early[name]
                super().remove_member(name)
            place, self.place = self.place, None
        if place is not None:
            _remove_place(place)

    def _end(self, containers: list[EarlyContainer]) -> None:
        """Ends containers; with a service also the task, which began beside it, unless the run has that."""
        for container in containers:
            if container is self.task:
                self.task = None
            elif container in self.services:
                self.services.remove(container)
            else:  # the task has been ended with its service
                continue
            container.end()
            if self.task is not None and not self.task.adopted:
                self._end([self.task])

    def close(self, *, wait: bool = True) -> None:
        """See Pod."""
        if self._lifelines:
            with suppress(Exception):  # the holder has ended, and all members with it
                self.drop()
        super().close(wait=wait)


class EarlyRun:
    """What has started early in this process, and what it holds until its end."""

    def __init__(self, pod: EarlyPod, locks: list[int]) -> None:
        self.pod, self.locks = pod, locks
        sys.setswitchinterval(_EARLY_SWITCH_SECONDS)
        _runs.append(self)
        _pods.append(pod)


def take_pod(*, user: bool) -> EarlyPod | None:
    """Returns the pod that has started early, for the caller to close; None if there is none of this sort."""
    if not _pods or _pods[0].user != user:
        return None
    try:
        return _pods.pop()
    except IndexError:  # another thread was faster
        return None


def find(joins: Namespaces | None, program: Callable[[], dict[str, Any]]) -> EarlyContainer | None:
    """Returns the container that stands for one of a program in these namespaces: see `EarlyPod.take_over`."""
    if joins is None or not _runs:
        return None
    return _runs[0].pod.take_over(joins, program())


def has_begun() -> bool:
    """Returns whether anything of this process began early."""
    return bool(_runs)


def end() -> None:
    """Ends all that has started early and was not taken over."""
    while _pods:
        _pods.pop().close()
    while _runs:
        for descriptor in _runs.pop().locks:
            os.close(descriptor)


def _remove_place(place: tuple[str, int, int]) -> None:
    from envtool.fs import removal

    directory, lock, listener = place
    os.close(listener)
    with suppress(OSError):  # the next sweep removes it
        removal.remove_tree(directory)
    os.close(lock)

"""Notes what a run of one task has started, for early_record.py, which stores it for the next run.

Noted is what reaches nothing outside of its pod and needs no leave of the caller: no network, policy, secret, limit,
variable of the caller, nor a copy of a git directory. Of the services those that are ready by a port, by a line that
they print, or at once, with all that they need; of the task one that leaves nothing in the project. A task without
services may stand on this machine's own system: what it opens of that is watched from before it begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from envtool.build.stack import stack_binds
from envtool.lazy_dataclass import dataclass
from envtool.run import early_start

if TYPE_CHECKING:
    from envtool.build.stack import Stack
    from envtool.container.program import Program
    from envtool.run.prepared_task import PreparedTask
    from envtool.services.service_container import LocalService, ServiceProject
    from envtool.services.service_request import ReadyProbe, ServiceRequest

_SPECIAL = "\\.^$*+?{}[]|()\n"  # characters of a regular expression that stand for others


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyNote:
    """What one task has started: the part of the note that depends on it, its stacks, and the keys of layers with
    prepared state."""

    plan: dict[str, Any]
    stacks: tuple[Stack, ...]
    states: tuple[str, ...]


def note(task: PreparedTask, local: Sequence[LocalService], project: ServiceProject) -> None:
    """Notes what a task has started beside services, in its context, for early_record.py. Notes nothing where a part of
    it has to be decided anew each time, or where it was all known before."""
    from envtool.container.early_run import EarlyPod

    if isinstance(task.pod, EarlyPod) and task.pod.is_complete:
        return
    request, context = task.request, task.call.context
    stacks = (task.built, *(service.stack for service in local))
    if not _is_plain(task, project) or any(stack_binds(stack.layers) for stack in stacks):
        return
    services = [*_startable(local)]
    if not services:
        return
    has_task = len(services) == len(local) and _is_startable(task)
    plan = {
        "trees": (),
        "services": [_note_service(service, project) for service in services],
        "program": _task_program(task, project) if has_task else None,
        "user": request.user != "root",
        "spare": 1 + sum(service.request.replicas for service in local),
    }
    notes: list[EarlyNote] = context.shared.get(early_start.NOTES, list)
    notes.append(EarlyNote(plan=plan, stacks=stacks, states=request.state_keys))


def note_alone(task: PreparedTask, program: Program, project: ServiceProject, trees: tuple[str, ...]) -> None:
    """Notes what a task without services has started, in its context, for early_record.py: `program`, beside a watch of
    `trees`, directories of this machine. Notes nothing where it has to be decided anew each time."""
    context = task.call.context
    if not _is_plain(task, project) or not _is_startable(task) or context.logs:
        return
    if stack_binds(task.built.layers) and not trees:  # its directories cannot be watched from outside
        return
    plan = {"trees": trees, "services": [], "program": program.to_dict(), "user": task.request.user != "root"}
    notes: list[EarlyNote] = context.shared.get(early_start.NOTES, list)
    notes.append(EarlyNote(plan=plan, stacks=(task.built,), states=()))


def _is_plain(task: PreparedTask, project: ServiceProject) -> bool:
    """Whether a task, and what runs beside it, reaches nothing outside and needs no leave of the caller."""
    env = task.call.env
    return not (
        task.request.network or task.request.allow or env.learns or env.passed or task.call.context.allowed.said
        or project.binds or project.peeks
    )  # fmt: skip


def _startable(local: Sequence[LocalService]) -> list[LocalService]:
    """Returns the services that can be started without more than a note; needed ones first, as `local`."""
    started: dict[str, LocalService] = {}
    for service in local:
        if _is_startable_service(service.request) and all(need in started for need in service.request.needs):
            started[service.request.name] = service
    return [*started.values()]


def _is_startable_service(request: ServiceRequest) -> bool:
    return (
        all(probe.how == "tcp" or _is_plain_line(probe) for probe in request.ready)
        and not (request.once or request.secrets or request.limits or request.localhost)
        and request.scratch == "memory"
        and request.restart in ("", "never")
    )


def _is_plain_line(probe: ReadyProbe) -> bool:
    """Whether a check looks for a line with a text: to match an expression may take for ever."""
    return probe.how == "log" and bool(probe.text) and not {*probe.text} & {*_SPECIAL}


def _is_startable(task: PreparedTask) -> bool:
    call, request = task.call, task.request
    return not (
        request.outputs or request.secrets or request.limits or request.caches
        or request.artefacts.patterns or call.needs
        or call.artefacts_to or call.task.retries or request.scratch != "memory"
        or task.refusal is not None
    )  # fmt: skip


def _note_service(service: LocalService, project: ServiceProject) -> dict[str, Any]:
    from envtool.container.pod import Member
    from envtool.services.service_container import make_service_program

    request = service.request
    names = [f"{request.name}-{number}" for number in range(1, request.replicas + 1)]
    return {
        "name": request.name,
        "needs": request.needs,
        "checks": [(probe.port, probe.text.encode()) for probe in request.ready],
        "members": [
            (name, make_service_program(service, project, Member(name, early_start.ADDRESS, -1)).to_dict())
            for name in names
        ],
    }


def _task_program(task: PreparedTask, project: ServiceProject) -> dict[str, Any]:
    from envtool.container.program import BindMount
    from envtool.run import task_container
    from envtool.services import fresh_directory
    from envtool.services.pod_place import PodPlace
    from envtool.services.service_container import pod_mounts

    place = PodPlace(
        address=early_start.ADDRESS,
        hostname=early_start.TASK_MEMBER,
        namespaces=None,  # type: ignore[arg-type]  # no part of the program
        mounts=pod_mounts(),
        binds=(BindMount(source=early_start.PLACE, target=fresh_directory.DIRECTORY),),
        lists=fresh_directory.VARIABLES,
    )
    return task_container.make_program(task.request, task.built, project=project, place=place).to_dict()

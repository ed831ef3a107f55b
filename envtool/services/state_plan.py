"""Computes the key of prepared state, before it is built (prepared_state.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from envtool import keys
from envtool.errors import EnvtoolError, Interrupted, Problem, SpecError
from envtool.model import Input, InputFile, Json, Prepare
from envtool.project import inputs
from envtool.services.service_request import ServiceRequest

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.store.layers import Layer

VERSION = 1  # of the documents: to be changed when the same commands are run in another way
KIND = "state:prepare"  # of the documents: the store finds earlier ones by it
# Fields of a request that decide what a service writes. `within` and the number of replicas do not.
_DECIDING = (
    "name", "stack", "command", "variables", "user", "workdir", "project", "provides", "files", "kernel", "ready",
)  # fmt: skip


class StatePlan(NamedTuple):
    """Prepared state that is to be found or built. `document` has all that decides it; `key` is its digest."""

    prepare: Prepare
    key: str
    document: dict[str, Json]
    files: tuple[InputFile, ...]  # of the project, that the commands see


def plan_state(
    prepare: Prepare, request: ServiceRequest, needed: Sequence[ServiceRequest], context: Context
) -> StatePlan:
    """Returns the plan of a service's prepared state. `needed` are the requests of all services that it needs, with
    their own `prepare`. Raises SpecError if a pattern of `inputs` matches no file, Interrupted."""
    files = _find_files(prepare, context)
    document: dict[str, Json] = {
        "kind": KIND,
        "version": VERSION,
        "service": _select_deciding(request),
        "stop": request.stop_signal,  # what a server writes at its end depends on the signal
        "needs": [_select_deciding(other) | {"once": other.once, "prepare": other.prepare} for other in needed],
        "before": [[*command.words()] for command in prepare.before],
        "run": [[*command.words()] for command in prepare.run],
        "data": [*prepare.data],
        "files": [[item.path, item.sha256, item.executable, item.link] for item in files],
    }
    return StatePlan(prepare, keys.digest(document), document, files)


def _select_deciding(request: ServiceRequest) -> dict[str, Json]:
    """Returns those fields of a request that decide what a service writes."""
    fields = request.document()
    return {name: fields[name] for name in _DECIDING}


def _find_files(prepare: Prepare, context: Context) -> tuple[InputFile, ...]:
    if not prepare.inputs:
        return ()
    try:
        return inputs.find_inputs(
            context.root,
            [Input(pattern) for pattern in prepare.inputs],
            apart=(*context.files, *context.logs),
            access=context.host_access(),
            cancel=context.cancel.reader,
            check=context.cancel.check,
            listed=context.listed,
        )
    except Interrupted:
        raise
    except EnvtoolError as error:
        problem = Problem(where=prepare.where, message=f"`prepare`: {error.message}", code=error.code, hint=error.hint)
        raise SpecError((problem,)) from error


def find_state(context: Context, key: str) -> Layer | None:
    """Returns the layer of prepared state; None if the store does not have it. `gc` keeps the key until this run
    ends."""
    return context.leases.find_layer(context.store, key)

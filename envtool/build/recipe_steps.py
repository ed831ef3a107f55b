"""Translates the steps of a recipe into those of a container, which are data: functions become names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from envtool.api import BLOBS, Call, Place, Run, Step, Unpack
from envtool.build import container_steps
from envtool.container.program import ContainerStep
from envtool.container.step_functions import reference
from envtool.errors import BuildError
from envtool.model import Json
from envtool.recipe import function_name
from envtool.store import unpack_archive


def to_container_steps(steps: Sequence[Step]) -> tuple[ContainerStep, ...]:
    """Returns the steps of a container. Raises BuildError (code step-function) for a Call whose function has no name,
    or whose arguments are not JSON."""
    return tuple(_step(step) for step in steps)


def _step(step: Step) -> ContainerStep:
    match step:
        case Run():
            return ContainerStep(
                argv=step.command.words(), env=dict(step.env), cwd=step.cwd, user=step.user, bare=step.bare
            )
        case Call():
            unpacks = (_reference(unpack_archive.unpack_if_archive),) if step.unpacks else ()
            prepares = (unpack_archive.prepare, step.prepare) if step.unpacks else (step.prepare,)
            return ContainerStep(
                call=_reference(step.function),
                arguments=_as_json(step),
                functions=unpacks,
                prepare=tuple(_reference(prepare) for prepare in prepares if prepare is not None),
                counts=max(step.counts, 0),
            )
        case Unpack():
            return ContainerStep(
                call=_reference(container_steps.unpack),
                arguments=(f"{BLOBS}/{step.name}", step.target, step.strip, step.owners),
                prepare=(_reference(unpack_archive.prepare),),
            )
        case Place():
            return ContainerStep(
                call=_reference(container_steps.copy_to), arguments=(step.source, step.target, step.mode)
            )


def _reference(function: Callable[..., object]) -> str:
    name = function_name(function)
    if not name:
        shown = getattr(function, "__qualname__", type(function).__name__)
        raise BuildError(f"a step calls `{shown}`, which is no function of a module", code="step-function")
    return reference(name)


def _as_json(step: Call) -> tuple[Json, ...]:
    """Returns the arguments as they arrive in another process."""
    try:
        return tuple(json.loads(json.dumps(step.arguments, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        name = function_name(step.function)
        raise BuildError(f"the arguments of `{name}` are not JSON: {error}", code="step-function") from error

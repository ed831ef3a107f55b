"""`--learn-network`: runs an env with the whole network, and prints the smallest policy that the run needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.errors import SandboxError, UsageError
from envtool.events import Emit, Learned, Noted

if TYPE_CHECKING:
    from envtool.container.runner import StartedPod
    from envtool.model import Env


def check_options(*, offline: bool) -> None:
    """Raises UsageError for options that contradict `--learn-network`."""
    if offline:
        message = "`--learn-network` and `--offline` contradict each other: the run has to reach what it needs"
        raise UsageError(message, code="usage.contradiction")


def learning_envs(envs: Iterable[Env]) -> tuple[Env, ...]:
    """Returns the envs with access to the whole network, so that their runs report what they reached. Raises UsageError
    for an env with this machine's network, in which envtool sees no connections."""
    selected = tuple(envs)
    if networked := [env.name for env in selected if env.network]:
        names = ", ".join(f"`{name}`" for name in networked[:3]) + (" …" if len(networked) > 3 else "")
        raise UsageError(
            f"`--learn-network` sees nothing of an env with `network: true`: {names}",
            code="usage.contradiction",
            hint="leave `network: true` out of the spec, and learn what it needs instead",
        )
    return tuple(replace(env, learns=True) for env in selected)


def emit_learned(pod: StartedPod, env: Env, task: str, emit: Emit, *, complete: bool) -> None:
    """Emits the hosts that a task and its services have connected to. `complete`: the task passed."""
    from envtool.container.network_policy import format_destination

    try:
        reached = pod.passed()
    except SandboxError as error:  # the task fails for the same reason
        emit(Noted(text=f"the network needs of `{env.name}` are unknown: {error.message}"))
        return
    allow = tuple(format_destination(host, port) for host, port in reached)
    emit(Learned(env=env.name, task=task, allow=allow, complete=complete))

"""The limits of one run: those of the spec under those of the command line, and whether they can be enforced here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from envtool.build.limit_checks import check_limits
from envtool.events import Emit
from envtool.model import Env, Service, Task
from envtool.spec.limits import parse_options
from envtool.spec.select_envs import used_services

Limited = TypeVar("Limited", Env, Task)


def with_options(limited: Limited, options: Sequence[str]) -> Limited:
    """Returns an env or task with the limits of `--limit` over its own. Raises UsageError."""
    if not options:
        return limited
    limits = parse_options(options)
    if isinstance(limited, Task) and "time" in limits:
        limited = replace(limited, timeout=limits["time"].value)
    return replace(limited, limits={**limited.limits, **limits})


def check_task_limits(selected: Iterable[tuple[Env, Task]], emit: Emit) -> None:
    """Checks the limits of tasks and of their services. Raises SandboxError."""
    services: dict[str, Service] = {}
    for env, task in selected:
        check_limits(f"task `{task.name}` of env `{env.name}`", task.limits, emit, on_disk=env.scratch == "disk")
        services |= {service.name: service for service in used_services(env, task)}
    check_service_limits(services.values(), emit)


def check_env_limits(env: Env, emit: Emit) -> None:
    """Checks the limits of `exec` and `shell`, and of the env's services. Raises SandboxError."""
    check_limits(f"env `{env.name}`", env.limits, emit, on_disk=env.scratch == "disk")
    check_service_limits(used_services(env), emit)


def check_service_limits(services: Iterable[Service], emit: Emit) -> None:
    """Checks the limits of services. Raises SandboxError."""
    for service in services:
        check_limits(f"service `{service.name}`", service.limits, emit, on_disk=service.env.scratch == "disk")

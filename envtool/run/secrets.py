"""Asks for the secrets of tasks, and of the services beside them, before anything of them starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from envtool.events import Noted
from envtool.spec.select_envs import used_services

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.model import Env, SecretUse, Service, Task


def read_for_tasks(selected: Iterable[tuple[Env, Task | None]], context: Context) -> None:
    """Reads the secrets of tasks and of the services beside them; without a task, of those beside `exec`. Raises
    SpecError with all that the caller does not give."""
    _read([pair for env, task in selected for pair in _wanted_by_task(env, task)], context)


def read_for_services(services: Iterable[Service], context: Context) -> None:
    """Reads the secrets of services. Raises SpecError."""
    _read([pair for service in services for pair in _wanted_by_service(service)], context)


def _wanted_by_task(env: Env, task: Task | None) -> Iterator[tuple[str, SecretUse]]:
    for use in task.secrets if task is not None else ():
        assert task is not None
        yield f"task `{task.name}` of env `{env.name}`", use
    for service in used_services(env, task):
        yield from _wanted_by_service(service)


def _wanted_by_service(service: Service) -> Iterator[tuple[str, SecretUse]]:
    for use in service.secrets:
        yield f"service `{service.name}`", use


def _read(wanted: list[tuple[str, SecretUse]], context: Context) -> None:
    if not wanted:
        return
    secrets = context.secrets()
    known = {*secrets.unmasked()}
    secrets.read(wanted)
    for name, size in secrets.unmasked():
        if (name, size) not in known:
            text = f"the secret `{name}` has {size} bytes: too short to be masked, so output may show it"
            context.emit(Noted(text=text))

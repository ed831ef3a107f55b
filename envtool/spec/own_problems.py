"""Decides which errors in the project's own files stop a command: those of the envs that it selects.

A plugin reads the project's files (`go.mod`, `.java-version`) for one env, or for the stack of one service. What it
finds wrong there says nothing about other envs. Errors of the spec itself always stop the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.fs.globs import matches_name
from envtool.spec.select_envs import add_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.model import Env, Service
    from envtool.spec.declarations import LoadContext


def keep_sound(
    work: LoadContext, envs: Sequence[Env], services: Sequence[Service], only: Sequence[str], *, needed: bool
) -> tuple[tuple[Env, ...], tuple[Service, ...]]:
    """Returns the envs and declared services without an error of their own. Raises SpecError if one of those that
    `only` selects has an error, or if the spec has: then with the errors of all.

    `only` are patterns of envs, or of stacks of services (`service:db`); with `needed` the envs whose tasks the
    selected ones need count, too. Without patterns, or where one matches nothing, all errors count."""
    selected = {env.name for env in envs if any(matches_name(pattern, env.name, env.group) for pattern in only)}
    rendered = (*services, *(service for env in envs for service in env.services))
    stacks = (*envs, *(service.env for service in rendered))
    matches_all = only and all(any(matches_name(pattern, env.name, env.group) for env in stacks) for pattern in only)
    if needed:
        selected = add_needed(envs, selected)
    used = {service.name for env in envs if env.name in selected for service in env.services}
    used |= {
        service.name
        for service in rendered
        if any(matches_name(pattern, service.env.name, service.env.group) for pattern in only)
    }
    wanted = {("envs", name) for name in selected} | {("services", name) for name in used}
    all_count = not matches_all or bool(work.problems.noted)
    for subject, own in work.own_problems.items():
        if all_count or subject in wanted:
            for position, problem in own.noted.items():
                work.problems.noted.setdefault(position, problem)
    work.problems.raise_any()
    wrong = {service for section, service in work.own_problems if section == "services"}
    return (
        tuple(
            env
            for env in envs
            if ("envs", env.name) not in work.own_problems and not wrong & {service.name for service in env.services}
        ),
        tuple(service for service in services if service.name not in wrong),
    )

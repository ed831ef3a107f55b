"""Explains why bases, layers and tasks are cached or not: `why`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_project, without_lock_check
from envtool.build.assess import assess_nodes
from envtool.build.explain import explain_nodes
from envtool.errors import EnvtoolError
from envtool.plan.selection import SelectedNodes, select_subjects
from envtool.plan.why import Explanation
from envtool.spec.select_envs import stack_envs, used_services

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.open_project import OpenProject
    from envtool.build.assess import NodeState


def why(request: CommandRequest, names: tuple[str, ...] = ()) -> tuple[Explanation, ...]:
    """Explain why the bases, layers and tasks of these names (plan.selection) are cached or not; without names, all
    bases, layers and prepared states of services that are not cached. Each comes after the layers below it. Raises
    SpecError, UsageError, StoreError."""
    project = open_project(without_lock_check(request), needed=bool(names))  # a lock that does not fit is explained too
    envs = tuple(env for env in project.spec.envs if env.is_selected)
    selected = select_subjects(replace(project.spec, envs=envs), project.graph, names)
    try:
        states = assess_nodes(project.graph, project.context)
    except EnvtoolError as error:
        nothing = all_problems.NothingBuilt(project.graph)
        raise all_problems.complete_error(error, stack_envs(project.spec), nothing, project.context) from error
    # of the layers below a task only those that are not cached explain anything
    node_ids = {
        node_id for node_id in selected.nodes if node_id in selected.named or not names or not states[node_id].is_cached
    }
    explanations = explain_nodes(
        project.graph, project.context, node_ids, states=states, lock=project.lock_lines(), misses=not names
    )
    explanations += _explain_states(project, states, selected, named=bool(names))
    if not selected.tasks:
        return explanations
    from envtool.run.why import explain_tasks

    return explanations + explain_tasks(
        selected.tasks, {env.name: env for env in project.spec.envs}, project.graph, states, project.context
    )


def _explain_states(
    project: OpenProject, states: Mapping[str, NodeState], selected: SelectedNodes, *, named: bool
) -> tuple[Explanation, ...]:
    """Explains the prepared state of the services whose stacks are selected, and of those beside selected tasks: there,
    and without names, only what is not cached."""
    if not any(service.prepare for env in project.spec.envs for service in env.services):
        return ()
    from envtool.run.prepared_states import explain_states

    whole = {name for name in selected.stacks if name.startswith("service:")}
    beside = {service.env.name for env, task in selected.tasks for service in used_services(env, task)}
    return tuple(
        state
        for state in explain_states(project.spec.envs, project.graph, states, project.context)
        if (state.envs[0] in whole) or (state.state != "cached" and (not named or state.envs[0] in beside))
    )

"""Says what would be built: `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, unknown_task_error
from envtool.app.open_project import open_project
from envtool.build.assess import assess_nodes, plan_nodes
from envtool.errors import EnvtoolError
from envtool.plan.plan import Plan, make_plan
from envtool.plan.task_graph import make_task_graph
from envtool.spec.select_envs import stack_envs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.open_project import OpenProject
    from envtool.build.assess import NodeState
    from envtool.plan.why import Explanation


def plan(request: CommandRequest, verb: str = "") -> Plan:
    """Returns what a run does for each base and layer, and why, as far as this can be known without building and
    without a network. `verb`: only envs with the task of this name. Raises SpecError, UsageError, StoreError."""
    project = open_project(request, needed=bool(verb))
    if verb and not any(task.name == verb for env in project.spec.envs if env.is_selected for task in env.tasks):
        raise unknown_task_error(project.spec, verb)
    try:
        states = assess_nodes(project.graph, project.context, assume=True)
        return make_plan(project.spec, project.graph, plan_nodes(states), verb, _prepared(project, states, verb))
    except EnvtoolError as error:
        nothing = all_problems.NothingBuilt(project.graph)
        raise all_problems.complete_error(error, stack_envs(project.spec), nothing, project.context) from error


def _prepared(project: OpenProject, states: Mapping[str, NodeState], verb: str) -> tuple[Explanation, ...]:
    names = {env for env, _ in make_task_graph(project.spec, (verb,)).nodes} if verb else ()
    envs = [env for env in project.spec.envs if not verb or env.name in names]
    if not any(service.prepare for env in envs for service in env.services):
        return ()
    from envtool.run.prepared_states import explain_states

    return explain_states(envs, project.graph, states, project.context)

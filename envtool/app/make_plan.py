"""What would be used and what built: `plan`."""

from __future__ import annotations

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, unknown_task_error
from envtool.app.open_project import open_project
from envtool.build.assess import assess_nodes
from envtool.build.node_plan import plan_nodes
from envtool.plan.plan import Plan, make_plan


def plan(request: CommandRequest, verb: str = "") -> Plan:
    """What would be used and what built, as far as it can be known without building."""
    at = open_project(request)
    if verb and not any(task.name == verb for env in at.spec.envs for task in env.tasks):
        raise unknown_task_error(at.spec, verb)
    with all_problems.report_all_problems(at.spec.envs, all_problems.Unmade(at.nodes), at.setting):
        return make_plan(at.spec, at.nodes, plan_nodes(assess_nodes(at.nodes, at.setting, assume=True)), verb)

"""What would be used and what built: `plan`."""

from __future__ import annotations

from envtool.app import all_problems
from envtool.app.open_project import opened
from envtool.app.request import CommandRequest, no_task
from envtool.build.assess import known
from envtool.plan.plan import Plan
from envtool.plan.plan import plan as make_plan


def plan(request: CommandRequest, verb: str = "") -> Plan:
    """What would be used and what built, as far as it can be known without building."""
    at = opened(request)
    if verb and not any(task.name == verb for env in at.spec.envs for task in env.tasks):
        raise no_task(at.spec, verb)
    with all_problems.told(at.spec.envs, all_problems.Unmade(at.nodes), at.setting):
        return make_plan(at.spec, at.nodes, known(at.nodes, at.setting), verb)

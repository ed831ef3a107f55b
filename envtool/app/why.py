"""Why things are cached or not: `why`."""

from __future__ import annotations

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_project, without_lock_check
from envtool.build.assess import assess_nodes
from envtool.build.explain import explain_nodes
from envtool.plan.selection import select_subjects
from envtool.plan.why import Explanation


def why(request: CommandRequest, names: tuple[str, ...] = ()) -> tuple[Explanation, ...]:
    """Why bases, layers and tasks are cached or not, those that names mean (choose); without names, all bases and
    layers that are not. Each comes after what it stands on. Raises SpecError, UsageError, StoreError."""
    at = open_project(without_lock_check(request))  # a lock that does not fit is explained like all else
    chosen = select_subjects(at.spec, at.nodes, names)
    with all_problems.report_all_problems(at.spec.envs, all_problems.Unmade(at.nodes), at.setting):
        states = assess_nodes(at.nodes, at.setting)
    # of what a task stands on, only what is not cached says anything about it
    wanted = {
        node_id for node_id in chosen.nodes if node_id in chosen.named or not names or not states[node_id].is_cached
    }
    told = explain_nodes(at.nodes, at.setting, wanted, states=states, lock=at.lock_lines(), misses=not names)
    if not chosen.tasks:
        return told
    from envtool.run.why import explain_tasks

    return told + explain_tasks(chosen.tasks, at.nodes, states, at.setting)

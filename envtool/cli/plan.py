"""`envtool plan`."""

from __future__ import annotations

import sys
from typing import Any

import click

from envtool.cli.common_options import (
    Settings,
    Verb,
    complete_env_names,
    complete_task_names,
    read_settings,
    resolve_options,
)

EXAMPLES = """
envtool plan
envtool plan test -e 'unit*'
"""


@click.command("plan", cls=Verb, examples=EXAMPLES)
@click.argument("task", required=False, default="", shell_complete=complete_task_names)
@click.option(
    "-e", "--env", "envs", metavar="ENV", multiple=True, shell_complete=complete_env_names, help="Only these envs."
)
@resolve_options
@click.pass_context
def command(ctx: click.Context, /, task: str, envs: tuple[str, ...], **how: Any) -> None:
    """Show what stands under each env, and whether it is cached or would be built. Builds nothing.

    With TASK, only the envs that have it. A key is unknown above what has yet to be built.
    """
    from envtool.cli import app_interface, console, tables

    said = read_settings(ctx)
    app = app_interface.import_app()
    plan = app.plan(app.CommandRequest(**said.project(), envs=envs, **how), task)
    if said.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.plan_json(plan))
    else:
        typed = _typed(said, plan, task, envs)
        print(
            tables.format_plan(
                plan, console.detect_style(sys.stdout, said.color), console.terminal_width(sys.stdout), typed
            )
        )


def _typed(said: Settings, plan: Any, task: str, envs: tuple[str, ...]) -> str:
    """What makes all that is shown: the task that was named, or `test`, or the first that there is."""
    from envtool.cli.common_options import typed

    known = dict.fromkeys(each for env in plan.envs for each in env.tasks)
    task = task or ("test" if "test" in known else next(iter(known), ""))
    verb = (task,) if task in ("test", "build") else ("run", task)
    line = typed((*verb, *(word for env in envs for word in ("-e", env)))).removeprefix("envtool")
    return f"{said.again()}{line}" if task and line else ""

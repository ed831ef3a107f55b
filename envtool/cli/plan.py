"""`envtool plan`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import (
    Settings,
    Verb,
    complete_env_names,
    complete_task_names,
    read_settings,
    resolve_options,
)

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions
    from envtool.plan.plan import Plan

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
def command(ctx: click.Context, /, task: str, envs: tuple[str, ...], **options: Unpack[ResolveOptions]) -> None:
    """Show what a run would do for each base and layer, and why. Builds nothing and uses no network.

    reuse: it is in the store. unpack: an archive of an image. resolve: its versions are asked for, then it is built.
    build: its steps run. What several envs need is shown once. With TASK, only the envs that have it; with -v, all that
    is reused, and keys. `envtool why` says what changed.
    """
    from envtool.app import make_plan
    from envtool.cli import console

    settings = read_settings(ctx)
    plan = make_plan.plan(settings.request(envs=envs, **options), task)
    if settings.json:
        from envtool.cli import tables
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.plan_json(plan))
    else:
        from envtool.cli.plan_text import format_plan

        style, columns = console.detect_style(sys.stdout, settings.color), console.terminal_width(sys.stdout)
        print(format_plan(plan, style, columns, _typed(settings, plan, task, envs), settings.verbosity))


def _typed(settings: Settings, plan: Plan, task: str, envs: tuple[str, ...]) -> str:
    """The command that builds all that the plan shows: it runs the given task, or `test`, or the first task."""
    from envtool.cli.common_options import typed

    tasks = dict.fromkeys(name for env in plan.envs for name in env.tasks)
    task = task or ("test" if "test" in tasks else next(iter(tasks), ""))
    verb = (task,) if task in ("test", "build") else ("run", task)
    line = typed((*verb, *(word for env in envs for word in ("-e", env)))).removeprefix("envtool")
    return f"{settings.again()}{line}" if task and line else ""

"""`envtool run TASK`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, complete_task_names, read_settings, run_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import RunOptions

EXAMPLES = """
envtool run lint
envtool run docs -e docs -- --open
"""


@click.command("run", cls=Verb, examples=EXAMPLES, tail=True)
@click.argument("task", shell_complete=complete_task_names)
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    task: str,
    junit: str | None,
    report: tuple[tuple[str, str], ...],
    **options: Unpack[RunOptions],
) -> int:
    """Run TASK in every env that has one of this name.

    Words after `--` reach the task as {{ args }}.
    """
    from envtool.cli.session import build_request, list_reports, run_and_report
    from envtool.errors import UsageError

    if not task:
        raise UsageError("the name of the task is empty", code="no-task", hint="`envtool list` shows all tasks")
    reports = list_reports(junit, report)
    return run_and_report(
        read_settings(ctx), task, build_request(read_settings(ctx), ctx.obj, reports, **options), reports
    )

"""`envtool run TASK`."""

from __future__ import annotations

from typing import Any

import click

from envtool.cli.options import Verb, running, settings, task_names

EXAMPLES = """
envtool run lint
envtool run docs -e docs -- --open
"""


@click.command("run", cls=Verb, examples=EXAMPLES, tail=True)
@click.argument("task", shell_complete=task_names)
@running
@click.pass_context
def command(ctx: click.Context, /, task: str, junit: str | None, **said: Any) -> int:
    """Run TASK in every env that has one of this name.

    What stands after `--` reaches the task as {{ args }}.
    """
    from envtool.cli.session import perform, wanted

    return perform(settings(ctx), task, wanted(settings(ctx), ctx.obj, reports=(junit,), **said), junit)

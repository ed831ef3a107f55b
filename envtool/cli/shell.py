"""`envtool shell ENV`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, command_options, complete_env_names, read_settings

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.common_options import CommandOptions

EXAMPLES = """
envtool shell unit
envtool shell 'unit[trixie]'
"""


@click.command("shell", cls=Verb, examples=EXAMPLES, stdout="belongs to the shell", container=True)
@click.argument("env", shell_complete=complete_env_names)
@command_options
@click.pass_context
def command(ctx: click.Context, /, env: str, **options: Unpack[CommandOptions]) -> int:
    """Open a shell in an env, as its tasks would see it. What the shell writes is discarded when it ends.

    envtool ends with the exit status of the shell.
    """
    from envtool.cli.interactive import run_interactively

    return run_interactively(read_settings(ctx), env, (), **options)

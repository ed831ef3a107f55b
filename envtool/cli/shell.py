"""`envtool shell ENV`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.command_target import errors_of, one_off_options, read_target, writable_option
from envtool.cli.common_options import Verb, command_options, complete_env_names

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import WritableOptions

EXAMPLES = """
envtool shell unit
envtool shell 'unit[trixie]'
envtool shell --base debian:trixie --with 'apt: [jq]'
"""


@click.command("shell", cls=Verb, examples=EXAMPLES, stdout="belongs to the shell", container=True)
@click.argument("env", required=False, shell_complete=complete_env_names)
@writable_option
@one_off_options
@command_options
@click.pass_context
def command(ctx: click.Context, /, env: str | None, **options: Unpack[WritableOptions]) -> int:
    """Open a shell in an env, as its tasks would see it. What the shell writes is discarded when it ends,
    but for the checkout with `--writable`.

    envtool ends with the exit status of the shell.
    """
    target = read_target(ctx, env)
    if target is None:
        return 0
    from envtool.cli.interactive import run_interactively

    with errors_of(target):
        return run_interactively(target.settings, target.env, (), **options)

"""`envtool exec ENV -- CMD…`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, complete_env_names, read_settings, resolve_options
from envtool.errors import UsageError

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.common_options import ResolveOptions

EXAMPLES = """
envtool exec unit -- python -m pytest -x
envtool exec 'unit[trixie]' -- cat /etc/os-release
"""


@click.command(
    "exec",
    cls=Verb,
    examples=EXAMPLES,
    tail=True,
    stdout="belongs to the command",
    container=True,
    options_metavar="[OPTIONS]",
)
@click.argument("env", shell_complete=complete_env_names)
@click.argument("words", nargs=-1, metavar="-- CMD...")
@resolve_options
@click.pass_context
def command(ctx: click.Context, /, env: str, words: tuple[str, ...], **options: Unpack[ResolveOptions]) -> int:
    """Run a command in an env, in a throw-away container, and end with its exit status.

    Standard output has only the output of the command, byte for byte; messages of envtool go to standard error. With
    `-vv` they have a line for each operation that makes the container.
    """
    argv = words + tuple(ctx.obj)
    if not argv:
        raise UsageError(
            f"no command to run in `{env}`", code="usage.command", hint=f"`envtool shell {env}` opens a shell"
        )
    from envtool.cli.interactive import run_interactively

    return run_interactively(read_settings(ctx), env, argv, **options)

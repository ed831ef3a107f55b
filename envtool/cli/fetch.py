"""`envtool fetch`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, complete_env_names, read_settings, resolve_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions

EXAMPLES = """
envtool fetch
envtool fetch -e 'unit*' --json | tail -1
"""


@click.command("fetch", cls=Verb, examples=EXAMPLES)
@click.option(
    "-e", "--env", "envs", metavar="ENV", multiple=True, shell_complete=complete_env_names, help="Only these envs."
)
@resolve_options
@click.pass_context
def command(ctx: click.Context, /, envs: tuple[str, ...], **options: Unpack[ResolveOptions]) -> None:
    """Fetch every pinned file of the envs into the store. Afterwards they build and test without a network.

    Builds only what resolving the pins needs: the packages of a layer are resolved in the layers below it.
    """
    from envtool.app import lock_file
    from envtool.cli import console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(envs=envs, **options)
    result = run_with_display(settings, lambda emit, cancel: lock_file.fetch(request, emit, cancel))
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.fetch_json(result))
    elif settings.verbosity >= 0:
        print(console.fit_to_terminal(tables.format_fetch(result), sys.stderr), file=sys.stderr)

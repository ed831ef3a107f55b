"""`envtool fetch`."""

from __future__ import annotations

import sys
from typing import Any

import click

from envtool.cli.options import Verb, env_names, settings, settling

EXAMPLES = """
envtool fetch
envtool fetch -e 'unit*' --json | tail -1
"""


@click.command("fetch", cls=Verb, examples=EXAMPLES)
@click.option("-e", "--env", "envs", metavar="ENV", multiple=True, shell_complete=env_names, help="Only these envs.")
@settling
@click.pass_context
def command(ctx: click.Context, /, envs: tuple[str, ...], **how: Any) -> None:
    """Bring every pinned file of the envs into the store. Afterwards they build and test without a network.

    What is needed to know the pins is built (a layer's packages are chosen in what it stands on), nothing else.
    """
    from envtool.cli import app_interface, console, tables
    from envtool.cli.session import follow

    said = settings(ctx)
    app = app_interface.app()
    request = app.CommandRequest(**said.project(), envs=envs, **how)
    gathered = follow(said, lambda emit, cancel: app.fetch(request, emit, cancel))
    if said.json:
        from envtool.report.json_lines import write

        write(sys.stdout, tables.fetched_json(gathered))
    elif said.verbosity >= 0:
        print(console.fit(tables.fetched(gathered), sys.stderr), file=sys.stderr)

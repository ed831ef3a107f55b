"""`envtool list`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, read_settings

EXAMPLES = """
envtool list
envtool list --json | jq -r '.envs[].name'
"""


@click.command("list", cls=Verb, examples=EXAMPLES)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show the envs of the spec: base, layers, tasks."""
    from envtool.cli import app_interface, console, tables

    settings = read_settings(ctx)
    app = app_interface.import_app()
    spec = app.load(app.CommandRequest(**settings.project()))
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.envs_json(spec))
    else:
        print(
            tables.format_envs(
                spec, console.detect_style(sys.stdout, settings.color), console.terminal_width(sys.stdout)
            )
        )

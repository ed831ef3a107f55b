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
    """Show the envs of the spec: base, layers, tasks; and its services."""
    from envtool.app import read_spec
    from envtool.cli import console, fastpath, tables

    settings = read_settings(ctx)
    spec, keep = read_spec.load_and_keep(settings.request(), fastpath.store_directory())
    if settings.json:
        from envtool.report.json_lines import encode_line

        text = encode_line(tables.envs_json(spec))
    else:
        style, columns = console.detect_style(sys.stdout, settings.color), console.terminal_width(sys.stdout)
        text = tables.format_envs(spec, style, columns) + "\n"
    sys.stdout.write(text)
    if not (settings.file or settings.allow_secret or settings.allow_pass or settings.allow_file):
        keep(fastpath.output_look(settings.color, settings.directory, json=settings.json), text)

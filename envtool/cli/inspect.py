"""`envtool inspect`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, complete_stack_names, read_settings

EXAMPLES = """
envtool inspect unit
envtool inspect deps --files
envtool inspect unit /usr/bin/python3
"""


@click.command("inspect", cls=Verb, examples=EXAMPLES)
@click.argument("name", metavar="ENV|LAYER", shell_complete=complete_stack_names)
@click.argument("path", metavar="[PATH]", required=False, default="")
@click.option("--files", is_flag=True, help="List every file: size, mode, owner.")
@click.pass_context
def command(ctx: click.Context, /, name: str, path: str, files: bool) -> None:
    """Show what is in an env or layer: its layers, packages, sizes; with PATH, which layer and package put it there.

    A name is that of an env, a base or a layer (`layer:NAME` where two have it), or the beginning of a key or diff ID.
    Builds nothing: the env or layer has to be in the store.
    """
    from envtool.app import inspection
    from envtool.cli import console, inspect_tables

    settings = read_settings(ctx)
    report = inspection.inspect(settings.request(), name, path, files=files)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, inspect_tables.inspection_json(report))
    else:
        sys.stdout.writelines(
            f"{line}\n"
            for line in inspect_tables.format_inspection(
                report, console.detect_style(sys.stdout, settings.color), console.terminal_width(sys.stdout)
            )
        )

"""`envtool diff`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, complete_stack_names, read_settings

EXAMPLES = """
envtool diff 'unit[bookworm]' 'unit[trixie]'
envtool diff unit release --files
envtool diff 3f9c21 77aa04
"""


@click.command("diff", cls=Verb, examples=EXAMPLES)
@click.argument("first", metavar="ENV|LAYER", shell_complete=complete_stack_names)
@click.argument("second", metavar="ENV|LAYER", shell_complete=complete_stack_names)
@click.option("--files", is_flag=True, help="List every path, not a line a directory.")
@click.pass_context
def command(ctx: click.Context, /, first: str, second: str, files: bool) -> int:
    """Show in what packages and files two envs or layers differ. Exit status 0: in none, 1: in some.

    Names are as in `inspect`. Files are compared by type, content, link target, mode and owner, not by their times.
    """
    from envtool.app import inspection
    from envtool.cli import console, inspect_tables

    settings = read_settings(ctx)
    comparison = inspection.diff(settings.request(), first, second)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, inspect_tables.comparison_json(comparison))
    elif comparison.difference.same:
        print(f"{first} and {second}: the same")
    else:
        style = console.detect_style(sys.stdout, settings.color)
        sys.stdout.writelines(
            f"{line}\n"
            for line in inspect_tables.format_comparison(
                comparison, style, files=files, columns=console.terminal_width(sys.stdout)
            )
        )
    return 0 if comparison.difference.same else 1

"""`envtool vendor`."""

from __future__ import annotations

import sys
from typing import Any

import click

from envtool.cli.common_options import Verb, read_settings, resolve_options

EXAMPLES = """
envtool vendor
envtool vendor --prune /media/disk/blobs
envtool vendor project.tar.zst
"""


@click.command("vendor", cls=Verb, examples=EXAMPLES)
@click.argument("target", metavar="[DIR|FILE.tar]", required=False, default="", type=click.Path())
@click.option("--prune", is_flag=True, help="Remove from DIR what is no longer pinned.")
@resolve_options
@click.pass_context
def command(ctx: click.Context, /, target: str, prune: bool, **options: Any) -> None:
    """Write every pinned file of the envs to a folder or an archive, from which they build without a network.

    Without DIR the folder is envtool.vendor beside the spec, which is used before any URL. FILE.tar and FILE.tar.zst
    are archives of that folder. Only what is missing is written. ENVTOOL_BLOBS=DIR makes any project use a folder.
    """
    from envtool.cli import app_interface, console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    app = app_interface.import_app()
    request = app.CommandRequest(**settings.project(), **options)
    report = run_with_display(settings, lambda emit, cancel: app.vendor(request, target, emit, cancel, prune=prune))
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.vendor_json(report))
    elif settings.verbosity >= 0:
        print(console.fit_to_terminal(tables.format_vendor(report), sys.stderr), file=sys.stderr)

"""`envtool vendor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings, resolve_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions

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
def command(ctx: click.Context, /, target: str, prune: bool, **options: Unpack[ResolveOptions]) -> None:
    """Write every pinned file of the envs to a folder or an archive, from which they build without a network.

    Without DIR the folder is envtool.vendor beside the spec, which is used before any URL. FILE.tar and FILE.tar.zst
    are archives of that folder. Only what is missing is written. ENVTOOL_BLOBS=DIR makes any project use a folder.
    """
    from envtool.app import lock_file
    from envtool.cli import console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(**options)
    report = run_with_display(
        settings, lambda emit, cancel: lock_file.vendor(request, target, emit, cancel, prune=prune)
    )
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.vendor_json(report))
    elif settings.verbosity >= 0:
        print(console.fit_to_terminal(tables.format_vendor(report), sys.stderr), file=sys.stderr)

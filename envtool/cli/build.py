"""`envtool build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings, run_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import RunOptions

EXAMPLES = """
envtool build
envtool build -e 'wheel[*]' --jobs 2
"""


@click.command("build", cls=Verb, examples=EXAMPLES, tail=True)
@run_options
@click.option(
    "--provenance",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write how each output was made: in-toto statements, one a line (docs/evidence.md).",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    junit: str | None,
    report: tuple[tuple[str, str], ...],
    provenance: str | None,
    **options: Unpack[RunOptions],
) -> int:
    """Run the task `build` of every env that has one, and copy its outputs back.

    Words after `--` reach the task as {{ args }}.
    """
    from envtool.cli.session import build_request, list_reports, run_and_report

    reports = list_reports(junit, report)
    files = (*reports, ("provenance", provenance)) if provenance else reports
    request = build_request(read_settings(ctx), ctx.obj, files, **options)
    return run_and_report(read_settings(ctx), "build", request, reports, provenance)

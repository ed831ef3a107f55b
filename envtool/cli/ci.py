"""`envtool ci`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings, run_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import RunOptions

EXAMPLES = """
envtool ci
envtool ci --junit report.xml --report markdown=summary.md
"""


@click.command("ci", cls=Verb, examples=EXAMPLES)
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, junit: str | None, report: tuple[tuple[str, str], ...], **options: Unpack[RunOptions]
) -> int:
    """Run all tasks of the spec's `pipeline:`, in all envs, as one graph by their `needs`.

    The lock has to fit the spec, as with --locked. What passed before and is unchanged is not run again.
    """
    from envtool.cli.session import build_request, list_reports, run_and_report

    reports = list_reports(junit, report)
    if options["locked"] is None:
        options["locked"] = True
    return run_and_report(read_settings(ctx), "", build_request(read_settings(ctx), (), reports, **options), reports)

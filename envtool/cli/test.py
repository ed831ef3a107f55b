"""`envtool test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings, run_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import RunOptions

EXAMPLES = """
envtool test
envtool test -e unit -e 'lint*' -x
envtool test -C services/api --junit report.xml -- -k slow
envtool test --report markdown=summary.md
"""


@click.command("test", cls=Verb, examples=EXAMPLES, tail=True)
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, junit: str | None, report: tuple[tuple[str, str], ...], **options: Unpack[RunOptions]
) -> int:
    """Run the task `test` of every env that has one, each in a throw-away container.

    A point of a matrix is an env of its own. Words after `--` reach the task as {{ args }}.
    """
    from envtool.cli.session import build_request, list_reports, run_and_report

    reports = list_reports(junit, report)
    return run_and_report(
        read_settings(ctx), "test", build_request(read_settings(ctx), ctx.obj, reports, **options), reports
    )

"""`envtool logs [SERVICE...]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, complete_service_names, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.services.up.service_log import LogLine

EXAMPLES = """
envtool logs
envtool logs -f api worker
envtool logs -n 20 db
"""
MAX_LINES = 1 << 31


@click.command("logs", cls=Verb, examples=EXAMPLES, short_file=False)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_service_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed, until the services are stopped.")
@click.option("-n", "--lines", metavar="N", type=click.IntRange(0, MAX_LINES), help="The last N lines only.")
@click.pass_context
def command(ctx: click.Context, /, services: tuple[str, ...], follow: bool, lines: int | None) -> int:
    """Show what services, or single replicas such as `api-2`, printed, over all their starts.

    Lines of `envtool` say what started, ended and was replaced. Of services that were killed the log stays until the
    next `up` or `down`.
    """
    from envtool.app import running_services
    from envtool.cli.service_tables import LogPrinter

    settings = read_settings(ctx)
    printer = LogPrinter(settings)
    found: Iterable[LogLine] = running_services.read_logs(settings.request(), services, count=lines, follow=follow)
    if not follow:
        found = lines_found = [*found]
        printer.align(lines_found)
    try:
        for line in found:
            printer.write(line)
    except KeyboardInterrupt:
        if not follow:
            raise
        return 130  # the usual end of `-f`: nothing was stopped, so there is nothing to say
    return 0

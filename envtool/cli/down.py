"""`envtool down [SERVICE...]`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, complete_service_names, read_settings
from envtool.errors import UsageError

EXAMPLES = """
envtool down
envtool down worker        one of them; the others go on
envtool down --all         those of all your projects
"""


@click.command("down", cls=Verb, examples=EXAMPLES)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_service_names)
@click.option("--all", "everywhere", is_flag=True, help="Stop the services of all your projects.")
@click.pass_context
def command(ctx: click.Context, /, services: tuple[str, ...], everywhere: bool) -> int:
    """Stop the services of the project; nothing of them is left.

    Each gets its stop signal once those that need it have ended, and is killed after its grace.
    """
    from envtool.app import running_services
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    if services and everywhere:
        raise UsageError("`--all` and names of services contradict each other", code="usage.contradiction")
    stopped = 0
    for message in running_services.stop(settings.request(), services, everywhere=everywhere):
        stopped += 1
        if settings.json:
            write_line(sys.stdout, message)
        elif settings.verbosity >= 0:
            name = message.get("project") or message["stopped"]
            what = "stopped" if message["stopped"] else "had ended before; its log is removed"
            print(f"{name}: {what}", file=sys.stderr)
    if not stopped and not settings.json and settings.verbosity >= 0:
        print("no services run", file=sys.stderr)
    return 0

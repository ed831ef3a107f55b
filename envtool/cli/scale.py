"""`envtool scale SERVICE=N...`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, complete_service_names, read_settings
from envtool.errors import UsageError

EXAMPLES = """
envtool scale api=5
envtool scale api=2 worker=8
"""
MAX_REPLICAS = 1000


@click.command("scale", cls=Verb, examples=EXAMPLES)
@click.argument("counts", nargs=-1, required=True, metavar="SERVICE=N...", shell_complete=complete_service_names)
@click.pass_context
def command(ctx: click.Context, /, counts: tuple[str, ...]) -> int:
    """Let services that run have other numbers of replicas.

    Returns when new ones are ready. Those that go are out of the answers for the service's name first, and end when
    their open connections have, at the latest after their grace.
    """
    from envtool.app import running_services
    from envtool.fs.sizes import natural
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    wanted: dict[str, int] = {}
    for text in counts:
        name, sign, number = text.partition("=")
        count = 0 if number == "0" else natural(number, MAX_REPLICAS)
        if not name or not sign or (not count and number != "0"):
            hint = f"say SERVICE=N, as in `envtool scale api=3`; at most {MAX_REPLICAS}"
            raise UsageError(f"`{text}` is no number of replicas", code="usage.scale", hint=hint)
        wanted[name] = count or 0
    for message in running_services.scale(settings.request(), wanted):
        if settings.json:
            write_line(sys.stdout, message)
        elif settings.verbosity >= 0:
            print(f"{message['scaled']}: {message['replicas']} replicas", file=sys.stderr)
    return 0

"""`envtool ps`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, read_settings

EXAMPLES = """
envtool ps
envtool ps --all           of all your projects and worktrees
envtool ps --json | jq -r '.projects[].services[].published[].host_port'
"""


@click.command("ps", cls=Verb, examples=EXAMPLES)
@click.option("--all", "everywhere", is_flag=True, help="Show the services of all your projects.")
@click.pass_context
def command(ctx: click.Context, /, everywhere: bool) -> int:
    """Show the services that `envtool up` started: state, age, published ports and memory of each replica."""
    from envtool.app import running_services
    from envtool.cli import service_tables

    settings = read_settings(ctx)
    projects = running_services.show(settings.request(), everywhere=everywhere)
    service_tables.write_services(settings, projects, everywhere=everywhere, file=sys.stdout)
    return 0

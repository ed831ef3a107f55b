"""`envtool cache`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Choice, Verb, read_settings

EXAMPLES = """
envtool cache
envtool cache --json | jq '.there | length'
envtool cache key ~/cache-key
"""


@click.command("cache", cls=Verb, examples=EXAMPLES)
@click.argument("what", type=Choice(["show", "key"]), default="show", metavar="[show|key]")
@click.argument("target", metavar="[FILE]", required=False, type=click.Path())
@click.option("--offline", is_flag=True, help="Do not ask the registry for its contents.")
@click.pass_context
def command(ctx: click.Context, what: str, target: str | None, *, offline: bool) -> None:
    """Show the team cache: its settings, what this machine got from it, and its contents.

    `key FILE` makes a signing key in a new file, for ENVTOOL_CACHE_KEY, and prints the line for `trust:`. Without a
    file it prints the line of the key in ENVTOOL_CACHE_KEY. See docs/cache.md.
    """
    from envtool.app import team_cache
    from envtool.cli import cache_tables, console

    settings = read_settings(ctx)
    request = settings.request(offline=offline)
    if what == "key":
        cache_tables.print_key(team_cache.cache_key(request, target or ""), as_json=settings.json)
        return
    status = team_cache.cache(request)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, cache_tables.cache_json(status))
    else:
        print(
            console.fit_to_terminal(
                cache_tables.format_cache(
                    status, console.detect_style(sys.stdout, settings.color), whole=settings.verbosity > 0
                )
            )
        )

"""`envtool gc`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Size, Verb, read_settings

EXAMPLES = """
envtool gc --dry-run
envtool gc --keep-size 20GB
envtool gc --older-than 7d
"""


class Age(click.ParamType[float]):
    """A length of time in seconds, as in `7d` or `12h`."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds. Fails for anything else."""
        from envtool.store.disk_limits import parse_age

        seconds = value if isinstance(value, float) else parse_age(str(value))
        if seconds is None:
            self.fail(f"`{value}` is not a length of time: say 30d, 2w or 12h", param, ctx)
        return seconds


@click.command("gc", cls=Verb, examples=EXAMPLES)
@click.option(
    "--keep-size", metavar="SIZE", type=Size(), help="Remove items until the store takes at most SIZE, as in 20GB."
)
@click.option("--older-than", metavar="AGE", type=Age(), help="Remove everything that was not used for AGE, as in 7d.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed, and the cost of each env.")
@click.pass_context
def command(ctx: click.Context, /, keep_size: int | None, older_than: float | None, dry_run: bool) -> None:
    """Remove layers, fetched files and results that nothing needs, least recently used first; show what envs cost.

    Without options it removes what was not used for 30 days and is in no lock of an existing project. It never removes
    what is in use, and envtool builds or fetches a removed item again when it is needed.
    """
    from envtool.app import maintenance
    from envtool.cli import console, store_tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request()
    report = run_with_display(
        settings,
        lambda emit, cancel: maintenance.gc(
            request, keep_size=keep_size, older_than=older_than, dry_run=dry_run, emit=emit, cancel=cancel
        ),
    )
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, store_tables.gc_json(report))
    else:
        columns, style = console.terminal_width(sys.stdout), console.detect_style(sys.stdout, settings.color)
        text = store_tables.format_gc(report, style, verbosity=settings.verbosity, columns=columns)
        print(console.fit_to_terminal(text))

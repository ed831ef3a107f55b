"""`envtool lock`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Count, Verb, complete_env_names, misplaced_names_hint, read_settings
from envtool.errors import UsageError

EXAMPLES = """
envtool lock
envtool lock --upgrade
envtool lock --upgrade deps bookworm
envtool lock --upgrade attrs
envtool lock --check
envtool lock --platform linux/arm64
"""


@click.command("lock", cls=Verb, examples=EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--upgrade", is_flag=True, help="Resolve to the newest versions: of all, or of each NAME.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 unless the lock is complete and fits.")
@click.option(
    "--platform", "platforms", metavar="OS/ARCH", multiple=True,
    help="Lock for this platform beside this machine's: linux/amd64 or linux/arm64.",
)  # fmt: skip
@click.option(
    "-e", "--env", "envs", metavar="ENV", multiple=True, shell_complete=complete_env_names, help="Only these envs."
)
@click.option("-j", "--jobs", metavar="N", type=Count(), help="Build at most N envs at once.")
@click.option("--offline", is_flag=True, help="Use only what is in the store: no network, no mirror.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    upgrade: bool,
    check: bool,
    platforms: tuple[str, ...],
    envs: tuple[str, ...],
    jobs: int | None,
    offline: bool,
) -> int:
    """Resolve every version and suite to exact files with hashes, and write envtool.lock.

    Locked versions that still fit the spec stay. --upgrade resolves all to the newest, or only the bases, layers and
    packages of these names. Prints what changed. Everything is built once, because the lock has the hash of each layer.
    --check asks no network: it lists what is missing, no longer fits or is not needed, and the command that mends it.
    --platform adds entries for machines of another architecture, which are not built here: this machine's own layers
    answer in their place. What cannot be known without such a machine is refused by name.
    """
    if names and not upgrade:
        hint = misplaced_names_hint(ctx, names) or "`envtool lock --upgrade NAME` moves it"
        raise UsageError(f"what about {', '.join(names)}?", code="usage", hint=hint)
    if check:
        if upgrade:
            raise UsageError("`--check` writes nothing, and `--upgrade` does", code="usage.contradiction")
        from envtool.cli.lock_check_text import run_check

        return run_check(read_settings(ctx), envs, platforms)
    from envtool.app import lock_file
    from envtool.cli import console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(envs=envs, jobs=jobs, offline=offline)
    result = run_with_display(
        settings,
        lambda emit, cancel: lock_file.lock(request, names if upgrade else None, emit, cancel, platforms=platforms),
    )
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.lock_json(result))
    else:
        print(tables.format_lock(result, console.terminal_width(sys.stdout)))
    return 0

"""`envtool store`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Count, Verb, read_settings
from envtool.cli.subverbs import SubverbGroup
from envtool.errors import UsageError

PATH_EXAMPLES = """
envtool store path
"""
SIZE_EXAMPLES = """
envtool store size
envtool store size --json | jq .size
"""
CACHES_EXAMPLES = """
envtool store caches
envtool store caches --remove unit
"""
VERIFY_EXAMPLES = """
envtool store verify
envtool store verify --repair
"""
REMOVE_EXAMPLES = """
envtool store remove
envtool store remove --yes
"""


@click.group(
    "store",
    cls=SubverbGroup,
    examples=PATH_EXAMPLES + SIZE_EXAMPLES + CACHES_EXAMPLES + VERIFY_EXAMPLES + REMOVE_EXAMPLES,
)
def command() -> None:
    """Show where the store is, how big it is, and whether it is damaged; remove it."""


@command.command("path", cls=Verb, examples=PATH_EXAMPLES)
@click.pass_context
def path(ctx: click.Context, /) -> None:
    """Print the directory of the store, whether it exists or not."""
    from envtool.app import maintenance
    from envtool.report.json_lines import write_line

    directory = maintenance.store_path()
    if read_settings(ctx).json:
        write_line(sys.stdout, {"store": directory})
    else:
        print(directory)


@command.command("size", cls=Verb, examples=SIZE_EXAMPLES)
@click.pass_context
def size(ctx: click.Context, /) -> None:
    """Show the size of the store on the disk. Fast: layers are measured once."""
    from envtool.app import maintenance
    from envtool.cli import console, store_tables
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    sizes = maintenance.store_size()
    if settings.json:
        write_line(sys.stdout, store_tables.sizes_json(sizes))
    else:
        print(
            console.fit_to_terminal(store_tables.format_sizes(sizes, console.detect_style(sys.stdout, settings.color)))
        )


@command.command("caches", cls=Verb, examples=CACHES_EXAMPLES)
@click.argument("names", metavar="[ENV|PATH|KEY]...", nargs=-1)
@click.option("--remove", is_flag=True, help="Remove them: the next run of their tasks begins with empty ones.")
@click.pass_context
def caches(ctx: click.Context, /, names: tuple[str, ...], remove: bool) -> None:
    """List the directories that `caches:` keeps from run to run, of all projects.

    With names, only those of an env, of a path in the container, or of a key. Caches in use are not removed.
    """
    from envtool.app import maintenance
    from envtool.cli import console, store_tables
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    found = maintenance.task_caches(names, remove=remove)
    if settings.json:
        write_line(sys.stdout, store_tables.caches_json(found, removed=remove))
    else:
        columns, style = console.terminal_width(sys.stdout), console.detect_style(sys.stdout, settings.color)
        print(console.fit_to_terminal(store_tables.format_caches(found, style, removed=remove, columns=columns)))


@command.command("verify", cls=Verb, examples=VERIFY_EXAMPLES)
@click.option("--repair", is_flag=True, help="Remove damaged items, which are built or fetched again; restore modes.")
@click.option("-j", "--jobs", metavar="N", type=Count(), help="Check N items at once (default: CPUs).")
@click.pass_context
def verify(ctx: click.Context, /, repair: bool, jobs: int | None) -> int:
    """Check every item of the store, and name the damaged ones. Exit status 1 if one of them is not repaired.

    Fetched files are hashed and layers digested again, and compared with their names; cached results and answers, and
    directories, are checked too. Items in use are checked, but not removed.
    """
    from envtool.app import maintenance
    from envtool.cli import console, store_tables
    from envtool.cli.session import run_with_display
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    result = run_with_display(
        settings, lambda emit, cancel: maintenance.store_verify(repair=repair, jobs=jobs or 0, emit=emit, cancel=cancel)
    )
    if settings.json:
        write_line(sys.stdout, store_tables.check_json(result))
    else:
        print(
            console.fit_to_terminal(store_tables.format_check(result, console.detect_style(sys.stdout, settings.color)))
        )
    return 1 if result.left else 0


@command.command("remove", cls=Verb, examples=REMOVE_EXAMPLES)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def remove(ctx: click.Context, /, yes: bool) -> int:
    """Remove the whole store. All of it can be built or fetched again.

    Waits for other envtools that use it. Removes only what belongs to a store.
    """
    from envtool.app import maintenance
    from envtool.cli import console, store_tables
    from envtool.cli.session import run_with_display
    from envtool.report.json_lines import write_line

    settings = read_settings(ctx)
    directory = maintenance.store_path()
    if not yes and not _confirm(directory):
        return 2
    removal = run_with_display(settings, lambda emit, cancel: (maintenance.store_remove(emit=emit, cancel=cancel),))[0]
    if settings.json:
        write_line(sys.stdout, store_tables.removal_json(removal, directory))
    else:
        print(console.fit_to_terminal(store_tables.format_removal(removal, directory)))
    return 3 if removal is not None and removal.stuck else 0


def _confirm(directory: str) -> bool:
    """Whether a person at the terminal says yes. Raises UsageError if there is no terminal to ask at."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "`envtool store remove` asks first, and nobody is here to answer",
            code="usage.ask",
            hint="say it with `--yes`",
        )
    from envtool.report.text import one_line

    sys.stderr.write(f"remove {one_line(directory)}, all of which can be built or fetched again? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

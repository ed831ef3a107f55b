"""`envtool store`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Count, Verb, common_options, read_settings
from envtool.errors import UsageError, closest_name

PATH_EXAMPLES = """
envtool store path
"""
SIZE_EXAMPLES = """
envtool store size
envtool store size --json | jq .size
"""
VERIFY_EXAMPLES = """
envtool store verify
envtool store verify --repair
"""
REMOVE_EXAMPLES = """
envtool store remove
envtool store remove --yes
"""


class StoreVerbGroup(click.Group):
    """The group of these verbs."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """An unknown one is an error with the near name."""
        known = super().get_command(ctx, cmd_name)
        if known is None and not ctx.resilient_parsing and not cmd_name.startswith("-"):
            near = closest_name(cmd_name, self.commands)
            hint = f"did you mean `envtool store {near}`?" if near else "`envtool store --help` lists the verbs"
            raise UsageError(f"unknown verb `store {cmd_name}`", code="usage.verb", hint=hint)
        return known

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(80)) for name, verb in self.commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples of all."""
        with formatter.section("Examples"):
            for line in (PATH_EXAMPLES + SIZE_EXAMPLES + VERIFY_EXAMPLES + REMOVE_EXAMPLES).split("\n"):
                if line:
                    formatter.write(f"  {line}\n")


@click.group(
    "store", cls=StoreVerbGroup, context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="VERB ..."
)
def command() -> None:
    """Show where the store is, what it takes, and whether it is whole; remove it."""


command.params += common_options()


@command.command("path", cls=Verb, examples=PATH_EXAMPLES)
@click.pass_context
def path(ctx: click.Context, /) -> None:
    """Print the directory of the store, whether it is there or not."""
    from envtool.cli import app_interface
    from envtool.report.json_lines import write_line

    where = app_interface.import_app().store_path()
    if read_settings(ctx).json:
        write_line(sys.stdout, {"store": where})
    else:
        print(where)


@command.command("size", cls=Verb, examples=SIZE_EXAMPLES)
@click.pass_context
def size(ctx: click.Context, /) -> None:
    """Show what the store takes on the disk. Cheap: layers are measured once."""
    from envtool.cli import app_interface, console, store_tables
    from envtool.report.json_lines import write_line

    said = read_settings(ctx)
    found = app_interface.import_app().store_size()
    if said.json:
        write_line(sys.stdout, store_tables.sizes_json(found))
    else:
        print(console.fit_to_terminal(store_tables.format_sizes(found, console.detect_style(sys.stdout, said.color))))


@command.command("verify", cls=Verb, examples=VERIFY_EXAMPLES)
@click.option("--repair", is_flag=True, help="Remove what is damaged, to be made or fetched again; restore modes.")
@click.option("-j", "--jobs", metavar="N", type=Count(), help="Look at N at once (default: processors).")
@click.pass_context
def verify(ctx: click.Context, /, repair: bool, jobs: int | None) -> int:
    """Look at everything in the store, and name what is damaged. Exit status 1 if something is, and still is.

    Fetched files are hashed, and layers digested anew, against what they are called; results, remembered answers and
    directories are looked at too. Things that are in use are looked at, and not removed.
    """
    from envtool.cli import app_interface, console, store_tables
    from envtool.cli.session import run_with_display
    from envtool.report.json_lines import write_line

    said = read_settings(ctx)
    app = app_interface.import_app()
    found = run_with_display(
        said, lambda emit, cancel: app.store_verify(repair=repair, jobs=jobs or 0, emit=emit, cancel=cancel)
    )
    if said.json:
        write_line(sys.stdout, store_tables.check_json(found))
    else:
        print(console.fit_to_terminal(store_tables.format_check(found, console.detect_style(sys.stdout, said.color))))
    return 1 if found.left else 0


@command.command("remove", cls=Verb, examples=REMOVE_EXAMPLES)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def remove(ctx: click.Context, /, yes: bool) -> int:
    """Remove the whole store. All of it can be made or fetched again.

    What other envtools use is waited for. Nothing goes that is not of a store.
    """
    from envtool.cli import app_interface, console, store_tables
    from envtool.cli.session import run_with_display
    from envtool.report.json_lines import write_line

    said = read_settings(ctx)
    app = app_interface.import_app()
    where = app.store_path()
    if not yes and not _confirm(where):
        return 2
    done = run_with_display(said, lambda emit, cancel: (app.store_remove(emit=emit, cancel=cancel),))[0]
    if said.json:
        write_line(sys.stdout, store_tables.removal_json(done, where))
    else:
        print(console.fit_to_terminal(store_tables.format_removal(done, where)))
    return 3 if done is not None and done.stuck else 0


def _confirm(where: str) -> bool:
    """Whether a person at a terminal says yes. Raises UsageError where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "`envtool store remove` asks first, and nobody is here to answer",
            code="usage.ask",
            hint="say it with `--yes`",
        )
    from envtool.report.text import one_line

    sys.stderr.write(f"remove {one_line(where)}, all of which can be made or fetched again? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

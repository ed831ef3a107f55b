"""`envtool verify`."""

from __future__ import annotations

import click

from envtool.cli.common_options import Count, Verb, complete_stack_names, read_settings

EXAMPLES = """
envtool verify
envtool verify python 'deps*'
envtool verify unit --json
envtool verify --build wheels
"""


@click.command("verify", cls=Verb, examples=EXAMPLES)
@click.argument("names", metavar="[LAYER|ENV]...", nargs=-1, shell_complete=complete_stack_names)
@click.option("--build", is_flag=True, help="Run the task `build` twice, and compare its outputs.")
@click.option("-j", "--jobs", metavar="N", type=Count(), help="Run at most N at once.")
@click.option("-x", "--fail-fast", is_flag=True, help="Stop at the first difference.")
@click.option("--offline", is_flag=True, help="Use only what is in the store: no network, no mirror.")
@click.pass_context
def command(
    ctx: click.Context, /, names: tuple[str, ...], build: bool, jobs: int | None, fail_fast: bool, offline: bool
) -> int:
    """Build layers twice from the same pins, and name every file that differs. Exit status 1 if one does.

    Clock, order of directories, processors, process ids, umask, user, home, locale, time zone and paths are varied
    (docs/verify.md). Names are those of bases, layers and envs, or globs; none: all. The store is not changed.
    """
    from envtool.cli.verify_tables import run_verify

    return run_verify(read_settings(ctx), names, build=build, jobs=jobs, fail_fast=fail_fast, offline=offline)

"""`envtool shim DIR [PROGRAM...]`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, envs_option, read_settings, resolve_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions
    from envtool.model import Json

EXAMPLES = """
envtool shim .shims
envtool shim .shims -e unit python pytest
"""


@click.command("shim", cls=Verb, examples=EXAMPLES)
@click.argument("place", metavar="DIR", type=click.Path())
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
@envs_option("Programs of this env only; may be repeated: the first that has a program counts.")
@resolve_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    place: str,
    programs: tuple[str, ...],
    envs: tuple[str, ...],
    **options: Unpack[ResolveOptions],
) -> None:
    """Write small scripts by which programs of an env run from an editor or a shell: each runs `envtool exec` on the
    checkout. Builds the envs if necessary.

    Without PROGRAM: what the layers of the envs bring, and what their tasks call, but nothing that every system has.
    Shims of this project that are no longer among them are removed; other files are neither replaced nor removed.
    """
    from envtool.app import env_programs, shims
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(envs=envs, **options)
    found = run_with_display(
        settings, lambda emit, cancel: env_programs.find_programs(request, programs, emit, cancel), events=False
    )
    report = shims.write_shims(os.path.join(settings.directory, place), found)
    if settings.json:
        from envtool.report.json_lines import encode_line

        document: Json = {
            "directory": report.directory,
            "shims": [{"name": program.name, "env": program.env} for program in report.written],
            "changed": [*report.changed],
            "removed": [*report.removed],
        }
        sys.stdout.write(encode_line(document))
        return
    width = max((len(program.name) for program in report.written), default=0)
    lines = [f"{program.name.ljust(width)}  {program.env}" for program in report.written]
    lines += [f"{name.ljust(width)}  removed" for name in report.removed]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if not report.written and settings.verbosity >= 0:
        print("no layer or task of these envs has a program of its own: name the programs", file=sys.stderr)

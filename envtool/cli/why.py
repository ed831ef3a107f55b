"""`envtool why`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Verb, complete_subject_names, read_settings

EXAMPLES = """
envtool why
envtool why deps
envtool why 'unit[trixie]' lint:lint
"""


@click.command("why", cls=Verb, examples=EXAMPLES)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_subject_names)
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Say why a base or layer is cached, or what changed since its nearest earlier build.

    NAME is a base, a layer, an env (globs are fine) or a task: TASK or ENV:TASK. Without a name: everything that would
    be built. Builds nothing and uses no network. With -v nothing is shortened.
    """
    import time

    from envtool.cli import app_interface, console
    from envtool.report import why

    settings = read_settings(ctx)
    app = app_interface.import_app()
    explanations = app.why(app.CommandRequest(**settings.project()), names)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, {"subjects": why.explanations_json(explanations)})
        return
    if explanations:
        style = console.detect_style(sys.stdout, settings.color)
        print(
            console.fit_to_terminal(
                why.format_explanations(explanations, style, now=time.time(), whole=settings.verbosity > 0)
            )
        )
    if not names:
        print(console.fit_to_terminal(("\n" if explanations else "") + why.format_summary(explanations)))

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

    from envtool.app.why import why
    from envtool.cli import console
    from envtool.report.why import explanations_json, format_explanations, format_summary

    settings = read_settings(ctx)
    explanations = why(settings.request(), names)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, {"subjects": explanations_json(explanations)})
        return
    if explanations:
        style = console.detect_style(sys.stdout, settings.color)
        print(
            console.fit_to_terminal(
                format_explanations(explanations, style, now=time.time(), whole=settings.verbosity > 0)
            )
        )
    if not names:
        print(console.fit_to_terminal(("\n" if explanations else "") + format_summary(explanations)))

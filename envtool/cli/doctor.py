"""`envtool doctor`."""

from __future__ import annotations

import sys

import click

from envtool.cli.common_options import Choice, Verb, read_settings

EXAMPLES = """
envtool doctor
envtool doctor --print apparmor-profile | sudo tee /etc/apparmor.d/envtool
"""


@click.command("doctor", cls=Verb, examples=EXAMPLES)
@click.option("--print", "text", type=Choice(["apparmor-profile"]), help="Print a file that a hint asks for.")
@click.pass_context
def command(ctx: click.Context, text: str | None) -> int:
    """Show what this machine can do, what is missing, and the command that mends it.

    Exit status 3 if containers cannot run here.
    """
    if text:
        from envtool.container.doctor import apparmor_profile

        print(apparmor_profile().rstrip("\n"))
        return 0
    from envtool.app import machine_checks
    from envtool.cli import console, tables

    settings = read_settings(ctx)
    checks = machine_checks.run_checks()
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.checks_json(checks))
    else:
        style, columns = console.detect_style(sys.stdout, settings.color), console.terminal_width(sys.stdout)
        print(tables.format_checks(checks, style, quiet=settings.verbosity < 0, columns=columns))
    return 3 if any(check.state == "fail" for check in checks) else 0

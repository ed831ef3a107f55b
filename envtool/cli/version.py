"""`envtool version`."""

from __future__ import annotations

import os
import platform
import sys

import click

from envtool import __version__
from envtool.cli.common_options import Verb, read_settings

EXAMPLES = """
envtool version
envtool version --json
"""


@click.command("version", cls=Verb, examples=EXAMPLES)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show the versions that matter in a bug report: envtool's, Python's, the kernel's."""
    from envtool.plugins import installed

    system = os.uname()
    plugins = installed()
    values = {
        "envtool": __version__,
        "python": platform.python_version(),
        "kernel": system.release,
        "machine": system.machine,
    }
    if read_settings(ctx).json:
        from envtool.report.json_lines import write_line

        write_line(
            sys.stdout, {**values, "plugins": [{"name": name, "version": version} for name, version in plugins.items()]}
        )
    else:
        print(f"envtool {__version__} (python {values['python']}, linux {system.release}, {system.machine})")
        print("plugins:", ", ".join(f"{name} {version}" for name, version in plugins.items()) or "none")

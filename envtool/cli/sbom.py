"""`envtool sbom`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Choice, Verb, complete_env_names, read_settings, resolve_options
from envtool.errors import UsageError
from envtool.fs import caller_paths

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions
    from envtool.report.sbom.rendering import Format

EXAMPLES = """
envtool sbom unit > unit.cdx.json
envtool sbom 'unit[trixie]' --format spdx -o unit.spdx.json
"""


@click.command("sbom", cls=Verb, examples=EXAMPLES)
@click.argument("env", shell_complete=complete_env_names)
@click.option("--format", "form", type=Choice(["cyclonedx", "spdx"]), default="cyclonedx", help="Default: cyclonedx.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write to FILE instead of standard output."
)
@resolve_options
@click.pass_context
def command(
    ctx: click.Context, /, env: str, form: Format, output: str | None, **options: Unpack[ResolveOptions]
) -> None:
    """Write the bill of materials of an env: every package that its stack really contains. Builds the stack
    if necessary.

    CycloneDX 1.6 or SPDX 2.3, JSON; the same stack gives the same bytes. It needs libraries that envtool does not
    install by default: without them the error has the command.
    """
    from envtool.app import image_output, output_files
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(**options)
    path = os.path.join(settings.directory, output) if output is not None else ""
    if path:
        output_files.check([path], settings.top())
    text = run_with_display(
        settings, lambda emit, cancel: image_output.sbom(request, env, form, emit, cancel), events=False
    )
    if not path:
        sys.stdout.write(text)
        return
    try:
        with caller_paths.atomic_write(path, settings.top(), make=True) as file:
            file.write(text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", code="sbom-output") from error

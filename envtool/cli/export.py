"""`envtool export`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Choice, Verb, complete_env_names, image_options, read_settings, resolve_options
from envtool.errors import UsageError

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions
    from envtool.store.packing import Compression

EXAMPLES = """
envtool export unit | podman load
envtool export unit unit.tar
envtool export unit oci:images/unit --tag team/unit:1.4
envtool export unit --format devcontainer
"""
FORMATS = ("docker-archive", "oci", "oci-archive", "devcontainer")


@click.command("export", cls=Verb, examples=EXAMPLES)
@click.argument("env", shell_complete=complete_env_names)
@click.argument("path", metavar="[PATH]", required=False, default="", type=click.Path())
@click.option(
    "--format",
    "form",
    type=Choice(FORMATS),
    default=None,
    help="Default: docker-archive for FILE.tar and standard output, else oci.",
)
@click.option("--tag", metavar="REF", default="", help="What the image is called (default: localhost/ENV:latest).")
@click.option("--compress", type=Choice(["gzip", "zstd"]), default=None, help="Compress layers in oci and oci-archive.")
@image_options
@resolve_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    env: str,
    path: str,
    form: str | None,
    tag: str,
    compress: Compression | None,
    bare: bool,
    project: bool,
    **options: Unpack[ResolveOptions],
) -> None:
    """Write an env as an image that docker, podman and skopeo load and run. Builds its stack if necessary.

    PATH is a directory, FILE.tar, or as skopeo takes it: oci:DIR, oci-archive:FILE, docker-archive:FILE; without it the
    image goes to standard output. The same stack gives the same bytes on every machine (docs/images.md).
    --format devcontainer writes a .devcontainer/devcontainer.json that uses the image.
    """
    from envtool.cli import console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    to_stdout = form != "devcontainer" and not path.startswith("devcontainer:") and path.rpartition(":")[2] in ("", "-")
    if to_stdout and settings.json:
        raise UsageError("with `--json` standard output is taken: say a PATH", code="export-target")
    if to_stdout and sys.stdout.isatty():
        hint = f"`envtool export {env} {env}.tar`, or `| podman load`"
        raise UsageError("an image is not written to a terminal: say where", code="export-target", hint=hint)
    out = sys.stdout.fileno() if to_stdout else -1
    from envtool.app import image_output

    request = settings.request(**options)
    exported = run_with_display(
        settings,
        lambda emit, cancel: image_output.export(
            request, env, path, form or "", emit, cancel, tag=tag, compress=compress or "", bare=bare, project=project,
            out=out,
        ),
    )  # fmt: skip
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.export_json(exported))
    elif settings.verbosity >= 0:
        print(console.fit_to_terminal(tables.format_export(exported), sys.stderr), file=sys.stderr)

"""`envtool push`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Choice, Verb, complete_env_names, image_options, read_settings, resolve_options

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions
    from envtool.store.packing import Compression

EXAMPLES = """
envtool push unit registry.example/team/unit:1.4
envtool push unit registry.example/team/unit --compress gzip
"""


@click.command("push", cls=Verb, examples=EXAMPLES)
@click.argument("env", shell_complete=complete_env_names)
@click.argument("ref")
@click.option(
    "--compress", type=Choice(["gzip", "zstd"]), default="zstd", help="How layers are compressed (default: zstd)."
)
@image_options
@resolve_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    env: str,
    ref: str,
    compress: Compression,
    bare: bool,
    project: bool,
    **options: Unpack[ResolveOptions],
) -> None:
    """Push an env as an image to a registry, and print REF@DIGEST. Builds its stack if necessary.

    REF is [REGISTRY/]REPOSITORY[:TAG], as docker and podman read it. Layers that the registry has are not sent again,
    and the tag is set last. Credentials are those of `docker login` and `podman login`. --compress gzip is for readers
    older than Docker 23 and containerd 1.5.
    """
    from envtool.app import image_output
    from envtool.cli import console, tables
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    request = settings.request(**options)
    pushed = run_with_display(
        settings,
        lambda emit, cancel: image_output.push(
            request, env, ref, emit, cancel, compress=compress, bare=bare, project=project
        ),
    )
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, tables.push_json(pushed))
        return
    if settings.verbosity >= 0:
        print(console.fit_to_terminal(tables.format_push(pushed), sys.stderr), file=sys.stderr)
    print(f"{pushed.name}@{pushed.digest}")

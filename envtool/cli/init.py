"""`envtool init`."""

from __future__ import annotations

import os
import sys

import click

from envtool.cli.options import Verb, settings
from envtool.directory import drafts
from envtool.errors import UsageError

EXAMPLES = """
envtool init
envtool init -C services/api
"""


@click.command("init", cls=Verb, examples=EXAMPLES)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Write a first envtool.yaml: what the plugins make of this project's files. Never overwrites one."""
    from envtool.cli import door
    from envtool.cli.starter import starter

    said = settings(ctx)
    app = door.app()
    found = app.detect(app.Request(**said.project()))
    path = os.path.join(said.directory, said.file or "envtool.yaml")
    try:
        with drafts.written(path, said.directory, replace=False) as file:
            file.write(starter(found).encode())
    except FileExistsError:
        raise UsageError(f"`{path}` exists", code="usage.exists", hint="`envtool list` shows what is in it") from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}", code="usage.file") from error
    for each in found or ():
        print(f"found {each.language}: {each.reason}", file=sys.stderr)
    print(f"wrote {path}; next: {said.again()} test", file=sys.stderr)

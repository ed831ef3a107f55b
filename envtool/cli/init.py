"""`envtool init`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.options import Verb, settings
from envtool.directory import drafts
from envtool.errors import SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.api import Detection

EXAMPLES = """
envtool init
envtool init -C services/api
envtool init --test 'make check'
"""


@click.command("init", cls=Verb, examples=EXAMPLES)
@click.option("--test", "test", metavar="COMMAND", default="", help="The command that runs the tests.")
@click.pass_context
def command(ctx: click.Context, /, test: str) -> None:
    """Write a first envtool.yaml: what the project's own files say. Never overwrites one.

    Where they do not say how it is tested, nothing is written but with `--test`.
    """
    from envtool.cli import door
    from envtool.cli.starter import starter

    said = settings(ctx)
    app = door.app()
    path = os.path.join(said.directory, said.file or "envtool.yaml")
    if os.path.lexists(path):
        raise _exists(path)
    request = app.Request(**said.project())
    found = app.detect(request)
    text = starter(found, test)
    if not text:
        raise _unknown(found, said.again())
    try:
        app.check(request, text)
    except SpecError:
        print("nothing is written: the spec would be wrong", file=sys.stderr)
        raise
    try:
        with drafts.written(path, said.directory, replace=False) as file:
            file.write(text.encode())
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}", code="usage.file") from error
    for each in found:
        if each.tested or test:
            print(f"found {each.language}: {each.reason}", file=sys.stderr)
    print(f"wrote {path}; next: {said.again()} test", file=sys.stderr)


def _exists(path: str) -> UsageError:
    return UsageError(f"`{path}` exists", code="usage.exists", hint="`envtool list` shows what is in it")


def _unknown(found: Sequence[Detection], again: str) -> UsageError:
    """Nothing is written: what there was, and what to type."""
    seen = "".join(f"\n  {each.language}: {each.reason}" for each in found)
    message = f"found nothing here whose tests I know how to run{':' if seen else ''}{seen}"
    hint = f"write the test command: `{again} init --test 'make check'`"
    return UsageError(message, code="usage.unknown", hint=hint)

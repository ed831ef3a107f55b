"""`envtool schema`."""

from __future__ import annotations

import json

import click

from envtool.cli.options import Verb

EXAMPLES = """
envtool schema > envtool.schema.json
"""


@click.command("schema", cls=Verb, examples=EXAMPLES)
def command() -> None:
    """Print the JSON Schema of envtool.yaml, with what the installed plugins add.

    An editor that knows it completes and checks while you write.
    """
    from envtool.cli import door

    print(json.dumps(door.app().schema(), indent=2, ensure_ascii=False))

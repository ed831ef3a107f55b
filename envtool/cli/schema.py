"""`envtool schema`."""

from __future__ import annotations

import json

import click

from envtool.cli.common_options import Verb

EXAMPLES = """
envtool schema > envtool.schema.json
envtool schema --lock
"""


@click.command("schema", cls=Verb, examples=EXAMPLES)
@click.option("--lock", is_flag=True, help="The schema of envtool.lock instead.")
def command(*, lock: bool) -> None:
    """Print the JSON Schema of envtool.yaml, with what the installed plugins add.

    An editor that knows it completes and checks while you write.
    """
    if lock:
        from envtool.lock.text_format import SCHEMA

        print(json.dumps(SCHEMA, indent=2, ensure_ascii=False))
        return
    from envtool.app.spec_schema import schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))

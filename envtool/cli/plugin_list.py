"""`envtool plugins`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, read_settings

if TYPE_CHECKING:
    from envtool.model import Json

EXAMPLES = """
envtool plugins
envtool plugins --json | jq -r '.plugins[].name'
"""


@click.command("plugins", cls=Verb, examples=EXAMPLES)
@click.pass_context
def command(ctx: click.Context) -> int:
    """Show the installed plugins: version, file, and what each adds. One that cannot be used has the reason, and then
    the exit status is 1.
    """
    from envtool.app import installed_plugins

    settings = read_settings(ctx)
    plugins = installed_plugins.list_plugins()
    if settings.json:
        from envtool.report.json_lines import encode_line

        rows: list[Json] = [
            {
                "name": plugin.name,
                "version": plugin.version,
                "files": [*plugin.files],
                "adds": {noun: [*names] for noun, names in plugin.adds.items()},
                "error": plugin.error,
                "left_out": plugin.left_out,
            }
            for plugin in plugins
        ]
        sys.stdout.write(encode_line({"plugins": rows}))
    else:
        from envtool.report.text import one_line

        for plugin in plugins:
            lines = [f"{plugin.name} {plugin.version}".rstrip(), *(f"  {file}" for file in plugin.files)]
            lines += [f"  {noun}: {', '.join(names)}" for noun, names in plugin.adds.items() if names]
            lines += [f"  error: {plugin.error}"] if plugin.error else []
            lines += ["  left out"] if plugin.left_out else []
            sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))
    return int(any(plugin.error for plugin in plugins))

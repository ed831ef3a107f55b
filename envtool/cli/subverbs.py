"""Verbs that have verbs below them: `envtool store size`, `envtool import compose`."""

from __future__ import annotations

from typing import Any

import click

from envtool.cli.common_options import common_options
from envtool.errors import UsageError, closest_name


class SubverbGroup(click.Group):
    """A verb with verbs below it. `examples` are those of all of them, one a line; `noun` is what messages call one."""

    noun = "verb"

    def __init__(self, *args: Any, examples: str, **attributes: Any) -> None:
        attributes["context_settings"] = {"help_option_names": ["-h", "--help"]}
        attributes["subcommand_metavar"] = "VERB ..."
        super().__init__(*args, **attributes)
        self.examples = examples
        self.params += common_options(container=False)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name. Raises UsageError, with the closest name, if there is none."""
        verb = super().get_command(ctx, cmd_name)
        if verb is None and not ctx.resilient_parsing and not cmd_name.startswith("-"):
            name = f"{self.name} {cmd_name}" if self.noun == "verb" else cmd_name
            raise UsageError(f"unknown {self.noun} `{name}`", code="usage.verb", hint=self.hint(cmd_name))
        return verb

    def hint(self, name: str) -> str:
        """What to type instead of a name that no verb has."""
        if close := closest_name(name, self.commands):
            return f"did you mean `envtool {self.name} {close}`?"
        return f"`envtool {self.name} --help` lists the {self.noun}s"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(80)) for name, verb in self.commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            for line in filter(None, self.examples.split("\n")):
                formatter.write(f"  {line}\n")

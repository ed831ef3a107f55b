"""`envtool import`."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from envtool.cli.common_options import Verb, common_options, read_settings
from envtool.errors import UsageError, closest_name

COMPOSE_EXAMPLES = """
envtool import compose compose.yaml
envtool import compose -o envtool.yaml docker-compose.yml docker-compose.override.yml
envtool import compose --set TAG=1.27 compose.yaml > envtool.yaml
"""


class ImportVerbGroup(click.Group):
    """The group of the verbs of `envtool import`: one for each format."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of this name. Raises UsageError, with the closest name, if there is none."""
        verb = super().get_command(ctx, cmd_name)
        if verb is None and not ctx.resilient_parsing and not cmd_name.startswith("-"):
            close = closest_name(cmd_name, self.commands)
            hint = f"did you mean `envtool import {close}`?" if close else "`envtool import --help` lists the formats"
            if os.path.isfile(cmd_name):
                hint = "say which format it has: `envtool import compose FILE`"
            raise UsageError(f"unknown format `{cmd_name}`", code="usage.verb", hint=hint)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(80)) for name, verb in self.commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples of all verbs."""
        with formatter.section("Examples"):
            for line in COMPOSE_EXAMPLES.strip().split("\n"):
                formatter.write(f"  {line}\n")


@click.group(
    "import",
    cls=ImportVerbGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="VERB ...",
)
def command() -> None:
    """Write an envtool.yaml from the file of another program."""


command.params += common_options(container=False)


class VariableValue(click.ParamType[tuple[str, str]]):
    """A variable and its value: NAME=VALUE."""

    name = "variable"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the value. Fails for a word without `=`."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"`{value}` gives no variable a value: say NAME=VALUE", param, ctx)
        return name, text


@command.command("compose", cls=Verb, examples=COMPOSE_EXAMPLES)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False), help="Write the spec to FILE: a new file."
)
@click.option(
    "--set",
    "given",
    metavar="NAME=VALUE",
    type=VariableValue(),
    multiple=True,
    help="The value of ${NAME}, over that of `.env`; may be repeated.",
)
@click.option(
    "--kinds", is_flag=True, help="Write `postgres: 15` and the like for an official image, where it means the same."
)
@click.pass_context
def compose(
    ctx: click.Context, /, files: tuple[str, ...], output: str | None, given: tuple[tuple[str, str], ...], kinds: bool
) -> None:
    """Print an envtool.yaml with the services of a Docker compose file. Of several files the later are merged over
    the earlier.

    Each key that means something else here, or nothing, is named with its place: as a comment in the spec, and on
    standard error with what to do. Variables come from `.env` beside the first file, if it is a file of the project;
    your own environment is not read. See docs/services.md.
    """
    from envtool.app.import_compose import import_compose
    from envtool.cli import console, import_text

    settings = read_settings(ctx)
    path = os.path.normpath(os.path.join(settings.directory, output)) if output else ""
    if path and os.path.lexists(path):
        hint = "name another one, or leave `-o` out: the spec is then printed"
        raise UsageError(f"`{path}` exists", code="usage.exists", hint=hint)
    directory = (os.path.dirname(path) or ".") if path else settings.directory
    result = import_compose(settings.request(), files, dict(given), directory, kinds=kinds)
    if path:
        _write(path, directory, result.text)
    if settings.json:
        from envtool.report.json_lines import write_line

        write_line(sys.stdout, import_text.import_json(result, path))
    elif not path:
        sys.stdout.write(result.text)
    style = console.detect_style(sys.stderr, settings.color)
    beside = not path and not settings.json and _is_one_place(sys.stdout, sys.stderr)
    text = import_text.format_import(result, files, path, style, short=settings.verbosity < 0, beside=beside)
    if text:
        print(console.fit_to_terminal(text, sys.stderr), file=sys.stderr)


def _is_one_place(first: TextIO, second: TextIO) -> bool:
    """Returns whether two streams lead to the same terminal or file."""
    try:
        return os.path.sameopenfile(first.fileno(), second.fileno())
    except (OSError, ValueError):
        return False


def _write(path: str, directory: str, text: str) -> None:
    from envtool.fs import caller_paths

    try:
        with caller_paths.atomic_write(path, directory, make=True, replace=False) as file:
            file.write(text.encode())
    except FileExistsError:
        raise UsageError(f"`{path}` exists", code="usage.exists") from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}", code="usage.file") from error

"""`envtool import`."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from envtool.cli.common_options import Verb, read_settings
from envtool.cli.subverbs import SubverbGroup
from envtool.errors import UsageError

COMPOSE_EXAMPLES = """
envtool import compose compose.yaml
envtool import compose -o envtool.yaml docker-compose.yml docker-compose.override.yml
envtool import compose --set TAG=1.27 compose.yaml > envtool.yaml
"""


class ImportVerbGroup(SubverbGroup):
    """The group of the verbs of `envtool import`: one for each format."""

    noun = "format"

    def hint(self, name: str) -> str:
        """As for any verb; for a file, that the format comes before it."""
        if os.path.isfile(name):
            return "say which format it has: `envtool import compose FILE`"
        return super().hint(name)


@click.group("import", cls=ImportVerbGroup, examples=COMPOSE_EXAMPLES)
def command() -> None:
    """Write an envtool.yaml from the file of another program."""


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

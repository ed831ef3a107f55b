"""`envtool env ENV`."""

from __future__ import annotations

import os
import re
import sys
from shlex import quote
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Choice, Verb, complete_env_names, read_settings, resolve_options
from envtool.errors import UsageError, near_name_hint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from envtool.cli.option_values import ResolveOptions

EXAMPLES = """
envtool env unit
envtool env unit --json | jq -r .variables.PATH
envtool env unit --format sh --shims .shims
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@click.command("env", cls=Verb, examples=EXAMPLES)
@click.argument("env", shell_complete=complete_env_names)
@click.option("--format", "form", type=Choice(["text", "json", "sh", "dotenv"]), default="text", help="Default: text.")
@click.option(
    "--shims", metavar="DIR", type=click.Path(), help="With sh and dotenv: put this directory of shims before PATH."
)
@click.option(
    "--export", "exported", metavar="NAME", multiple=True,
    help="With sh and dotenv: also this variable of the env; may be repeated.",
)  # fmt: skip
@resolve_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    env: str,
    form: str,
    shims: str | None,
    exported: tuple[str, ...],
    **options: Unpack[ResolveOptions],
) -> None:
    """Print the variables that commands of an env have, without secrets and without those that `pass:` takes from you.
    Builds the stack if necessary.

    `text` and `json` have all of them, as they are in the container. `sh` and `dotenv` are for a shell or an editor on
    this machine: the spec decides the values, and some variables make any program run what they name. So these formats
    have ENVTOOL_ENV, PATH with the directory of `--shims`, and what you name with `--export`.
    """
    from envtool.app import env_programs
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    form = "json" if settings.json else form
    if form in ("text", "json") and (shims is not None or exported):
        option = "--shims" if shims is not None else "--export"
        message = f"`{option}` and the format {form} contradict each other"
        raise UsageError(message, code="usage.contradiction", hint="`--format sh` or `--format dotenv`")
    if shims is not None and ":" in shims:
        raise UsageError(f"`--shims {shims}` is not possible: PATH is divided at each `:`", code="usage.shims")
    request = settings.request(**options)
    found = run_with_display(
        settings, lambda emit, cancel: env_programs.read_variables(request, env, emit, cancel), events=False
    )
    if form == "json":
        from envtool.report.json_lines import encode_line

        text = encode_line({"env": found.env, "root": found.root, "variables": {**found.variables}})
    elif form == "text":
        from envtool.report.text import one_line

        text = "".join(f"{one_line(f'{name}={value}')}\n" for name, value in found.variables.items())
    else:
        directory = os.path.abspath(os.path.join(settings.directory, shims)) if shims is not None else ""
        text = _for_this_machine(form, found.env, _choose(exported, found.variables), directory)
    sys.stdout.write(text.encode("utf-8", "surrogateescape").decode(errors="replace"))


def _choose(names: tuple[str, ...], variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that the caller names. Raises UsageError for one that the env does not have, or that no
    shell can have."""
    for name in names:
        if name not in variables:
            hint = near_name_hint(name, sorted(variables), "`envtool env ENV` lists them")
            raise UsageError(f"the env has no variable `{name}`", code="no-variable", hint=hint)
        if not _NAME.fullmatch(name) or name == "PATH":
            reason = "`--shims DIR` extends PATH" if name == "PATH" else "a shell cannot have such a name"
            raise UsageError(f"`--export {name}` is not possible: {reason}", code="usage.export")
    return {name: variables[name] for name in names}


def _for_this_machine(form: str, env: str, variables: Mapping[str, str], directory: str) -> str:
    values = {"ENVTOOL_ENV": env, **variables}
    if form == "sh":
        lines = [f"export {name}={quote(value)}" for name, value in values.items()]
        lines += [f'export PATH={quote(directory)}"${{PATH:+:$PATH}}"'] if directory else []
    else:
        path = ":".join(filter(None, (directory, os.environ.get("PATH", ""))))
        values |= {"PATH": path} if directory else {}
        lines = [f"{name}={_quote_dotenv(value)}" for name, value in values.items()]
    return "".join(f"{line}\n" for line in lines)


def _quote_dotenv(value: str) -> str:
    """Returns a value as readers of .env files take it literally: in single quotes; with a single quote or a line end
    in it, in double quotes with escapes."""
    if not re.search(r"['\r\n]", value):
        return f"'{value}'"
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("`", "\\`"), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(character, escape)
    return f'"{value}"'

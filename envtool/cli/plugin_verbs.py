"""The verbs of plugins, as commands of click."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import click

from envtool import api, distributions, plugin_calls, plugins
from envtool.app.project_pins import ProjectPins
from envtool.cli.common_options import Choice, Settings, Verb, complete_env_names, complete_task_names, read_settings
from envtool.distributions import describe_owner
from envtool.errors import UnusablePluginError, UsageError
from envtool.plugin_calls import Offer

if TYPE_CHECKING:
    from envtool.distributions import EntryPoint

RESERVED_OPTIONS = frozenset({
    "--allow-file", "--allow-pass", "--allow-secret", "--color", "--file", "--help", "--json", "--output", "--quiet",
    "--verbose",
})  # fmt: skip
COMPLETIONS = {"env": complete_env_names, "task": complete_task_names}


def load_command(name: str) -> click.Command | None:
    """The command of a plugin's verb; None if no plugin has one of this name. Raises UsageError if several have, or if
    the plugin cannot be used."""
    entries = distributions.verb_entry_points()
    if name not in entries:
        return None
    plugins.check_verbs(entries[name])
    return _make_command(load_verb(entries[name][0]))


def load_verb(entry: EntryPoint) -> Offer[api.PluginVerb]:
    """Returns the verb of an entry point. Raises UnusablePluginError."""
    owner = describe_owner(entry)
    plugin = plugins.load_entry(entry)
    verbs = plugins.collect([(plugin, owner)], "envtool_verbs", api.PluginVerb, "verb", _check_verb, Offer)
    if entry.name not in verbs:
        raise UnusablePluginError.of(owner, f"has no verb `{entry.name}`, which its entry point names")
    return verbs[entry.name]


def _check_verb(verb: api.PluginVerb) -> str:
    for option in verb.options:
        if not re.fullmatch(r"--[a-z][a-z0-9-]*", option.name):
            return f"with the option `{option.name}`: names begin with `--`, and have small letters, digits and `-`"
        if option.name in RESERVED_OPTIONS:
            return f"with the option `{option.name}`, which every verb has already"
    for argument in verb.arguments:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", argument.name):
            return f"with the argument `{argument.name}`: names have small letters, digits and `-`"
    names = [*(argument.name for argument in verb.arguments), *(option.name[2:] for option in verb.options)]
    if repeated := [name for name in names if names.count(name) > 1]:
        return f"that has `{repeated[0]}` twice"
    return "" if verb.help.strip() else "without `help`"


def _make_command(offer: Offer[api.PluginVerb]) -> click.Command:
    verb = offer.value
    parameters: list[click.Parameter] = [_make_argument(argument) for argument in verb.arguments]
    parameters += [_make_option(option) for option in verb.options]
    parameters.append(
        click.Option(["--output"], metavar="FILE", type=click.Path(dir_okay=False), help="Write to this file.")
    )

    @click.pass_context
    def run(ctx: click.Context, /, output: str | None, **values: object) -> int:
        return _run(offer, ctx, output, values)

    return Verb(
        verb.name,
        callback=run,
        params=parameters,
        help=verb.help,
        epilog=None,
        examples="\n".join(verb.examples),
        tail=verb.takes_words,
    )


def _make_argument(argument: api.Argument) -> click.Argument:
    return click.Argument(
        [argument.name],
        metavar=argument.name.upper() if not argument.optional else f"[{argument.name.upper()}]",
        required=not argument.optional,
        nargs=-1 if argument.many else 1,
        shell_complete=COMPLETIONS.get(argument.completes),
    )


def _make_option(option: api.Option) -> click.Option:
    if not option.metavar:
        return click.Option([option.name], is_flag=True, help=option.help)
    return click.Option(
        [option.name],
        metavar=option.metavar,
        multiple=option.many,
        type=Choice(option.choices) if option.choices else None,
        help=option.help,
    )


def _run(offer: Offer[api.PluginVerb], ctx: click.Context, output: str | None, values: dict[str, object]) -> int:
    from envtool.api.verbs import VerbCall

    settings, verb = read_settings(ctx), offer.value
    if verb.name not in distributions.verb_entry_points():  # `-p` stands after the verb
        raise UsageError(f"the verb `{verb.name}` is of a plugin that `-p no:` leaves out", code="usage.verb")
    names = (*(argument.name for argument in verb.arguments), *(option.name[2:] for option in verb.options))
    given = {name: _given(values[name.replace("-", "_")]) for name in names}
    if output is not None:
        from envtool.app import output_files

        output_files.check([output], settings.top())
    call = VerbCall(values=given, project=ProjectPins(settings.request()), words=ctx.obj or ())
    return _print(plugin_calls.call_verb(offer, call), settings, output)


def _given(value: object) -> str | bool | tuple[str, ...]:
    if isinstance(value, tuple):
        return tuple(map(str, value))
    return value if isinstance(value, bool) else "" if value is None else str(value)


def _print(answer: api.Answer, settings: Settings, output: str | None) -> int:
    if settings.json:
        from envtool.report.json_lines import encode_line

        text = encode_line({"text": answer.text} if answer.document is None else answer.document)
    else:
        text = answer.text.encode(errors="replace").decode()  # half a surrogate pair cannot be written
    if output is None:
        sys.stdout.write(text)
        return answer.status
    from envtool.fs import caller_paths

    try:
        with caller_paths.atomic_write(output, settings.top(), make=True) as file:
            file.write(text.encode())
    except OSError as error:
        print(f"error: {os.path.abspath(output)} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 3
    return answer.status

"""`envtool exec ENV -- CMD…`, and `envtool exec --service NAME -- CMD…`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.command_target import errors_of, one_off_options, read_target, writable_option
from envtool.cli.common_options import (
    Verb,
    command_options,
    complete_env_names,
    complete_service_names,
    read_settings,
)
from envtool.errors import UsageError

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.common_options import Settings
    from envtool.cli.option_values import WritableOptions

EXAMPLES = """
envtool exec unit -- python -m pytest -x
envtool exec 'unit[trixie]' -- cat /etc/os-release
envtool exec --service db -- psql
envtool exec --fresh db
envtool exec --base debian:trixie --with 'apt: [jq]' -- jq --version
"""


@click.command(
    "exec",
    cls=Verb,
    examples=EXAMPLES,
    tail=True,
    stdout="belongs to the command",
    container=True,
    options_metavar="[OPTIONS]",
)
@click.argument("env", required=False, metavar="ENV", shell_complete=complete_env_names)
@click.argument("words", nargs=-1, metavar="-- CMD...")
@click.option(
    "--service",
    metavar="NAME",
    shell_complete=complete_service_names,
    help="In place of ENV: a service that `envtool up` runs, or a replica such as `api-2`.",
)
@click.option(
    "--fresh",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_service_names,
    help="First throw away what this service, which `envtool up` runs, has written: it starts anew on its prepared "
    "state. A command may follow, in ENV or beside a service: `--fresh db --service db -- psql`.",
)
@writable_option
@one_off_options
@command_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    env: str | None,
    words: tuple[str, ...],
    service: str | None,
    fresh: tuple[str, ...],
    **options: Unpack[WritableOptions],
) -> int:
    """Run a command in an env, in a throw-away container, and end with its exit status.

    Standard output has only the output of the command, byte for byte; messages of envtool go to standard error. With
    `-vv` they have a line for each operation that makes the container. With `--service` the command runs beside the
    service, in its container, as its user. What the command writes is discarded when it ends, but for the checkout
    with `--writable`.
    """
    argv = words + tuple(ctx.obj)
    if fresh:
        if service is None and argv:
            read_target(ctx, env)  # raises UsageError before anything is thrown away
        _make_fresh(read_settings(ctx), fresh)
        if env is None and service is None:
            return 0
    if service is not None:
        if options["learn_network"]:
            message = "`--learn-network` and `--service` contradict each other: a service that runs keeps its network"
            raise UsageError(message, code="usage.contradiction", hint="give an env in place of the service")
        if options["writable"]:
            message = "`--writable` and `--service` contradict each other: the service's container is made already"
            raise UsageError(message, code="usage.contradiction", hint="`envtool up --writable` makes it so")
        if options["limits"]:
            message = "`--limit` and `--service` contradict each other: the command is in the service's container"
            raise UsageError(message, code="usage.contradiction", hint="the service's own `limits:` hold for both")
        return _enter(read_settings(ctx), service, (*((env,) if env else ()), *argv))
    target = read_target(ctx, env)
    if target is None:
        return 0
    if not argv:
        hint = "the command comes after `--`" if env is None else f"`envtool shell {env}` opens a shell"
        raise UsageError(f"no command to run in `{target.env}`", code="usage.command", hint=hint)
    from envtool.cli.interactive import run_interactively

    with errors_of(target):
        return run_interactively(target.settings, target.env, argv, **options)


def _make_fresh(settings: Settings, services: tuple[str, ...]) -> None:
    from envtool.app import running_services

    running_services.make_fresh(settings.request(), services)
    if settings.verbosity >= 0:
        print(f"fresh: {', '.join(services)}", file=sys.stderr)


def _enter(settings: Settings, service: str, argv: tuple[str, ...]) -> int:
    from envtool.app import running_services

    if not argv:
        hint = f"`envtool exec --service {service} -- sh` opens a shell"
        raise UsageError(f"no command to run in `{service}`", code="usage.command", hint=hint)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return running_services.enter(
        settings.request(), service, argv, terminal=terminal, term=os.environ.get("TERM", "dumb")
    )

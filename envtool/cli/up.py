"""`envtool up [SERVICE...]`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from envtool.cli.common_options import Verb, complete_service_names, envs_option, read_settings, resolve_options
from envtool.errors import EnvtoolError, Interrupted

if TYPE_CHECKING:
    from typing import Any, Unpack

    from envtool.cli.common_options import Settings
    from envtool.cli.option_values import ResolveOptions
    from envtool.services.up.manager import UpOrder
    from envtool.services.up.project_state import ProjectState

EXAMPLES = """
envtool up                 in the foreground, with what they print; ^C stops them
envtool up -d db cache     some, and what they need, past this terminal
envtool up -d              again after an edit: replaces what changed, and nothing else
envtool up --watch         restarts what sees the project when that changes
"""


@click.command("up", cls=Verb, examples=EXAMPLES)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_service_names)
@click.option("-d", "--detach", is_flag=True, help="Return when all are ready; they run until `envtool down`.")
@click.option("--watch", is_flag=True, help="Restart services that see the project when its files change.")
@click.option("--writable", is_flag=True, help="Let services that see the project write to the checkout.")
@envs_option("The services as this env has them.")
@resolve_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    services: tuple[str, ...],
    detach: bool,
    watch: bool,
    writable: bool,
    envs: tuple[str, ...],
    **options: Unpack[ResolveOptions],
) -> int:
    """Start the services of the project, or some of them and what they need.

    Where they run already, what the spec, the lock or the options changed is replaced, replica by replica, and the rest
    stays as it is. With `--writable` the checkout is writable in services that see the project, but for what git and
    envtool obey.
    """
    from envtool.app import up
    from envtool.cli.session import run_with_display

    settings = read_settings(ctx)
    order = up.make_order(settings.request(envs=envs, **options), services, watch=watch, writable=writable)
    run_with_display(settings, lambda emit, cancel: up.build(order, emit, cancel), events=False)
    state, root, spec = up.find_state(up.request_of(order))
    try:
        if state.is_running():
            _update(settings, state, order)
        elif detach:
            _detach(state, root, spec, order)
        else:
            return _hold(settings, state, root, spec, order)
    except EnvtoolError as error:
        if error.code != "up-busy" or not state.is_running():
            raise
        _update(settings, state, order)  # another `up` began at the same time: it goes on with what this one asks for
    if settings.json or settings.verbosity >= 0:
        _show(settings)
    return 0


def _update(settings: Settings, state: ProjectState, order: UpOrder) -> None:
    from envtool.app import up
    from envtool.services.up.service_status import describe_change

    for message in up.update(state, order):
        if settings.verbosity >= 0:
            print(describe_change(message), file=sys.stderr)


def _detach(state: ProjectState, root: str, spec: str, order: UpOrder) -> None:
    from envtool.app import running_services, up

    try:
        up.await_detached(up.start_detached(state, root, spec, order))
    except KeyboardInterrupt:
        for _ in running_services.stop(up.request_of(order)):
            pass
        raise Interrupted from None


def _hold(settings: Settings, state: ProjectState, root: str, spec: str, order: UpOrder) -> int:
    from envtool.app import up
    from envtool.cli.service_tables import LogPrinter
    from envtool.services.up.service_log import MANAGER

    printer = LogPrinter(settings)

    def ready(_: dict[str, Any]) -> None:
        if not settings.json and settings.verbosity >= 0:
            _show(settings)

    reason = up.hold(
        state,
        root,
        spec,
        order,
        listen=lambda line: printer.write(line) if line.replica != MANAGER or settings.verbosity >= 0 else None,
        ready=ready,
    )
    return 130 if reason == "interrupted" else 0


def _show(settings: Settings) -> None:
    """Print what `ps` prints; in the foreground to standard error, since standard output has what services print."""
    from envtool.app import running_services
    from envtool.cli import service_tables

    service_tables.write_services(settings, running_services.show(settings.request()), file=sys.stderr)

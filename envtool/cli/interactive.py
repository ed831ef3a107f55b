"""Builds an env, then gives the terminal to a command in it: for `exec` and `shell`."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from envtool.cli import console, missing_command, signals
from envtool.cli.session import exit_now
from envtool.events import Event, Finished, Output, Started
from envtool.report.stream import EventStream
from envtool.report.text import one_line
from envtool.run.shutdown import GracePeriod

if TYPE_CHECKING:
    from typing import Unpack

    from envtool.cli.common_options import Settings
    from envtool.cli.option_values import WritableOptions

POLL_SECONDS = 0.05  # how often it looks whether the run was cancelled


def run_interactively(settings: Settings, env: str, argv: tuple[str, ...], **options: Unpack[WritableOptions]) -> int:
    """Run a command in an env; returns its exit status. `options` are further fields of CommandRequest. Raises
    EnvtoolError."""
    from envtool.app import env_stack
    from envtool.build.context import Cancel

    request = settings.request(**options)
    display = console.make_display(settings)
    commands: set[str] = set()
    cancel, grace = Cancel.make(), GracePeriod()

    def stop(number: int) -> None:
        if cancel.is_set():  # the second signal: do not wait; every container dies with this process
            raise KeyboardInterrupt(f"signal {number}")
        cancel.set(number)

    def end_after_grace() -> None:
        while not (cancel.is_set() and grace.is_over()):
            time.sleep(POLL_SECONDS)
        sys.stderr.write("interrupted\n")
        exit_now(130)

    with EventStream([display], display.say) as stream:

        def emit(event: Event) -> None:
            grace.on_event(event)
            # Once the command has the terminal, envtool does not write to it: the display settles before that.
            if isinstance(event, Started) and event.subject == "task":
                commands.add(event.id)
            if event.id not in commands:
                stream.emit(event)
            if not isinstance(event, Output) and (event.id in commands or isinstance(event, Finished)):
                stream.wait_until_handled()

        def print_operations(lines: list[str]) -> None:
            sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))

        describe = print_operations if settings.verbosity > 1 else None
        try:
            terminal = sys.stdin.isatty() and sys.stdout.isatty()
            threading.Thread(target=end_after_grace, name="end-after-grace", daemon=True).start()
            with signals.catch_signals(stop):
                status = env_stack.execute(
                    request, env, argv, terminal=terminal, emit=emit, cancel=cancel, describe=describe
                )
            if status == missing_command.NOT_FOUND and argv and not cancel.is_set():
                missing_command.print_hint(request, env, argv[0])
            return 130 if cancel.is_set() else status
        finally:
            stream.call(display.close)

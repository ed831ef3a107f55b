"""What exec and shell share: make an env, then hand the terminal to a command in it."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from envtool.cli import app_interface, console, signals
from envtool.cli.session import exit_now
from envtool.errors import UsageError
from envtool.events import Event, Finished, Output, Started
from envtool.report.stream import EventStream
from envtool.run.shutdown import GracePeriod

if TYPE_CHECKING:
    from envtool.cli.common_options import Settings

POLL_SECONDS = 0.05  # seconds between two looks at whether the end was asked for


def run_interactively(settings: Settings, env: str, argv: tuple[str, ...], **how: Any) -> int:
    """The command's own exit status; `how` are more fields of the app's Request. Raises EnvtoolError."""
    if settings.json:
        raise UsageError("`--json` means nothing here: standard output belongs to the command", code="usage.json")
    app = app_interface.import_app()
    request = app.CommandRequest(**settings.project(), **how)
    display = console.make_display(settings)
    commands: set[str] = set()
    cancel, patience = app.Cancel.make(), GracePeriod()

    def stop(number: int) -> None:
        if cancel.is_set():  # the second time: do not wait; every container dies with this process
            raise KeyboardInterrupt(f"signal {number}")
        cancel.set(number)

    def hurry() -> None:
        while not (cancel.is_set() and patience.is_over()):
            time.sleep(POLL_SECONDS)
        sys.stderr.write("interrupted\n")
        exit_now(130)

    with EventStream([display], display.say) as stream:

        def emit(event: Event) -> None:
            patience.on_event(event)
            # From the moment the command has the terminal, nobody else may write to it: our lines are gone before.
            if isinstance(event, Started) and event.subject == "task":
                commands.add(event.id)
            if event.id not in commands:
                stream.emit(event)
            if not isinstance(event, Output) and (event.id in commands or isinstance(event, Finished)):
                stream.wait_until_handled()

        try:
            terminal = sys.stdin.isatty() and sys.stdout.isatty()
            threading.Thread(target=hurry, name="hurry", daemon=True).start()
            with signals.catch_signals(stop):
                status = app.execute(request, env, argv, terminal=terminal, emit=emit, cancel=cancel)
            return 130 if cancel.is_set() else status
        finally:
            stream.call(display.close)

"""Says which program was perhaps meant, after a command of `exec` was not found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from envtool.errors import EnvtoolError

if TYPE_CHECKING:
    from envtool.app.command_request import CommandRequest

NOT_FOUND = 127  # the status of a command that is not found


def print_hint(request: CommandRequest, env: str, command: str) -> None:
    """Print the hint for a command that ended with NOT_FOUND, if there is one. It reads the spec and the layers again:
    nothing has to be kept for it while the command runs."""
    from envtool.app import env_stack
    from envtool.report.text import one_line

    if "/" in command:  # a path: the message of the container names it
        return
    try:
        hint = env_stack.missing_command_hint(request, env, command)
    except (EnvtoolError, OSError):  # the command has ended: nothing else is to be said
        return
    if hint:
        sys.stderr.write(f"hint: {one_line(hint)}\n")

"""The short way of `envtool exec ENV -- CMD…`: taken when the answer is already on disk. Imports os and sys only."""

from __future__ import annotations


def try_exec(arguments: list[str]) -> int | None:
    """The command's exit status, or None: take the long way. `arguments` contain "exec". Never raises or prints
    anything before the command has started.
    """
    del arguments
    return None

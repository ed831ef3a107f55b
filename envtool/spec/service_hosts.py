"""Finds the host names that a service's command and variables have, for the hint that it needs another service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envtool.model import Service

# Where a host name stands: in a URL or `user@host`, before a port, after an option or a key that is for a host, or as a
# whole variable. A word alone is none: services are called as the programs and directories that they have.
_NAME = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(
    rf"(?:^|(?<=[\s,;=\"'(\[]))({_NAME})(?=:[0-9])"
    rf"|(?:(?<=//)|(?<=@))({_NAME})(?![\w-]|\.\w)"
    rf"|(?:(?<=\s-h)|(?<=host)|(?<=hostname)|(?<=server))(?:\s+|=)({_NAME})(?![\w-]|\.\w)",
    re.IGNORECASE,
)


def named_hosts(service: Service) -> dict[str, None]:
    """Returns what a service's command and variables name as hosts, in small letters, in their order."""
    values = [value for value in service.env.set.values() if value]
    named = dict.fromkeys(value.strip().lower() for value in values)
    command = service.command
    for text in (*values, (command.shell or " ".join(command.argv)) if command is not None else ""):
        named.update(dict.fromkeys(next(filter(None, match.groups())).lower() for match in _HOST.finditer(text)))
    return named

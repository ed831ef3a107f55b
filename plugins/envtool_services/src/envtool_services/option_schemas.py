"""Schemas and texts of the keys that several kinds of service have."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from envtool import api
from envtool_services.debian_versions import spec_error

_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
# Without blanks, quotes, `#`, `$` and backslashes: it stands in URLs, configuration files, SQL and shell lines.
_PRINTABLE = r"^[A-Za-z0-9_.~!@%^*+=:,/?-]{1,128}$"


def name(description: str) -> api.Json:
    """Returns the schema of a role or a database."""
    message = "a name of letters, digits and `_`"
    return {"description": description, "type": "string", "pattern": _NAME, "errorMessage": message}


def password(description: str) -> api.Json:
    """Returns the schema of a password."""
    message = (
        "a password of at most 128 letters, digits and signs, as in s3cret-word, without blanks, quotes, brackets, "
        "backslashes, dollar signs and any of `#&;<>|`"
    )
    return {"description": description, "type": "string", "pattern": _PRINTABLE, "errorMessage": message}


def settings(description: str, names: str, example: str) -> api.Json:
    """Returns the schema of a mapping of a server's own settings; their names match the pattern `names`, as `example`
    does."""
    value: api.Json = {
        "type": ["string", "number", "boolean"],
        "pattern": r"^[^\x00-\x1f\x7f]*$",
        "errorMessage": "text on one line, without tabs and other control characters",
    }
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"pattern": names, "errorMessage": f"the name of a setting, as in {example}"},
        "additionalProperties": value,
    }


def read_settings(
    declaration: api.ServiceDeclaration, own: Collection[str], *, truth: tuple[str, str] = ("off", "on")
) -> dict[str, str]:
    """Returns the server's settings as text. Raises SpecError for one of `own`, which the kind itself sets. `truth` has
    the texts of false and true."""
    value = declaration.options.get("settings")
    read: dict[str, str] = {}
    for key, item in value.items() if isinstance(value, dict) else ():
        if key in own:
            hint = "remove it: the service has an address and a file system of its own, so nothing can collide"
            raise spec_error(declaration, f"envtool sets `{key}` itself", hint=hint)
        read[key] = truth[item] if isinstance(item, bool) else str(item)
    return read


def text_option(declaration: api.ServiceDeclaration, key: str, default: str) -> str:
    """Returns the text under a sibling key."""
    return str(declaration.options.get(key, default))


def ready_check(
    line: str, command: api.Command, settings: Mapping[str, str], hides: Callable[[str], bool]
) -> tuple[api.ReadyDraft, ...]:
    """Returns the check of a server that prints a line when it is ready: the cheapest check. Where a setting for which
    `hides` is true may change what it prints, a command is asked instead."""
    if any(hides(key) for key in settings):
        return (api.ReadyDraft(how="command", command=command),)
    return (api.ReadyDraft(how="log", text=re.escape(line).replace(r"\ ", " ")),)


def url(scheme: str, user: str, secret: str, host: str, port: int, path: str = "") -> str:
    """Returns a URL; `user`, `secret` and `path` may be empty."""
    from urllib.parse import quote

    login = quote(user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
    return f"{scheme}://{login}{'@' if login else ''}{host}:{port}{path}"

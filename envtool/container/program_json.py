"""A container as JSON text, for another process or machine: `from_json(to_json(program)) == program`.

Its paths are those of the machine that made it: another machine needs the same trees at the same paths.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

from envtool.container import program as values
from envtool.container.program import Program
from envtool.errors import SandboxError
from envtool.model import Limit

FORMAT = 1
TYPES = {
    kind.__name__: kind
    for kind in (
        values.BindMount, values.CacheMount, values.ContainerStep, values.ContainerVariation, values.ExtraTree,
        values.FileTimes, values.PeekMount, values.Program, values.ProjectMount, values.Root, values.SecretMount,
        values.TaskCacheMount, values.TextMount, values.TmpfsMount,
    )
}  # fmt: skip
_JSON = ("arguments", "env")  # fields that have JSON already


def to_json(program: Program) -> str:
    """Returns a container as JSON text."""
    return json.dumps({"format": FORMAT, "program": _encode(program)}, allow_nan=False)


def from_json(text: str) -> Program:
    """Returns the container of `to_json`. Raises SandboxError (code program-format) for any other text."""
    try:
        document = json.loads(text)
        if document["format"] == FORMAT and isinstance(program := _decode(document["program"]), Program):
            return program
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise SandboxError(f"no container of this envtool: {error}", code="program-format") from error
    raise SandboxError("no container of this envtool", code="program-format")


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        encoded = {name: _plain(item) if name in _JSON else _encode(item) for name, item in fields.items()}
        if isinstance(value, values.Program):
            encoded["limits"] = {name: [*limit] for name, limit in value.limits.items()}
        return {"type": type(value).__name__, **encoded}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else dict(value)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "base64" in value:
        return base64.b64decode(value["base64"], validate=True)
    fields = {name: item for name, item in value.items() if name not in ("type", "limits")}
    decoded = {name: _from_plain(item) if name in _JSON else _decode(item) for name, item in fields.items()}
    if "limits" in value:
        decoded["limits"] = {name: Limit(*limit) for name, limit in value["limits"].items()}
    return TYPES[value["type"]](**decoded)


def _from_plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

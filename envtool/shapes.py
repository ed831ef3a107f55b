"""JSON Schemas (2020-12) of what pins are made of: hashes, sizes, and names that become file names, paths or URLs.

Pins come back from a lock file, which anybody who may edit a checkout may have written: what becomes a path is only
ever one below something, and what becomes a name is one component.
"""

from __future__ import annotations

from typing import Any, cast

from envtool.model import Json

LONGEST = 300  # characters of what is said

SHA256: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
DIGEST: Json = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
SIZE: Json = {"type": "integer", "minimum": 0, "maximum": 1 << 53}  # bytes
TEXT: Json = {"type": "string", "maxLength": 4096, "pattern": r"^[^\x00-\x1f\x7f]*$"}  # one line
FILE: Json = {"type": "string", "maxLength": 255, "pattern": r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f]+$"}  # one component
PATH: Json = {  # relative, and below whatever it is joined to
    "type": "string",
    "maxLength": 4096,
    "pattern": r"^(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\x7f]*$",
}
URL: Json = {"type": "string", "maxLength": 8192, "pattern": r"^(https?|file):[^\x00-\x1f\x7f]+$"}


def rows(item: Json) -> Json:
    """An array of these."""
    return {"type": "array", "items": item, "maxItems": 100_000}


def record(needed: dict[str, Json], more: dict[str, Json] | None = None, *, closed: bool = False) -> Json:
    """An object that has all of the one and may have the other; when it is `closed`, nothing else."""
    found: dict[str, Json] = {"type": "object", "required": [*needed], "properties": {**needed, **(more or {})}}
    return found | ({"additionalProperties": False} if closed else {})


def mapping(item: Json, names: Json = True) -> Json:
    """An object of any names, with values like this."""
    return {"type": "object", "propertyNames": names, "additionalProperties": item}


_compiled: dict[int, tuple[Json, Any]] = {}  # by the id of a schema, which is kept so that the id stays its own


def fault(value: Json, schema: Json) -> str:
    """What is wrong with a value, in some words; empty where it fits."""
    if schema is True:
        return ""
    if id(schema) not in _compiled:
        import jsonschema_rs

        _compiled[id(schema)] = schema, jsonschema_rs.validator_for(cast("dict[str, Any]", schema))
    for error in _compiled[id(schema)][1].iter_errors(value):
        where = "/".join(str(part) for part in error.instance_path)
        text = f"{where or 'the whole'}: {error.message}"
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return ""

"""JSON Schemas (2020-12) of what pins are made of: hashes, sizes, and names that become file names, paths or URLs.

Pins come back from a lock file, which anybody who may edit a checkout may have written: what becomes a path is only
ever one below something, and what becomes a name is one component.
"""

from __future__ import annotations

from typing import Any, cast

from envtool.model import Json

LONGEST = 300  # characters of what is said

SHA256: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$", "errorMessage": "a sha256 of 64 hex digits"}
DIGEST: Json = {
    "type": "string",
    "pattern": "^sha256:[0-9a-f]{64}$",
    "errorMessage": "a digest: `sha256:` and 64 hex digits",
}
SIZE: Json = {"type": "integer", "minimum": 0, "maximum": 1 << 53}  # bytes
TEXT: Json = {
    "type": "string",
    "maxLength": 4096,
    "pattern": r"^[^\x00-\x1f\x7f]*$",
    "errorMessage": "one line of text",
}
FILE: Json = {
    "type": "string",
    "maxLength": 255,
    "pattern": r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f]+$",
    "errorMessage": "the name of a file, without a slash",
}
PATH: Json = {  # relative, and below whatever it is joined to
    "type": "string",
    "maxLength": 4096,
    "pattern": r"^(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\x7f]*$",
    "errorMessage": "a relative path without `..`",
}
URL: Json = {
    "type": "string",
    "maxLength": 8192,
    "pattern": r"^(https?|file):[^\x00-\x1f\x7f]+$",
    "errorMessage": "a URL of http, https or file",
}
# What a person writes for a place to fetch from: with a host that could be one, and a port that there is. `file:` has
# nothing but a path, since a name after two slashes would be a host, which nobody asks.
_LABEL = r"[^\s/?#@:\[\]\\.]+"
_PORT = r"0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::{_PORT})?"
_WEB = rf"https?://(?:[^\s/?#@]*@)?{_HOST}(?:[/?#][^\x00-\x1f\x7f]*)?"
WEB: dict[str, Json] = {
    "type": "string",
    "maxLength": 8192,
    "pattern": rf"^{_WEB}$",
    "errorMessage": "a URL of http or https, as in https://example.org/simple",
}
PLACE: dict[str, Json] = {
    "type": "string",
    "maxLength": 8192,
    "pattern": rf"^(?:{_WEB}|file:(?://(?:localhost)?)?/(?!/)[^\x00-\x1f\x7f]+)$",
    "errorMessage": "a URL of http, https or file, as in https://example.org/app.tar.gz or file:///srv/app.tar.gz",
}


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
        text = f"{where or 'the whole'}: {words(error, schema)}"
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return ""


def words(error: Any, schema: Json) -> str:
    """What jsonschema-rs says of a value, without a regular expression in it: those are for programs."""
    if error.kind.name not in FORMS:
        return str(error.message)
    value = error.kind.error.instance if error.kind.name == "propertyNames" else error.instance
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    says = wanted(error, schema)
    return f"{shown} is not {says}" if says else f"{shown} does not match what is wanted here"


FORMS = ("pattern", "not", "propertyNames")  # keywords that say what a text has to look like


def wanted(error: Any, schema: Json) -> str:
    """The schema's own words for such a form: its `errorMessage`, as editors know it too. Empty where it has none."""
    at: Any = schema
    for step in [*error.schema_path][:-1]:
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return str(at.get("errorMessage", "")) if isinstance(at, dict) else ""

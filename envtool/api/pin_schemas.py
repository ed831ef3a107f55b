"""JSON Schemas (2020-12) for the parts of pins: hashes, sizes, and names that become file names, paths or URLs.

Pins are read back from a lock file, which anybody who can edit a checkout may have written. So a path is always
relative and without `..`, and a name is always one component.
"""

from __future__ import annotations

from typing import Any, cast

from envtool.model import Json

LONGEST = 300  # characters of a message

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
PATH: Json = {  # relative, and below the directory that it is joined to
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
# URLs that people write: with a plausible host and a port up to 65535. `file:` has only a path, since a name after two
# slashes would be a host, which is never contacted.
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
    """Returns the schema of an array of such items."""
    return {"type": "array", "items": item, "maxItems": 100_000}


def record(needed: dict[str, Json], more: dict[str, Json] | None = None, *, closed: bool = False) -> Json:
    """Returns the schema of an object that has the members `needed` and may have those of `more`; if it is `closed`, no
    others."""
    schema: dict[str, Json] = {"type": "object", "required": [*needed], "properties": {**needed, **(more or {})}}
    return schema | ({"additionalProperties": False} if closed else {})


def mapping(item: Json, names: Json = True) -> Json:
    """Returns the schema of an object with any names (or names of the schema `names`), whose values are such items."""
    return {"type": "object", "propertyNames": names, "additionalProperties": item}


# id of a schema -> the schema, which keeps the id from being used again, and its compiled form
_compiled: dict[int, tuple[Json, Any]] = {}


def fault(value: Json, schema: Json) -> str:
    """Returns what is wrong with a value, in words; "" if it fits the schema."""
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
    """Returns the message of jsonschema-rs for an error, but in words instead of a regular expression."""
    if error.kind.name not in FORMS:
        return str(error.message)
    value = error.kind.error.instance if error.kind.name == "propertyNames" else error.instance
    displayed = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    description = wanted(error, schema)
    return (
        f"{displayed} is not {description}"
        if description
        else f"{displayed} does not have the form that is required here"
    )


FORMS = ("pattern", "not", "propertyNames")  # keywords about the form of a text


def wanted(error: Any, schema: Json) -> str:
    """Returns the schema's `errorMessage`, which editors use too, for an error about a form; "" if it has none."""
    node: Any = schema
    for step in [*error.schema_path][:-1]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return ""
    return str(node.get("errorMessage", "")) if isinstance(node, dict) else ""

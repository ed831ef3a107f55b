"""The lock as text: JSON, deterministic, one item a line, so that diffs and merges are small.

Every entry, every pin and every item of a list of pins has a line of its own; deeper values stay on that line. The
format is that of `envtool schema --lock` (docs/lock.md); `version` is raised when an older envtool could not read it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from envtool.api import pin_schemas
from envtool.errors import Problem, SpecError
from envtool.lock.lock import Lock, LockEntry, LockQuestion, lock_of
from envtool.model import Json, Where

VERSION = 1
MAX_DEPTH = 64  # levels of arrays and objects; questions and pins of kinds have a few
RESTORE_HINT = (
    "`git checkout {0}` restores the last committed one; without one, `envtool lock` resolves everything again"
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # one half of a pair of UTF-16
LOCK_FILE = "envtool.lock"

_HEX: Json = pin_schemas.SHA256
SCHEMA: dict[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "envtool.lock",
    "description": "The pins that an envtool.yaml resolved to. Written by `envtool lock`.",
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "entries"],
    "properties": {
        "version": {"const": VERSION},
        "entries": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["kind", "platform", "asked"],
                "oneOf": [{"required": ["base"]}, {"required": ["layer"]}],
                "properties": {
                    "base": {"type": "string", "description": "Name of the base in the spec."},
                    "layer": {"type": "string", "description": "Name of the layer in the spec."},
                    "kind": {"type": "string", "description": "The kind of base or layer."},
                    "platform": {
                        "type": "string",
                        "description": "As `uname -m` prints it; for this machine's own system also the system's name.",
                    },
                    "asked": {"description": "The options that were resolved: while they are the same, the pins hold."},
                    "ground": {
                        **cast("dict[str, Json]", _HEX),
                        "description": "Digest of the pins of the layers below.",
                    },
                    "key": {**cast("dict[str, Json]", _HEX), "description": "The layer's key when it was locked."},
                    "diff_id": {
                        **cast("dict[str, Json]", pin_schemas.DIGEST),
                        "description": "The diff ID of the layer that was built with that key.",
                    },
                    "pins": {"description": "The pins, as the kind writes them."},
                    "files": {
                        "description": "Files to fetch by hash, where the spec itself pins them.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["name", "sha256"],
                            "properties": {
                                "name": {"type": "string"},
                                "url": {"type": "string"},
                                "sha256": _HEX,
                                "size": {"type": "integer", "minimum": 0},
                            },
                        },
                    },
                },
            },
        },
    },
}


def dumps(lock: Lock) -> str:
    """Returns the text of a lock; equal locks have equal text."""
    entries: list[Json] = [_document(entry) for entry in lock.entries]
    return "".join(_lines({"version": VERSION, "entries": entries}, 0)) + "\n"


def _document(entry: LockEntry) -> dict[str, Json]:
    question = entry.question
    document: dict[str, Json] = {
        question.subject: question.name,
        "kind": question.kind,
        "platform": question.platform,
        "asked": question.asked,
    }
    more: dict[str, Json] = {
        "ground": question.ground,
        "key": entry.key,
        "diff_id": entry.diff_id,
        "pins": entry.pins,
        "files": [dict(file) for file in entry.files],
    }
    return document | {key: value for key, value in more.items() if value not in ("", None, [])}


def _lines(value: Json, depth: int, name: str = "") -> Iterator[str]:
    """Yields pieces of text. Objects are broken into lines down to the pins (depth 3), lists of objects always, `asked`
    never.
    """
    pad = " " * (depth + 1)
    if isinstance(value, dict) and value and depth <= 3 and name != "asked":
        yield "{\n"
        last = len(value) - 1
        for index, (key, item) in enumerate(value.items() if depth < 3 else _order_keys(value).items()):
            yield f"{pad}{json.dumps(key)}: "
            yield from _lines(item, depth + 1, key)
            yield ",\n" if index < last else "\n"
        yield f"{' ' * depth}}}"
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value) and name != "asked":
        yield "[\n"
        last = len(value) - 1
        for index, item in enumerate(value):
            yield pad
            yield from _lines(item, depth + 1) if name == "entries" else (_flat(item),)
            yield ",\n" if index < last else "\n"
        yield f"{' ' * depth}]"
    else:
        yield _flat(value)


def _flat(value: Json) -> str:
    return json.dumps(_sort_keys(value), ensure_ascii=False)


def _sort_keys(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sort_keys(item) for key, item in _order_keys(value).items()}
    return [_sort_keys(item) for item in value] if isinstance(value, list) else value


def _order_keys(value: Mapping[str, Json]) -> dict[str, Json]:
    """Returns an object with `name` and `version`, which a reader looks for, first."""
    return dict(sorted(value.items(), key=lambda pair: (pair[0] != "name", pair[0] != "version", pair[0])))


def loads(text: str, *, file: str = LOCK_FILE, is_known: bool = False) -> Lock:
    """Returns a lock from its text. `is_known`: the same text was found to fit the schema before. Raises SpecError with
    the line of what is wrong (codes lock-json, lock-version, lock-schema). Pins are checked by their kinds: see
    `wrong_pins_error`.
    """
    try:
        document: Any = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        hint = "a merge went wrong? `git checkout --theirs`, then `envtool lock`" if "<<<<<<<" in text else ""
        raise _lock_error(
            file, error.lineno, error.colno, f"not JSON: {error.msg.lower()}", "lock-json", text, hint
        ) from None
    except _NumberError as error:
        line = text.count("\n", 0, max(0, text.find(error.token))) + 1
        message = f"not a number that a lock can hold: {error.token[:24]}{'…' if len(error.token) > 24 else ''}"
        raise _lock_error(file, line, 1, message, "lock-json", text, RESTORE_HINT.format(file)) from None
    except RecursionError:
        raise _lock_error(file, 1, 1, "not a lock: nested too deep", "lock-json", text) from None
    if _is_too_deep(document):
        raise _lock_error(file, 1, 1, "not a lock: nested too deep", "lock-json", text)
    if surrogate := _SURROGATE.search(text):
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            line = text.count("\n", 0, surrogate.start()) + 1
            raise _lock_error(
                file,
                line,
                1,
                "an incomplete character (half of a surrogate pair)",
                "lock-json",
                text,
                RESTORE_HINT.format(file),
            ) from None
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION and isinstance(version, int):
        message = f"this lock has version {version}, this envtool knows {VERSION}"
        raise _lock_error(file, 2, 1, message, "lock-version", text, "use the envtool that wrote it, or `envtool lock`")
    if not is_known:
        _check_schema(document, text, file)
    return lock_of(_entries(document["entries"], text, file))


def _check_schema(document: Any, text: str, file: str) -> None:
    import jsonschema_rs

    try:
        jsonschema_rs.validate(cast("dict[str, Any]", SCHEMA), document)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        message = f"{where or 'the whole'}: {pin_schemas.words(error, SCHEMA)}"
        raise _lock_error(file, 1, 1, message, "lock-schema", text, RESTORE_HINT.format(file)) from None


def _entries(documents: list[dict[str, Any]], text: str, file: str) -> Iterator[LockEntry]:
    """Yields the entries, each with the line of its name, which is the first line of an entry as `dumps` writes it."""
    position = 0
    for document in documents:
        subject = "base" if "base" in document else "layer"
        match = text.find(f'"{subject}": {json.dumps(document[subject])}', position)
        position = match if match >= 0 else position
        yield replace(_entry(document), where=Where(file=file, line=text.count("\n", 0, position) + 1, column=1))


def wrong_pins_error(entry: LockEntry, reason: str) -> SpecError:
    """Returns the error for an entry whose pins are not in the form that its kind writes (code lock-pins)."""
    question, where = entry.question, entry.where or Where(file=LOCK_FILE, line=1, column=1)
    message = f"the pins of {question.subject} `{question.name}` are not what kind `{question.kind}` writes: {reason}"
    return SpecError(
        (Problem(where=where, message=message, code="lock-pins", hint=RESTORE_HINT.format(where.file), width=0),)
    )


class _NumberError(Exception):
    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token


def _integer(token: str) -> int:
    if len(token) > 19:
        raise _NumberError(token)
    return int(token)


def _finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise _NumberError(token)
    return number


def _is_too_deep(document: Json) -> bool:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _entry(document: Mapping[str, Any]) -> LockEntry:
    subject = "base" if "base" in document else "layer"
    return LockEntry(
        question=LockQuestion(
            subject=subject,  # type: ignore[arg-type]
            name=document[subject],
            kind=document["kind"],
            platform=document["platform"],
            asked=document["asked"],
            ground=document.get("ground", ""),
        ),
        pins=document.get("pins"),
        files=tuple(document.get("files", ())),
        key=document.get("key", ""),
        diff_id=document.get("diff_id", ""),
    )


def _lock_error(file: str, line: int, column: int, message: str, code: str, text: str, hint: str = "") -> SpecError:
    source = [*text.splitlines()[line - 1 : line], ""][0]
    where = Where(file=file, line=line, column=column)
    return SpecError((Problem(where=where, message=message, code=code, hint=hint, text=source[:200], width=0),))


def line_of(text: str, name: str, version: str = "") -> int:
    """Returns the line (from 1) of a pinned item in the text of a lock, or 0 where there is none."""
    name_field = f'"name": {json.dumps(name, ensure_ascii=False)}'
    version_field = f'"version": {json.dumps(version, ensure_ascii=False)}' if version else ""
    for number, line in enumerate(text.splitlines(), 1):
        if name_field in line and version_field in line:
            return number
    return 0

"""Remembers answers (pins, conflict checks) by question. Both are JSON; the question is kept beside its answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from envtool import keys
from envtool.api import pin_schemas
from envtool.model import Json
from envtool.store import json_documents, locks
from envtool.store.store import Store
from envtool.store.temp_dirs import move_into_place, temp_directory

_PER_IDMAP = ("conflicts", "diff id of", "opened")  # questions about layers: each id map has answers of its own


def get(store: Store, question: Json) -> Any:
    """Returns the remembered answer; None when there is none, or its file is damaged: the caller asks again then."""
    return _find(store, question)[1]


def _find(store: Store, question: Json) -> tuple[str, Any]:
    """Returns the path of the file with the answer, and the answer; ("", None) when there is none."""
    try:
        name = keys.digest(_stored_question(store, question))
        file = _path(store, name)
        entry = json_documents.load(file)
        same = keys.digest(entry["question"]) == name
    except (OSError, ValueError, LookupError):
        return "", None
    return (file, entry.get("answer")) if same else ("", None)


def put(store: Store, question: Json, answer: Json) -> str:
    """Remembers an answer in place of an earlier one, by one rename. Returns the path of its file."""
    target, question = path(store, question), _stored_question(store, question)
    with temp_directory(store) as top:
        new_file = os.path.join(top, "memo")
        with open(new_file, "wb") as file:
            file.write(json_documents.dumps({"question": question, "answer": answer}))
            file.flush()
            os.fsync(file.fileno())
        move_into_place(new_file, target)
    return target


class StoredPins(NamedTuple):
    """Pins, and the path of the file that has them."""

    pins: Json
    file: str


def get_pins(store: Store, question: Json, schema: Json) -> StoredPins | None:
    """Returns the pins of a question if they fit this schema; None if there are none, or others. Pins that fitted the
    schema when they were stored are not checked again."""
    file, answer = _find(store, question)
    if not isinstance(answer, dict) or "pins" not in answer:
        return None
    pins = answer["pins"]
    is_known = answer.get("fits") and answer["fits"] == keys.digest_if_json([schema, pins])
    return StoredPins(pins, file) if is_known or not pin_schemas.fault(pins, schema) else None


def put_pins(store: Store, question: Json, pins: Json, schema: Json, *, seen: Mapping[str, str]) -> StoredPins:
    """Remembers pins, and if they fit the schema, a digest of both. `seen`: sha256 -> URL of the files that `resolve`
    saw."""
    fits = "" if pin_schemas.fault(pins, schema) else keys.digest_if_json([schema, pins])
    file = put(store, question, {"pins": pins, "seen": {**seen}, "fits": fits})
    return StoredPins(pins, file)


@contextmanager
def lock_question(
    store: Store, question: Json, *, waiting: locks.OnWait | None = None, cancelled: locks.Cancelled | None = None
) -> Iterator[str]:
    """Lets one caller ask a question at a time: the others wait here, and should then `get` again. Gives the digest of
    the question."""
    name = keys.digest(_stored_question(store, question))
    with locks.exclusive(store, f"memo-{name}", waiting=waiting, cancelled=cancelled):
        yield name


def path(store: Store, question: Json) -> str:
    """Returns the path of the file with the answer, whether it exists or not."""
    return _path(store, keys.digest(_stored_question(store, question)))


def _path(store: Store, name: str) -> str:
    return store.path("memo", f"{name}.json")


def _stored_question(store: Store, question: Json) -> Json:
    """Returns the question in the form that is stored: with the name of the id map, where its answer depends on it."""
    if store.ids and isinstance(question, dict) and any(field in question for field in _PER_IDMAP):
        return {**question, "ids": store.ids}
    return question

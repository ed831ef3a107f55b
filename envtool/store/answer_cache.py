"""Remembered answers (pins, conflict checks), by question. Both are JSON; the question is kept beside its answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from envtool import keys
from envtool.model import Json
from envtool.store import json_documents, locks
from envtool.store.store import Store
from envtool.store.temp_dirs import move_into_place, temp_directory

_PER_IDMAP = ("conflicts", "diff id of", "opened")  # questions about layers: each id map has answers of its own


def get(store: Store, question: Json) -> Any:
    """The remembered answer, None when there is none (or it is damaged: then it is asked again)."""
    try:
        entry = json_documents.load(path(store, question))
        same = keys.digest(entry["question"]) == keys.digest(_stored_question(store, question))
    except (OSError, ValueError, LookupError):
        return None
    return entry.get("answer") if same else None


def put(store: Store, question: Json, answer: Json) -> None:
    """Remember an answer in place of the one before, whole or not at all."""
    target, question = path(store, question), _stored_question(store, question)
    with temp_directory(store) as top:
        mine = os.path.join(top, "memo")
        with open(mine, "wb") as file:
            file.write(json_documents.dumps({"question": question, "answer": answer}))
            file.flush()
            os.fsync(file.fileno())
        move_into_place(mine, target)


@contextmanager
def lock_question(
    store: Store, question: Json, *, waiting: locks.OnWait | None = None, cancelled: locks.Cancelled | None = None
) -> Iterator[None]:
    """Be the one who asks: others with the same question wait here, and should then `get` again."""
    with locks.exclusive(
        store, f"memo-{keys.digest(_stored_question(store, question))}", waiting=waiting, cancelled=cancelled
    ):
        yield


def path(store: Store, question: Json) -> str:
    """The file that remembers the answer (or would)."""
    return store.path("memo", f"{keys.digest(_stored_question(store, question))}.json")


def _stored_question(store: Store, question: Json) -> Json:
    """The question as it is kept."""
    if store.ids and isinstance(question, dict) and any(each in question for each in _PER_IDMAP):
        return {**question, "ids": store.ids}
    return question

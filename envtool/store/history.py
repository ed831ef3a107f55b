"""Earlier builds and earlier questions, read from what lies in the store: there is no index that could disagree.

Thousands of files are read in one go, so each is looked at as bytes first and parsed only when it is wanted. What is
damaged, or goes away meanwhile, is passed over: history explains, it decides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from envtool.fs import store_files
from envtool.model import Json
from envtool.store import json_documents
from envtool.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBuild:
    """An earlier build. `built` is what was noted beside it (empty for layers of older envtools)."""

    key: str
    diff_id: str
    time: float  # seconds since the epoch
    document: Mapping[str, Json]
    built: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuestion:
    """An earlier question whose answer is remembered, and when it was asked last."""

    question: Mapping[str, Json]
    time: float


def earlier_builds(
    store: Store, *, kinds: Collection[str] = (), diff_ids: Collection[str] = ()
) -> Iterator[StoredBuild]:
    """All layers in the store of any of these kinds ("layer:pip"), or with any of these diff IDs."""
    words = [f'"kind":{json.dumps(kind, ensure_ascii=False)}'.encode() for kind in kinds]
    words += [diff_id.encode() for diff_id in diff_ids]
    for name in _names(store, "layers"):
        found = read_build(store, name, words)
        if found is not None and (found.document.get("kind") in kinds or found.diff_id in diff_ids):
            yield found


def read_build(store: Store, key: str, words: Collection[bytes] = (b"",)) -> StoredBuild | None:
    """The build of a layer, None when it is not in the store (or its sheet has none of `words` in it)."""
    path = store.path("layers", key, "layer.json")
    data = _read(path, words)
    if data is None:
        return None
    try:
        said = json_documents.loads(data)
        noted, decided = said.get("built", {}), said["document"]
        when = noted.get("time") or os.stat(path).st_mtime
        if not isinstance(decided, dict) or not json_documents.is_time(when):
            return None
        return StoredBuild(key=key, diff_id=str(said["diff_id"]), time=float(when), document=decided, built=noted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def earlier_questions(store: Store, kinds: Collection[str]) -> Iterator[StoredQuestion]:
    """All remembered questions to kinds of these names."""
    words = [f'"kind":{json.dumps(kind, ensure_ascii=False)}'.encode() for kind in kinds]
    for name in _names(store, "memo"):
        path = store.path("memo", name)
        data = _read(path, words)
        if data is None:
            continue
        try:
            question: Any = json_documents.loads(data)["question"]
            if question.get("kind") in kinds:
                yield StoredQuestion(question=question, time=os.stat(path).st_mtime)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def _names(store: Store, room: str) -> list[str]:
    try:
        return sorted(os.listdir(store.path(room)))
    except OSError:
        return []


def _read(path: str, words: Collection[bytes]) -> bytes | None:
    """The whole file when any of the words is in it."""
    try:
        data = store_files.read_regular_file(path, most=json_documents.MAX_SIZE)
    except OSError:
        return None
    return data if any(word in data for word in words) else None

"""Reads earlier builds and earlier questions from the files in the store: there is no index that could disagree.

Thousands of files are read in one go, so each is searched as bytes first, and parsed only on a match. Files that are
damaged, or removed meanwhile, are skipped: history explains, and decides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from envtool.fs import store_files
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.store import json_documents
from envtool.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBuild:
    """An earlier build. `built` says who built it, when, and as what (empty for layers of older envtools)."""

    key: str
    diff_id: str
    time: float  # seconds since the epoch
    document: Mapping[str, Json]
    built: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuestion:
    """An earlier question whose answer is remembered, and the time when it was answered (seconds since the epoch)."""

    question: Mapping[str, Json]
    time: float


def earlier_builds(
    store: Store, *, kinds: Collection[str] = (), diff_ids: Collection[str] = ()
) -> Iterator[StoredBuild]:
    """Yields all layers in the store of any of these kinds ("layer:pip"), or with any of these diff IDs."""
    words = [f'"kind":{json.dumps(kind, ensure_ascii=False)}'.encode() for kind in kinds]
    words += [diff_id.encode() for diff_id in diff_ids]
    for name in _names(store, "layers"):
        build = read_build(store, name, words)
        if build is not None and (build.document.get("kind") in kinds or build.diff_id in diff_ids):
            yield build


def read_build(store: Store, key: str, words: Collection[bytes] = (b"",)) -> StoredBuild | None:
    """Returns the build of a layer; None when it is not in the store, or its layer.json contains none of `words`."""
    path = store.path("layers", key, "layer.json")
    data = _read(path, words)
    if data is None:
        return None
    try:
        sheet = json_documents.loads(data)
        built, document = sheet.get("built", {}), sheet["document"]
        time = built.get("time") or os.stat(path).st_mtime
        if not isinstance(document, dict) or not json_documents.is_time(time):
            return None
        return StoredBuild(key=key, diff_id=str(sheet["diff_id"]), time=float(time), document=document, built=built)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def earlier_questions(store: Store, kinds: Collection[str]) -> Iterator[StoredQuestion]:
    """Yields all remembered questions to kinds of these names."""
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


def _names(store: Store, directory: str) -> list[str]:
    try:
        return sorted(os.listdir(store.path(directory)))
    except OSError:
        return []


def _read(path: str, words: Collection[bytes]) -> bytes | None:
    """Returns the content of a file that contains any of the words, else None."""
    try:
        data = store_files.read_regular_file(path, most=json_documents.MAX_SIZE)
    except OSError:
        return None
    return data if any(word in data for word in words) else None

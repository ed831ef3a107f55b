"""The lock as a value, and whether it answers a question.

An entry answers one question: which pins did a base or layer of this kind, with these options, on this ground, resolve
to? The *ground* is a digest of the pins of the layers below: a layer that was resolved with another index, or on other
packages, does not answer. The ground does not depend on diff IDs: whether an answer holds must not depend on how a
layer was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from envtool import keys
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class LockQuestion:
    """The question that an entry answers. `asked` is the kind's own form of the options (JSON); `platform` is the
    architecture as in `uname -m`, and for a base that is this machine's own also what `Kind.platform` returns.
    """

    subject: Literal["base", "layer"]
    name: str
    kind: str
    platform: str
    asked: Json
    ground: str = ""  # digest of the pins below; empty where nothing below is pinned

    @property
    def id(self) -> str:
        """The digest of the question, which does not depend on the layer's name."""
        return keys.digest([self.subject, self.kind, self.platform, self.asked, self.ground])


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """An answer: `pins` as the kind's `resolve` returned them (None where nothing floats), `files` the files to fetch.

    `key` and `diff_id` are those of the layer when it was built, for layers that no file of the project decides.
    """

    question: LockQuestion
    pins: Json = None
    files: tuple[Mapping[str, Json], ...] = ()
    key: str = ""
    diff_id: str = ""
    where: Where | None = field(default=None, compare=False)  # in the lock's text, for errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All answers. `lock_of` makes one, sorted."""

    entries: tuple[LockEntry, ...] = ()
    _by_id: Mapping[str, LockEntry] = field(default_factory=dict, compare=False)

    def answer(self, question: LockQuestion) -> LockEntry | None:
        """Returns the entry for exactly this question, or None."""
        return self._by_id.get(question.id)

    def nearest(self, question: LockQuestion) -> LockEntry | None:
        """Returns an entry of the same name, kind and platform that answers another question, or None: best one with
        the same ground, then one with the same `asked`.
        """
        candidates = [
            entry
            for entry in self.entries
            if (entry.question.subject, entry.question.name, entry.question.kind, entry.question.platform)
            == (question.subject, question.name, question.kind, question.platform)
        ]
        candidates.sort(
            key=lambda entry: (entry.question.ground != question.ground, entry.question.asked != question.asked)
        )
        return candidates[0] if candidates else None


def lock_of(entries: Iterable[LockEntry]) -> Lock:
    """Returns a lock of these entries: sorted, each question once."""
    by_id: dict[str, LockEntry] = {}
    for entry in entries:
        by_id.setdefault(entry.question.id, entry)
    ordered = sorted(by_id.values(), key=_order)
    return Lock(entries=tuple(ordered), _by_id={entry.question.id: entry for entry in ordered})


def _order(entry: LockEntry) -> tuple[str, ...]:
    question = entry.question
    return (question.subject, question.name, question.kind, question.platform, question.id)


def parents_digest(pins: Iterable[Json]) -> str:
    """Returns the digest of the pins below, bottom first; "" where there are none."""
    below = [*pins]
    return keys.digest(below) if below else ""


def normalize_name(name: str) -> str:
    """Returns the normalized name of a package: MarkupSafe, markup_safe and markup-safe are one (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def without_items(pins: Json, names: frozenset[str]) -> Json:
    """Returns pins without the items of these (normalized) names: the pins to keep when these items are upgraded."""
    if isinstance(pins, dict):
        return {key: without_items(value, names) for key, value in pins.items()}
    if isinstance(pins, list):
        return [without_items(item, names) for item in pins if not (isinstance(item, dict) and _name(item) in names)]
    return pins


def pinned_items(pins: Json) -> list[dict[str, Json]]:
    """Returns every item of pins that has a name and a version, in order."""
    if isinstance(pins, dict):
        if isinstance(pins.get("name"), str) and isinstance(pins.get("version"), str):
            return [pins]
        return [item for value in pins.values() for item in pinned_items(value)]
    if isinstance(pins, list):
        return [item for value in pins for item in pinned_items(value)]
    return []


def without_upgraded(lock: Lock, names: Iterable[str]) -> tuple[Lock, Mapping[str, Json], tuple[str, ...]]:
    """For `lock --upgrade NAME…`, returns the lock without the answers to resolve again; the pins to keep of each such
    answer (by question id; None: none); and the names that match nothing. A name is that of a base or layer, or of a
    package in one.
    """
    upgrades = [*dict.fromkeys(names)]
    kept: dict[str, Json] = {}
    used: set[str] = set()
    for entry in lock.entries:
        if entry.question.name in upgrades:
            used.add(entry.question.name)
            kept[entry.question.id] = None
            continue
        pinned = frozenset(normalize_name(str(item["name"])) for item in pinned_items(entry.pins))
        packages = [name for name in upgrades if normalize_name(name) in pinned]
        if packages:
            used.update(packages)
            kept[entry.question.id] = without_items(entry.pins, frozenset(map(normalize_name, packages)))
    remaining = lock_of(entry for entry in lock.entries if entry.question.id not in kept)
    return remaining, kept, tuple(name for name in upgrades if name not in used)


def merge_locks(
    old: Lock, new: Iterable[LockEntry], *, platforms: frozenset[str], names: frozenset[tuple[str, str]] | None = None
) -> Lock:
    """Returns the lock to write: the new answers, and the old ones of other platforms. `names` (subject and name): the
    new answers are for these alone, and old answers of other names stay.
    """
    answers = [*new]
    unchanged = [
        entry
        for entry in old.entries
        if entry.question.platform not in platforms
        or (names is not None and (entry.question.subject, entry.question.name) not in names)
    ]
    old_answers = {entry.question.id: entry for entry in old.entries}
    return lock_of([*(_keep_known_diff_id(entry, old_answers.get(entry.question.id)) for entry in answers), *unchanged])


def _keep_known_diff_id(new: LockEntry, old: LockEntry | None) -> LockEntry:
    # a layer that was not built this time has the same diff ID as before, if its key is the same
    if old is not None and not new.diff_id and new.key == old.key:
        return replace(new, diff_id=old.diff_id)
    return new


def _name(item: Mapping[str, Json]) -> str:
    return normalize_name(str(item.get("name", "")))

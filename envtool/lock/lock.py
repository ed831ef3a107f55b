"""The lock as a value, and whether it answers what a spec asks.

An entry answers one question: what a base or layer of this kind, asked for this, on this ground, was settled to. The
*ground* is a digest of the pins that it stands on: layers chosen from another index, or on other packages, were not
chosen for this. It is not made of diff IDs: whether the choice holds must not depend on how anything was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from envtool import keys
from envtool.model import Json, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class LockQuestion:
    """What an entry answers. `asked` is the kind's own question (JSON); `platform` is the architecture as
    `uname -m` says it and, on a base that is this machine's own, what `Kind.platform` says."""

    subject: Literal["base", "layer"]
    name: str
    kind: str
    platform: str
    asked: Json
    ground: str = ""  # digest of the pins below; empty where nothing below is pinned

    @property
    def id(self) -> str:
        """What the question is, whatever the layer is called."""
        return keys.digest([self.subject, self.kind, self.platform, self.asked, self.ground])


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """An answer: `pins` as the kind's `resolve` gave them (None where nothing floats), `files` what is fetched then.

    `key` and `diff_id` say what it came out as where it was built, for layers that no file of the project decides.
    """

    question: LockQuestion
    pins: Json = None
    files: tuple[Mapping[str, Json], ...] = ()
    key: str = ""
    diff_id: str = ""
    where: Where | None = field(default=None, compare=False)  # in the lock's text, for errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """All answers. Made by `lock_of`, which puts them in order."""

    entries: tuple[LockEntry, ...] = ()
    _by_id: Mapping[str, LockEntry] = field(default_factory=dict, compare=False)

    def answer(self, question: LockQuestion) -> LockEntry | None:
        """The entry for exactly this question."""
        return self._by_id.get(question.id)

    def nearest(self, question: LockQuestion) -> LockEntry | None:
        """The entry of the same name, kind and platform that answers another question: the one with the same
        ground, or with the same `asked`, before any other."""
        same = [
            entry
            for entry in self.entries
            if (entry.question.subject, entry.question.name, entry.question.kind, entry.question.platform)
            == (question.subject, question.name, question.kind, question.platform)
        ]
        same.sort(key=lambda entry: (entry.question.ground != question.ground, entry.question.asked != question.asked))
        return same[0] if same else None


def lock_of(entries: Iterable[LockEntry]) -> Lock:
    """A lock of these answers: sorted, each question once."""
    by_id: dict[str, LockEntry] = {}
    for entry in entries:
        by_id.setdefault(entry.question.id, entry)
    ordered = sorted(by_id.values(), key=_order)
    return Lock(entries=tuple(ordered), _by_id={entry.question.id: entry for entry in ordered})


def _order(entry: LockEntry) -> tuple[str, ...]:
    question = entry.question
    return (question.subject, question.name, question.kind, question.platform, question.id)


def parents_digest(pins: Iterable[Json]) -> str:
    """The digest of the pins below, bottom first."""
    below = [*pins]
    return keys.digest(below) if below else ""


def normalize_name(name: str) -> str:
    """A package's name as people write it: MarkupSafe, markup_safe and markup-safe are one (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def without_items(pins: Json, names: frozenset[str]) -> Json:
    """Pins without the items of these (plain) names: what `keep` is when these are to move."""
    if isinstance(pins, dict):
        return {key: without_items(value, names) for key, value in pins.items()}
    if isinstance(pins, list):
        return [without_items(item, names) for item in pins if not (isinstance(item, dict) and _name(item) in names)]
    return pins


def pinned_items(pins: Json) -> list[dict[str, Json]]:
    """Everything in pins that has a name and a version, in order."""
    if isinstance(pins, dict):
        if isinstance(pins.get("name"), str) and isinstance(pins.get("version"), str):
            return [pins]
        return [item for value in pins.values() for item in pinned_items(value)]
    if isinstance(pins, list):
        return [item for value in pins for item in pinned_items(value)]
    return []


def without_upgraded(lock: Lock, names: Iterable[str]) -> tuple[Lock, Mapping[str, Json], tuple[str, ...]]:
    """For `lock --upgrade NAME…`: the lock without the answers that are to move; what of each moved answer's pins is to
    be kept (by question id; None: nothing); and the names that mean nothing here. Names are those of bases and layers,
    or of packages in them."""
    wanted = [*dict.fromkeys(names)]
    kept: dict[str, Json] = {}
    used: set[str] = set()
    for entry in lock.entries:
        if entry.question.name in wanted:
            used.add(entry.question.name)
            kept[entry.question.id] = None
            continue
        has = frozenset(normalize_name(str(item["name"])) for item in pinned_items(entry.pins))
        packages = [name for name in wanted if normalize_name(name) in has]
        if packages:
            used.update(packages)
            kept[entry.question.id] = without_items(entry.pins, frozenset(map(normalize_name, packages)))
    rest = lock_of(entry for entry in lock.entries if entry.question.id not in kept)
    return rest, kept, tuple(name for name in wanted if name not in used)


def merge_locks(
    old: Lock, new: Iterable[LockEntry], *, platforms: frozenset[str], names: frozenset[tuple[str, str]] | None = None
) -> Lock:
    """The lock to write: new answers, and of the old ones those of other platforms. `names` (subject and name)
    limits what the new answers stand for: with it, old answers of other names stay."""
    fresh = [*new]
    stay = [
        entry
        for entry in old.entries
        if entry.question.platform not in platforms
        or (names is not None and (entry.question.subject, entry.question.name) not in names)
    ]
    known = {entry.question.id: entry for entry in old.entries}
    return lock_of([*(_keep_known_diff_id(entry, known.get(entry.question.id)) for entry in fresh), *stay])


def _keep_known_diff_id(new: LockEntry, old: LockEntry | None) -> LockEntry:
    # what was not built this time came out as it did before, as long as its key is the same
    if old is not None and not new.diff_id and new.key == old.key:
        return replace(new, diff_id=old.diff_id)
    return new


def _name(item: Mapping[str, Json]) -> str:
    return normalize_name(str(item.get("name", "")))

"""What moved between two locks: the table that `envtool lock` prints. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from envtool.lock.lock import Lock, LockEntry, pinned_items
from envtool.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange:
    """One pinned thing that came (`old` empty), went (`new` empty) or moved. `entry` is the base or layer, as in `layer
    deps`; without a `name` it came or went as a whole."""

    entry: str
    name: str
    old: str
    new: str
    platform: str = ""


def diff_locks(old: Lock, new: Lock) -> tuple[LockChange, ...]:
    """Everything that differs, by entry and name. Entries of one name (a matrix) are told apart by what they hold."""
    found: dict[LockChange, None] = {}
    for title, before, after in _pair_entries(old, new):
        whole = after or before
        assert whole is not None
        platform = whole.question.platform
        if before is None or after is None:
            size = f"{len(_pinned_items(whole))} pinned"
            row = LockChange(
                entry=title, name="", old=size if before else "", new=size if after else "", platform=platform
            )
            found[row] = None
            continue
        had, has = _pinned_items(before), _pinned_items(after)
        for name in sorted({*had, *has}):
            gone, come = had.get(name, set()) - has.get(name, set()), has.get(name, set()) - had.get(name, set())
            if gone or come:
                found[
                    LockChange(
                        entry=title,
                        name=name,
                        old=_display_versions(gone, come),
                        new=_display_versions(come, gone),
                        platform=platform,
                    )
                ] = None
    return tuple(found)


def _pair_entries(old: Lock, new: Lock) -> Iterator[tuple[str, LockEntry | None, LockEntry | None]]:
    """Entries of both locks that stand for the same thing: same question, else same name and kind, in order."""
    left = {entry.question.id: entry for entry in old.entries}
    rest: list[LockEntry] = []
    for entry in new.entries:
        same = left.pop(entry.question.id, None)
        if same is None:
            rest.append(entry)
        else:
            yield _title(entry), same, entry
    for entry in rest:
        near = next((each for each in left.values() if _entry_identity(each) == _entry_identity(entry)), None)
        if near is not None:
            del left[near.question.id]
        yield _title(entry), near, entry
    for entry in left.values():
        yield _title(entry), entry, None


def _entry_identity(entry: LockEntry) -> tuple[str, str, str, str]:
    question = entry.question
    return (question.subject, question.name, question.kind, question.platform)


def _title(entry: LockEntry) -> str:
    return f"{entry.question.subject} {entry.question.name}"


def _pinned_items(entry: LockEntry) -> dict[str, set[tuple[str, str]]]:
    """Name -> versions and hashes; files that the spec pins by hash alone have no version."""
    found: dict[str, set[tuple[str, str]]] = {}
    for item in pinned_items(entry.pins):
        found.setdefault(str(item["name"]), set()).add((str(item["version"]), str(item.get("sha256", ""))))
    for file in entry.files:
        found.setdefault(str(file["name"]), set()).add(("", str(file["sha256"])))
    return {name: {(value, "")} for name, value in _plain_pins(entry.pins)} | found


def _display_versions(these: set[tuple[str, str]], others: set[tuple[str, str]]) -> str:
    """Versions; with the start of the hash where the version alone does not tell the two apart."""
    versions = {version for version, _ in others}
    return ", ".join(
        sorted(
            version if version and version not in versions else f"{version} sha256:{sha256[:12]}".strip()
            for version, sha256 in these
        )
    )


def _plain_pins(pins: Json) -> Iterator[tuple[str, str]]:
    """What pins say beside their items: a date, a suite, a digest."""
    if isinstance(pins, dict):
        for name, value in pins.items():
            if name == "epoch" and isinstance(value, int) and 0 <= value < 1 << 33:
                yield "index of", time.strftime("%Y-%m-%d %H:%M", time.gmtime(value))
            elif isinstance(value, (str, int)) and not isinstance(value, bool):
                yield name, str(value)

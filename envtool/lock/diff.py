"""What changed between two locks: the table that `envtool lock` prints. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator

from envtool.lazy_dataclass import dataclass
from envtool.lock.lock import Lock, LockEntry, pinned_items
from envtool.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange:
    """One pinned item that was added (`old` empty), removed (`new` empty) or changed. `entry` is the base or layer, as
    in `layer deps`; without a `name` all of the entry was added or removed.
    """

    entry: str
    name: str
    old: str
    new: str
    platform: str = ""
    counts: str = ""  # of an entry that was added or removed: what it pins, as `plan` and `why` count it; text only


def diff_locks(old: Lock, new: Lock) -> tuple[LockChange, ...]:
    """Returns all differences, by entry and name. Entries of one name (a matrix) are matched by their questions."""
    changes: dict[LockChange, None] = {}
    for title, before, after in _pair_entries(old, new):
        entry = after or before
        assert entry is not None
        platform = entry.question.platform
        if before is None or after is None:
            size = f"{len(_pinned_items(entry))} pinned"
            row = LockChange(
                entry=title,
                name="",
                old=size if before else "",
                new=size if after else "",
                platform=platform,
                counts=_describe_counts(entry),
            )
            changes[row] = None
            continue
        old_items, new_items = _pinned_items(before), _pinned_items(after)
        for name in sorted({*old_items, *new_items}):
            removed, added = (
                old_items.get(name, set()) - new_items.get(name, set()),
                new_items.get(name, set()) - old_items.get(name, set()),
            )
            if removed or added:
                changes[
                    LockChange(
                        entry=title,
                        name=name,
                        old=_display_versions(removed, added),
                        new=_display_versions(added, removed),
                        platform=platform,
                    )
                ] = None
    return tuple(changes)


def _pair_entries(old: Lock, new: Lock) -> Iterator[tuple[str, LockEntry | None, LockEntry | None]]:
    """Yields pairs of entries of both locks: those of the same question, then those of the same name and kind, in
    order.
    """
    unmatched = {entry.question.id: entry for entry in old.entries}
    unpaired: list[LockEntry] = []
    for entry in new.entries:
        same = unmatched.pop(entry.question.id, None)
        if same is None:
            unpaired.append(entry)
        else:
            yield _title(entry), same, entry
    for entry in unpaired:
        similar = next(
            (candidate for candidate in unmatched.values() if _entry_identity(candidate) == _entry_identity(entry)),
            None,
        )
        if similar is not None:
            del unmatched[similar.question.id]
        yield _title(entry), similar, entry
    for entry in unmatched.values():
        yield _title(entry), entry, None


def _entry_identity(entry: LockEntry) -> tuple[str, str, str, str]:
    question = entry.question
    return (question.subject, question.name, question.kind, question.platform)


def _title(entry: LockEntry) -> str:
    return f"{entry.question.subject} {entry.question.name}"


def _describe_counts(entry: LockEntry) -> str:
    """As in "88 packages": each version of each name, as the summaries of `plan` and `why` count them."""
    counts = ((len(pinned_items(entry.pins)), "package"), (len(entry.files), "file"))
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count) or "pinned"


def _pinned_items(entry: LockEntry) -> dict[str, set[tuple[str, str]]]:
    """Returns name -> versions and hashes. Files that the spec pins by hash alone have no version."""
    items: dict[str, set[tuple[str, str]]] = {}
    for item in pinned_items(entry.pins):
        items.setdefault(str(item["name"]), set()).add((str(item["version"]), str(item.get("sha256", ""))))
    for file in entry.files:
        items.setdefault(str(file["name"]), set()).add(("", str(file["sha256"])))
    return {name: {(value, "")} for name, value in _plain_pins(entry.pins)} | items


def _display_versions(items: set[tuple[str, str]], others: set[tuple[str, str]]) -> str:
    """Returns the versions as text, with the start of the hash where the other side has the same version."""
    versions = {version for version, _ in others}
    return ", ".join(
        sorted(
            version if version and version not in versions else f"{version} sha256:{sha256[:12]}".strip()
            for version, sha256 in items
        )
    )


def _plain_pins(pins: Json) -> Iterator[tuple[str, str]]:
    """Yields the pins that are not items: a date, a suite, a digest."""
    if isinstance(pins, dict):
        for name, value in pins.items():
            if name == "epoch" and isinstance(value, int) and 0 <= value < 1 << 33:
                yield "index of", time.strftime("%Y-%m-%d %H:%M", time.gmtime(value))
            elif isinstance(value, (str, int)) and not isinstance(value, bool):
                yield name, str(value)

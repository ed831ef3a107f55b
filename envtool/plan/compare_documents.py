"""Compares two key documents, or two questions, part by part. Pure.

`keys.layer_document` of this envtool or an older one made the documents: parts that this version does not know are
compared, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envtool.fs import globs
from envtool.keys import canonical_json
from envtool.model import Json
from envtool.plan import package_names
from envtool.plan.change_values import (
    Change,
    ComparedDocument,
    LocationLookup,
    PackageOfFile,
    Parent,
    Part,
    change_of,
    display_value,
    short_digest,
)
from envtool.plan.json_diff import MISSING, JsonDifference, Side, diff_json

KNOWN_KEYS = ("format", "kind", "version", "arch", "epoch", "below", "material", "files", "inputs", "variables")


def compare(
    old: ComparedDocument, new: ComparedDocument, *, places: LocationLookup | None = None, pinned: bool = True
) -> tuple[Change, ...]:
    """Returns all changes, causes before consequences; none exactly when the documents are equal."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    scalars: list[Change] = [*_scalars(before, after)]
    parents = [*compare_parents(old.below, new.below, _list(before, "below"), _list(after, "below"))]
    pinned_files = [*_pins(_rows(before, "files"), _rows(after, "files"), places, new.package)]
    inputs = [*_inputs(_rows(before, "inputs"), _rows(after, "inputs"), new.options)]
    spec, material = _material(old, new, restated=pinned_files, places=places, pinned=pinned)
    options = _options(old, new, spec, places) if pinned_files or inputs or material else []
    variables = [*_variables(before.get("variables"), after.get("variables"), places)]
    others = [*_others(before, after)]
    inputs = [_mark_follows(change, _follows_pattern(change, options)) for change in inputs]
    pinned_files = [_mark_follows(change, bool(parents or options or spec or inputs)) for change in pinned_files]
    material = [
        _mark_follows(change, bool(parents or options or spec or inputs or pinned_files)) for change in material
    ]
    variables = [_mark_follows(change, bool(parents)) for change in variables]
    base_moved = any(change.part == "base" for change in parents) or (not after.get("below") and bool(pinned_files))
    scalars = [_mark_follows(change, change.part == "epoch" and base_moved) for change in scalars]
    changes = [*parents, *scalars, *spec, *options, *inputs, *pinned_files, *material, *variables, *others]
    if not changes:  # documents that no envtool wrote differ elsewhere
        changes = [change_of("other", difference) for difference in diff_json({**before}, {**after})]
    return tuple(sorted((_name_unnamed_option(change, after) for change in changes), key=lambda change: change.follows))


def compare_question(
    old: ComparedDocument, new: ComparedDocument, *, inputs: Sequence[str] = (), places: LocationLookup | None = None
) -> tuple[Change, ...]:
    """Returns the changes between two questions to `resolve`: the `document` of each side is the question, which kinds
    form freely. The place and form of a difference decide whether it belongs to the options or to `inputs` (paths)."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    changes = [*compare_parents(old.below, new.below, _list(before, "below"), _list(after, "below"))]
    changes += [difference for difference in _scalars(before, after) if difference.name in ("kind", "version", "arch")]
    if before.get("ground") != after.get("ground"):
        changes.append(Change(part="lock", name="pins below it", note="changed"))
    if before.get("keep") != after.get("keep"):
        changes.append(Change(part="lock", name="pins it stays near to", note="changed"))
    for difference in diff_json(before.get("question"), after.get("question")):
        row = difference.new if difference.new is not MISSING else difference.old
        path = str(difference.path[-2]) if len(difference.path) > 1 else ""
        if difference.how in ("added", "removed") and (name := _input_name(row)):
            changes.append(Change(part="input", name=name, how=difference.how))
        elif path in inputs:
            changes.append(Change(part="input", name=path, note="content" if _is_hash(row) else "link"))
        else:
            depth = _below_options(difference, after.get("question"), new.options)
            part: Part = "question" if depth < 0 else "spec"
            below_options = replace(difference, path=difference.path[max(0, depth) :])
            changes.append(change_of(part, below_options, places if depth >= 0 else None))
    parents_moved = any(change.part in ("base", "layer") for change in changes)
    changes = sorted(
        (_mark_follows(difference, parents_moved and difference.part == "question") for difference in changes),
        key=lambda difference: difference.follows,
    )
    return tuple(_name_unnamed_option(change, after) for change in changes)


def _is_hash(value: Side) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _input_name(row: Side) -> str:
    """Returns the path of a row of inputs, empty for any other value."""
    is_row = isinstance(row, list) and len(row) > 1 and isinstance(row[0], str) and _is_hash(row[1])
    return str(row[0]) if is_row and isinstance(row, list) else ""


def _below_options(difference: JsonDifference, question: Json, options: Side) -> int:
    """Returns how many steps of a difference's path lead to the layer's options; -1 where it does not pass through
    them."""
    value: Any = question
    for depth, step in enumerate((*difference.path, "")):
        if options not in (MISSING, None) and canonical_json(value) == canonical_json(options):
            return depth
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            break
    return -1


def _name_unnamed_option(change: Change, document: Mapping[str, Json]) -> Change:
    """Names a change by the kind where it has no name of its own (the options as a whole, or a member of their
    list)."""
    if change.name or change.part not in ("spec", "material", "machine"):
        return change
    return replace(change, name=str(document.get("kind", "")).rpartition(":")[2])


def _mark_follows(change: Change, follows: bool) -> Change:
    return replace(change, follows=True) if follows else change


# ---- the parts -----------------------------------------------------------------------------------------------------


def _scalars(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    names: tuple[tuple[str, Part, str], ...] = (
        ("format", "format", "the meaning of all layers"),
        ("kind", "kind", ""),
        ("version", "kind", "how this kind builds"),
        ("arch", "arch", ""),
        ("epoch", "epoch", ""),
    )
    for key, part, note in names:
        for difference in diff_json(old.get(key), new.get(key)):
            yield Change(
                part=part, name=key, old=display_value(difference.old), new=display_value(difference.new), note=note
            )


def compare_parents(
    old: Sequence[Parent], new: Sequence[Parent], old_ids: Sequence[Json] = (), new_ids: Sequence[Json] = ()
) -> Iterator[Change]:
    """Yields the changes of parents. `old` and `new` name the diff IDs of the documents (`old_ids`, `new_ids`) as far
    as they are known."""
    before = _parents(old, old_ids)
    after = _parents(new, new_ids)
    common = {entry.diff_id for entry in before} & {entry.diff_id for entry in after}
    removed = [entry for entry in before if entry.diff_id not in common]
    added = [entry for entry in after if entry.diff_id not in common]
    pairs: list[tuple[Parent, Parent]] = []
    for parent in added:
        old_parent = next(
            (entry for entry in removed if entry.subject == parent.subject and entry.name == parent.name), None
        )
        if old_parent is None and parent.subject == "base":  # a base may have been replaced by one of another name
            old_parent = next((entry for entry in removed if entry.subject == "base"), None)
        if old_parent is not None:
            pairs.append((old_parent, parent))
            removed.remove(old_parent)
    unnamed = [entry for entry in removed if not entry.name]
    unpaired = [entry for entry in added if all(entry is not pair[1] for pair in pairs)]
    if len(unnamed) == len(unpaired):  # the old layers are gone from the store: only their position is known
        pairs += zip(unnamed, unpaired, strict=True)
        removed, unpaired = [entry for entry in removed if entry.name], []
    yield from (_replaced_parents(entry, old_parent) for entry, old_parent in pairs)
    yield from (
        Change(part=entry.subject, name=entry.name, how="added", new=short_digest(entry.diff_id)) for entry in unpaired
    )
    yield from (
        Change(part=entry.subject, name=entry.name, how="removed", old=short_digest(entry.diff_id)) for entry in removed
    )
    if (
        not pairs
        and not unpaired
        and not removed
        and [entry.diff_id for entry in before] != [entry.diff_id for entry in after]
    ):
        yield Change(part="layer", name="", how="order", old=_names(before), new=_names(after))


def _parents(parents: Sequence[Parent], ids: Sequence[Json]) -> list[Parent]:
    if not ids:
        return [*parents]
    by_diff_id = {parent.diff_id: parent for parent in parents}
    return [
        by_diff_id.get(str(diff_id), Parent(diff_id=str(diff_id), subject="layer" if index else "base"))
        for index, diff_id in enumerate(ids)
    ]


def _replaced_parents(old: Parent, new: Parent) -> Change:
    because: tuple[Change, ...] = ()
    note = "what it was is no longer in the store" if not old.document else ""
    if old.document and new.document:
        because = compare(
            ComparedDocument(document=old.document), ComparedDocument(document=new.document, package=new.package)
        )
        note = "" if because else "the same recipe came out otherwise"
    if old.name != new.name and old.name:
        return Change(part=new.subject, name=new.name, old=old.name, new=new.name, note=note)
    return Change(
        part=new.subject,
        name=new.name,
        old=short_digest(old.diff_id),
        new=short_digest(new.diff_id),
        note=note,
        because=because,
    )


def _names(parents: Iterable[Parent]) -> str:
    return ", ".join(parent.name or short_digest(parent.diff_id) for parent in parents)


def _pins(
    old: Mapping[str, list[Json]], new: Mapping[str, list[Json]], locations: LocationLookup, package: PackageOfFile
) -> Iterator[Change]:
    removed, added = (
        _by_name((file for file in old if file not in new), package),
        _by_name((file for file in new if file not in old), package),
    )
    for file in new:
        name, version = package(file)
        where = locations.pin(name, version)
        same_new, same_old = added[package_names.normalize_name(name)], removed[package_names.normalize_name(name)]
        if file in old:
            if canonical_json(old[file]) != canonical_json(new[file]):
                sides = display_value(old[file][1:2]), display_value(new[file][1:2])
                note = f"{version}, other content" if version else "other content"
                yield Change(part="pin", name=name, old=sides[0], new=sides[1], note=note, where=where)
        elif len(same_old) == len(same_new) == 1:
            old_file = same_old.pop()
            before = package(old_file)[1]
            sides = (old_file, file) if before == version else (before, version)
            yield Change(part="pin", name=name, old=sides[0], new=sides[1], where=where)
        else:
            yield Change(part="pin", name=name, how="added", new=version, where=where)
    for file in (file for files in removed.values() for file in files):
        name, version = package(file)
        yield Change(part="pin", name=name, how="removed", old=version)


def _by_name(files: Iterable[str], package: PackageOfFile) -> defaultdict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        groups[package_names.normalize_name(package(file)[0])].append(file)
    return groups


def _inputs(old: Mapping[str, list[Json]], new: Mapping[str, list[Json]], options: Side) -> Iterator[Change]:
    removed = [path for path in old if path not in new]
    for path, row in new.items():
        if path in old:
            note = _input_difference(old[path], row)
            if note:
                yield Change(part="input", name=path, note=note)
            continue
        identity = canonical_json(row[1:])
        old_path = next((other for other in removed if canonical_json(old[other][1:]) == identity), None)
        if old_path is not None:
            removed.remove(old_path)
            yield Change(part="input", name=path, how="renamed", old=old_path, new=path)
        else:
            yield Change(part="input", name=path, how="added", note=_matched_by(path, options))
    for path in removed:
        yield Change(part="input", name=path, how="removed")


def _input_difference(old: Sequence[Json], new: Sequence[Json]) -> str:
    """Says which columns of [path, sha256, executable, link] differ."""
    before, after = [*old, *[None] * 4][1:], [*new, *[None] * 4][1:]
    notes = []
    if before[2] != after[2]:
        notes.append(f"leads to {after[2]}" if after[2] else "no symlink any more")
    elif before[0] != after[0]:
        notes.append("content")
    if before[1] != after[1]:
        notes.append("executable now" if after[1] else "not executable any more")
    if not notes and canonical_json([*old]) != canonical_json([*new]):
        notes.append("changed")
    return ", ".join(notes)


def _matched_by(path: str, options: Side) -> str:
    for word in _all_texts(options):
        pattern = "/".join(part for part in word.split("/") if part not in ("", "."))
        try:
            matched = globs.is_glob(pattern) and globs.matcher((pattern, pattern + "/**")).fullmatch(path)
        except re.error:  # options are not all patterns
            continue
        if matched and pattern != path:
            return f"matched by `{word}`"
        if pattern and path.startswith(pattern + "/"):
            return f"in `{word}`"
    return ""


def _follows_pattern(change: Change, options: Sequence[Change]) -> bool:
    """Whether an input was added or removed because a pattern in the spec was."""
    if change.how not in ("added", "removed"):
        return False
    words = [word for option in options for word in (option.old, option.new) if word]
    return any(change.name == word.rstrip("/") or _matched_by(change.name, [word]) for word in words)


def _all_texts(value: Side) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _all_texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _all_texts(member)


def _material(
    old: ComparedDocument, new: ComparedDocument, *, restated: Sequence[Change], places: LocationLookup, pinned: bool
) -> tuple[list[Change], list[Change]]:
    """Splits the changes of the material into (what the spec says, the rest). Kinds often repeat their pins in it:
    those changes are listed once, as pins."""
    spec: list[Change] = []
    others: list[Change] = []
    option_values = {_values(difference) for difference in _option_differences(old, new)}
    unknown = MISSING in (old.options, new.options)
    pin_names = {package_names.normalize_name(change.name) for change in restated}
    for difference in diff_json(old.document.get("material"), new.document.get("material")):
        if not pinned:
            spec.append(change_of("machine", difference))
        elif unknown or _values(difference) in option_values:
            if not (unknown and _repeats_pin(difference, pin_names, new.package)):
                spec.append(change_of("spec", difference, places))
        elif not _repeats_pin(difference, pin_names, new.package) and not (pin_names and _is_position(difference)):
            others.append(change_of("material", difference))
    return spec, others


def _repeats_pin(difference: JsonDifference, names: set[str], package: PackageOfFile) -> bool:
    if any(isinstance(step, str) and package_names.normalize_name(step) in names for step in difference.path):
        return True
    sides = [side for side in (difference.old, difference.new) if side is not MISSING]
    files = [word.rpartition("/")[2] for side in sides for word in _all_texts(side)]
    return bool(names) and any(package_names.normalize_name(package(file)[0]) in names for file in files)


def _is_position(difference: JsonDifference) -> bool:
    """Whether the difference is between numbers: kinds use positions in lists of pins."""
    return all(type(side) is int for side in (difference.old, difference.new) if side is not MISSING)


def _options(
    old: ComparedDocument, new: ComparedDocument, spec: Sequence[Change], places: LocationLookup
) -> list[Change]:
    """Returns the changes of the options that are not in the key itself: they may be why pins or inputs changed."""
    listed = {(change.how, change.old, change.new) for change in spec}
    changes = [change_of("spec", difference, places) for difference in _option_differences(old, new)]
    return [change for change in changes if (change.how, change.old, change.new) not in listed]


def _option_differences(old: ComparedDocument, new: ComparedDocument) -> tuple[JsonDifference, ...]:
    if old.options is MISSING or new.options is MISSING:
        return ()
    return diff_json(old.options, new.options)


def _values(difference: JsonDifference) -> tuple[str, bytes, bytes]:
    sides = [b"" if side is MISSING else canonical_json(side) for side in (difference.old, difference.new)]
    return difference.how, sides[0], sides[1]


def _variables(old: Json, new: Json, places: LocationLookup) -> Iterator[Change]:
    for difference in diff_json(old, new):
        change = change_of("variable", difference)
        yield Change(
            part="variable",
            name=change.name,
            how=change.how,
            old=change.old,
            new=change.new,
            where=places.variable(str(difference.path[0]) if difference.path else ""),
        )


def _others(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    names = {*old, *new} - {*KNOWN_KEYS}
    unknown_parts = (
        {name: old[name] for name in names if name in old},
        {name: new[name] for name in names if name in new},
    )
    yield from (change_of("other", difference) for difference in diff_json(*unknown_parts))


def _list(document: Mapping[str, Json], key: str) -> list[Json]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _rows(document: Mapping[str, Json], key: str) -> dict[str, list[Any]]:
    """Returns the rows of `files` or `inputs` by their first column."""
    return {str(row[0]): row for row in _list(document, key) if isinstance(row, list) and row}

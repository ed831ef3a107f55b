"""Two key documents -> what changed, part by part. Pure.

A document is what `keys.layer_document` made, of this envtool or an older one: whatever is in it is compared, also a
part that this version does not know.
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
    """All that changed, causes before consequences; empty exactly when the documents are the same."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    found: list[Change] = [*_scalars(before, after)]
    ground = [*compare_parents(old.below, new.below, _list(before, "below"), _list(after, "below"))]
    pinned_files = [*_pins(_rows(before, "files"), _rows(after, "files"), places)]
    inputs = [*_inputs(_rows(before, "inputs"), _rows(after, "inputs"), new.options)]
    spec, rest = _material(old, new, restated=pinned_files, places=places, pinned=pinned)
    options = _options(old, new, spec, places) if pinned_files or inputs or rest else []
    variables = [*_variables(before.get("variables"), after.get("variables"), places)]
    others = [*_others(before, after)]
    inputs = [_mark_follows(change, _asked_for(change, options)) for change in inputs]
    pinned_files = [_mark_follows(change, bool(ground or options or spec or inputs)) for change in pinned_files]
    rest = [_mark_follows(change, bool(ground or options or spec or inputs or pinned_files)) for change in rest]
    variables = [_mark_follows(change, bool(ground)) for change in variables]
    moved = any(change.part == "base" for change in ground) or (not after.get("below") and bool(pinned_files))
    found = [_mark_follows(change, change.part == "epoch" and moved) for change in found]
    every = [*ground, *found, *spec, *options, *inputs, *pinned_files, *rest, *variables, *others]
    if not every:  # a document that no envtool has written is compared all the same
        every = [change_of("other", one) for one in diff_json({**before}, {**after})]
    return tuple(sorted((_name_unnamed_option(change, after) for change in every), key=lambda change: change.follows))


def compare_question(
    old: ComparedDocument, new: ComparedDocument, *, inputs: Sequence[str] = (), places: LocationLookup | None = None
) -> tuple[Change, ...]:
    """What of a question to `resolve` is otherwise: its `document` is the question, which kinds word as they like. What
    in it is the layer's options, and which rows are about `inputs` (paths), is seen by their looks."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    found = [*compare_parents(old.below, new.below, _list(before, "below"), _list(after, "below"))]
    found += [one for one in _scalars(before, after) if one.name in ("kind", "version", "arch")]
    if before.get("ground") != after.get("ground"):
        found.append(Change(part="lock", name="pins below it", note="changed"))
    if before.get("keep") != after.get("keep"):
        found.append(Change(part="lock", name="pins it stays near to", note="changed"))
    for one in diff_json(before.get("question"), after.get("question")):
        row = one.new if one.new is not MISSING else one.old
        path = str(one.path[-2]) if len(one.path) > 1 else ""
        if one.how in ("added", "removed") and (name := _input_name(row)):
            found.append(Change(part="input", name=name, how=one.how))
        elif path in inputs:
            found.append(Change(part="input", name=path, note="content" if _is_hash(row) else "link"))
        else:
            depth = _below_options(one, after.get("question"), new.options)
            part: Part = "question" if depth < 0 else "spec"
            inside = replace(one, path=one.path[max(0, depth) :])
            found.append(change_of(part, inside, places if depth >= 0 else None))
    moved = any(change.part in ("base", "layer") for change in found)
    found = sorted((_mark_follows(one, moved and one.part == "question") for one in found), key=lambda one: one.follows)
    return tuple(_name_unnamed_option(change, after) for change in found)


def _is_hash(value: Side) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _input_name(row: Side) -> str:
    """The path of a row like those of inputs, empty for anything else."""
    is_row = isinstance(row, list) and len(row) > 1 and isinstance(row[0], str) and _is_hash(row[1])
    return str(row[0]) if is_row and isinstance(row, list) else ""


def _below_options(one: JsonDifference, question: Json, options: Side) -> int:
    """How many steps of the way to a difference lead to the layer's own options; -1 where it leads past them."""
    at: Any = question
    for depth, step in enumerate((*one.path, "")):
        if options not in (MISSING, None) and canonical_json(at) == canonical_json(options):
            return depth
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            break
    return -1


def _name_unnamed_option(change: Change, document: Mapping[str, Json]) -> Change:
    """What has no name in the spec (the options as a whole, or one of their list) is called by the kind."""
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
        for one in diff_json(old.get(key), new.get(key)):
            yield Change(part=part, name=key, old=display_value(one.old), new=display_value(one.new), note=note)


def compare_parents(
    old: Sequence[Parent], new: Sequence[Parent], old_ids: Sequence[Json] = (), new_ids: Sequence[Json] = ()
) -> Iterator[Change]:
    """What something stands on. `old` and `new` name what the diff IDs of the documents (`old_ids`, `new_ids`) are,
    as far as that is known."""
    before = _parents(old, old_ids)
    after = _parents(new, new_ids)
    kept = {one.diff_id for one in before} & {one.diff_id for one in after}
    gone = [one for one in before if one.diff_id not in kept]
    come = [one for one in after if one.diff_id not in kept]
    pairs: list[tuple[Parent, Parent]] = []
    for wanted in come:
        other = next((one for one in gone if one.subject == wanted.subject and one.name == wanted.name), None)
        if other is None and wanted.subject == "base":  # another base stands under another name
            other = next((one for one in gone if one.subject == "base"), None)
        if other is not None:
            pairs.append((other, wanted))
            gone.remove(other)
    unnamed = [one for one in gone if not one.name]
    left = [one for one in come if all(one is not pair[1] for pair in pairs)]
    if len(unnamed) == len(left):  # what it was is gone from the store: only the place tells
        pairs += zip(unnamed, left, strict=True)
        gone, left = [one for one in gone if one.name], []
    yield from (_replaced_parents(one, other) for one, other in pairs)
    yield from (Change(part=one.subject, name=one.name, how="added", new=short_digest(one.diff_id)) for one in left)
    yield from (Change(part=one.subject, name=one.name, how="removed", old=short_digest(one.diff_id)) for one in gone)
    if not pairs and not left and not gone and [one.diff_id for one in before] != [one.diff_id for one in after]:
        yield Change(part="layer", name="", how="order", old=_names(before), new=_names(after))


def _parents(known: Sequence[Parent], ids: Sequence[Json]) -> list[Parent]:
    if not ids:
        return [*known]
    by_id = {one.diff_id: one for one in known}
    return [
        by_id.get(str(one), Parent(diff_id=str(one), subject="layer" if index else "base"))
        for index, one in enumerate(ids)
    ]


def _replaced_parents(old: Parent, new: Parent) -> Change:
    because: tuple[Change, ...] = ()
    note = "what it was is no longer in the store" if not old.document else ""
    if old.document and new.document:
        because = compare(ComparedDocument(document=old.document), ComparedDocument(document=new.document))
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


def _names(grounds: Iterable[Parent]) -> str:
    return ", ".join(one.name or short_digest(one.diff_id) for one in grounds)


def _pins(old: Mapping[str, list[Json]], new: Mapping[str, list[Json]], places: LocationLookup) -> Iterator[Change]:
    gone, come = _by_name(file for file in old if file not in new), _by_name(file for file in new if file not in old)
    for file in new:
        name, version = package_names.parse_package_file(file)
        where = places.pin(name, version)
        rivals, partners = come[package_names.normalize_name(name)], gone[package_names.normalize_name(name)]
        if file in old:
            if canonical_json(old[file]) != canonical_json(new[file]):
                sides = display_value(old[file][1:2]), display_value(new[file][1:2])
                note = f"{version}, other content" if version else "other content"
                yield Change(part="pin", name=name, old=sides[0], new=sides[1], note=note, where=where)
        elif len(partners) == len(rivals) == 1:
            partner = partners.pop()
            before = package_names.parse_package_file(partner)[1]
            sides = (partner, file) if before == version else (before, version)
            yield Change(part="pin", name=name, old=sides[0], new=sides[1], where=where)
        else:
            yield Change(part="pin", name=name, how="added", new=version, where=where)
    for file in (file for files in gone.values() for file in files):
        name, version = package_names.parse_package_file(file)
        yield Change(part="pin", name=name, how="removed", old=version)


def _by_name(files: Iterable[str]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        found[package_names.normalize_name(package_names.parse_package_file(file)[0])].append(file)
    return found


def _inputs(old: Mapping[str, list[Json]], new: Mapping[str, list[Json]], options: Side) -> Iterator[Change]:
    gone = [path for path in old if path not in new]
    for path, row in new.items():
        if path in old:
            note = _input_difference(old[path], row)
            if note:
                yield Change(part="input", name=path, note=note)
            continue
        content = canonical_json(row[1:])
        twin = next((other for other in gone if canonical_json(old[other][1:]) == content), None)
        if twin is not None:
            gone.remove(twin)
            yield Change(part="input", name=path, how="renamed", old=twin, new=path)
        else:
            yield Change(part="input", name=path, how="added", note=_matched_by(path, options))
    for path in gone:
        yield Change(part="input", name=path, how="removed")


def _input_difference(old: Sequence[Json], new: Sequence[Json]) -> str:
    """Which column of [path, sha256, executable, link] is otherwise."""
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
    for word in _texts(options):
        wanted = "/".join(part for part in word.split("/") if part not in ("", "."))
        try:
            matched = globs.is_glob(wanted) and globs.matcher((wanted, wanted + "/**")).fullmatch(path)
        except re.error:  # options are not all patterns
            continue
        if matched and wanted != path:
            return f"matched by `{word}`"
        if wanted and path.startswith(wanted + "/"):
            return f"in `{word}`"
    return ""


def _asked_for(change: Change, options: Sequence[Change]) -> bool:
    """Whether an input came or went because a pattern in the spec did."""
    if change.how not in ("added", "removed"):
        return False
    words = [word for one in options for word in (one.old, one.new) if word]
    return any(change.name == word.rstrip("/") or _matched_by(change.name, [word]) for word in words)


def _texts(value: Side) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _material(
    old: ComparedDocument, new: ComparedDocument, *, restated: Sequence[Change], places: LocationLookup, pinned: bool
) -> tuple[list[Change], list[Change]]:
    """What the kind added to the key: (what the spec says, the rest). Kinds often repeat their pins there: that is said
    once, with the pins."""
    spec: list[Change] = []
    rest: list[Change] = []
    said = {_values(one) for one in _option_differences(old, new)}
    unknown = MISSING in (old.options, new.options)
    repeated = {package_names.normalize_name(change.name) for change in restated}
    for one in diff_json(old.document.get("material"), new.document.get("material")):
        if not pinned:
            spec.append(change_of("machine", one))
        elif unknown or _values(one) in said:
            if not (unknown and _repeats_pin(one, repeated)):
                spec.append(change_of("spec", one, places))
        elif not _repeats_pin(one, repeated) and not (repeated and _is_position(one)):
            rest.append(change_of("material", one))
    return spec, rest


def _repeats_pin(one: JsonDifference, names: set[str]) -> bool:
    if any(isinstance(step, str) and package_names.normalize_name(step) in names for step in one.path):
        return True
    sides = [side for side in (one.old, one.new) if side is not MISSING]
    files = [word.rpartition("/")[2] for side in sides for word in _texts(side)]
    return bool(names) and any(
        package_names.normalize_name(package_names.parse_package_file(file)[0]) in names for file in files
    )


def _is_position(one: JsonDifference) -> bool:
    """A number where pins are: kinds count them."""
    return all(type(side) is int for side in (one.old, one.new) if side is not MISSING)


def _options(
    old: ComparedDocument, new: ComparedDocument, spec: Sequence[Change], places: LocationLookup
) -> list[Change]:
    """What the spec says otherwise and no key holds by itself: it may be why pins or inputs are others."""
    known = {(change.how, change.old, change.new) for change in spec}
    found = [change_of("spec", one, places) for one in _option_differences(old, new)]
    return [change for change in found if (change.how, change.old, change.new) not in known]


def _option_differences(old: ComparedDocument, new: ComparedDocument) -> tuple[JsonDifference, ...]:
    if old.options is MISSING or new.options is MISSING:
        return ()
    return diff_json(old.options, new.options)


def _values(one: JsonDifference) -> tuple[str, bytes, bytes]:
    sides = [b"" if side is MISSING else canonical_json(side) for side in (one.old, one.new)]
    return one.how, sides[0], sides[1]


def _variables(old: Json, new: Json, places: LocationLookup) -> Iterator[Change]:
    for one in diff_json(old, new):
        change = change_of("variable", one)
        yield Change(
            part="variable",
            name=change.name,
            how=change.how,
            old=change.old,
            new=change.new,
            where=places.variable(str(one.path[0]) if one.path else ""),
        )


def _others(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    names = {*old, *new} - {*KNOWN_KEYS}
    left = {name: old[name] for name in names if name in old}, {name: new[name] for name in names if name in new}
    yield from (change_of("other", one) for one in diff_json(*left))


def _list(document: Mapping[str, Json], key: str) -> list[Json]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _rows(document: Mapping[str, Json], key: str) -> dict[str, list[Any]]:
    """The rows of `files` or `inputs` by their first column."""
    return {str(row[0]): row for row in _list(document, key) if isinstance(row, list) and row}

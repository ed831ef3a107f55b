"""Why a task is run again, or is not: result documents in, an Explanation out. Pure.

A result document (keys.result_document) says all that decides what a task comes to; a view is what the project held:
path -> (mode, hash).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from envtool.keys import canonical_json
from envtool.model import Json, Where
from envtool.plan.change_values import (
    Change,
    ComparedDocument,
    LocationLookup,
    Parent,
    change_of,
    display_value,
    short_digest,
)
from envtool.plan.compare_documents import compare_parents
from envtool.plan.json_diff import diff_json
from envtool.plan.why import Explanation, PastBuild, State, describe_same_parents

View: TypeAlias = Mapping[str, tuple[int, str]]
SPEC_KEYS = ("commands", "workdir", "user", "outputs", "network", "services")
KNOWN_KEYS = (*SPEC_KEYS, "format", "arch", "stack", "view", "history", "repository", "variables", "passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run that passed and is remembered."""

    key: str
    document: Mapping[str, Json]
    time: float  # seconds since the epoch
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """A task as it stands now. `document` is None where its stack is not made (`waits` says what is missing) or where
    nothing of it is ever remembered (`never` says why)."""

    env: str
    name: str
    where: Where
    project: str = ""
    document: Mapping[str, Json] | None = None
    key: str = ""
    below: tuple[Parent, ...] = ()
    waits: tuple[str, ...] = ()
    never: str = ""


def compare_runs(
    old: ComparedDocument,
    new: ComparedDocument,
    *,
    views: tuple[View | None, View | None] = (None, None),
    places: LocationLookup | None = None,
) -> tuple[Change, ...]:
    """All that changed between two result documents; empty exactly when they are the same."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    found: list[Change] = [
        *compare_parents(old.below, new.below, _stack(before), _stack(after)),
        *_compare_host_bases(before, new),
    ]
    for key, part in (("format", "format"), ("arch", "arch")):
        found += [change_of(part, replace(one, path=(key,))) for one in diff_json(before.get(key), after.get(key))]  # type: ignore[arg-type]
    for key in SPEC_KEYS:
        was, now = (_commands(each.get(key)) if key == "commands" else each.get(key) for each in (before, after))
        found += [change_of("spec", one, places) for one in diff_json(was, now, (key,))]
    if before.get("view") != after.get("view"):
        found += _files(*views)
    if any(before.get(key) != after.get(key) for key in ("history", "repository")):
        found.append(Change(part="file", name=".git", note="what git knows of the project: commits, tags"))
    ground = any(change.part in ("base", "layer") for change in found)
    for key, note in (("variables", ""), ("passed", "passed from outside")):
        for one in diff_json(before.get(key), after.get(key)):
            change = change_of("variable", one)
            hidden = {} if not note else {"old": "", "new": "", "note": note}  # values may be secrets: hashes are kept
            found.append(replace(change, where=places.variable(change.name), follows=ground and not note, **hidden))  # type: ignore[arg-type]
    old_rest, new_rest = ({name: each[name] for name in each if name not in KNOWN_KEYS} for each in (before, after))
    found += [change_of("other", one) for one in diff_json(old_rest, new_rest)]
    if not found:  # a document of nobody's
        found = [change_of("other", one) for one in diff_json({**before}, {**after})]
    return tuple(sorted(found, key=lambda change: change.follows))


def _commands(value: Json) -> Json:
    """Commands as they are written, a text each."""
    if not isinstance(value, list):
        return value
    words = [[str(word) for word in each] if isinstance(each, list) else [str(each)] for each in value]
    return [each[2] if each[:2] == ["/bin/sh", "-ec"] and len(each) == 3 else shlex.join(each) for each in words]


def _stack(document: Mapping[str, Json]) -> list[Json]:
    """The diff IDs of [diff ID, key] rows."""
    return [row[0] for row in _rows(document)]


def _rows(document: Mapping[str, Json]) -> list[list[Json]]:
    rows = document.get("stack")
    return [row for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []


def _compare_host_bases(old: Mapping[str, Json], new: ComparedDocument) -> Iterator[Change]:
    """Bases of the same tree that show another system of the machine beside it: then their keys are in the stack."""
    keys = {str(row[0]): row[1:] for row in _rows(old)}
    for row in _rows(new.document):
        was = keys.get(str(row[0]))
        if was is not None and was != row[1:]:
            ground = next((one for one in new.below if one.diff_id == row[0]), Parent(diff_id="", subject="base"))
            sides = short_digest(display_value(was)), short_digest(display_value(row[1:]))
            note = "what it shows of this machine"
            yield Change(part=ground.subject, name=ground.name, old=sides[0], new=sides[1], note=note)


def _files(old: View | None, new: View | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(part="file", name="", note="files of the project; which, is not known any more")
        return
    gone = {path: row for path, row in old.items() if path not in new}
    by_content: dict[tuple[int, str], list[str]] = {}
    for path, row in gone.items():
        by_content.setdefault(row, []).append(path)
    told = False
    for path, row in sorted(new.items()):
        if old.get(path) == row:
            continue
        told = True
        if path in old:
            mode, content = old[path][0] != row[0], old[path][1] != row[1]
            note = ", ".join(word for word, wanted in (("content", content), ("mode", mode)) if wanted)
            yield Change(part="file", name=path, note=note)
        elif by_content.get(row):
            twin = by_content[row].pop()
            del gone[twin]
            yield Change(part="file", name=path, how="renamed", old=twin, new=path)
        else:
            yield Change(part="file", name=path, how="added")
    for path in sorted(gone):
        told = True
        yield Change(part="file", name=path, how="removed")
    if not told:
        yield Change(part="file", name="", note="how the project is looked at")


def nearest_run(document: Mapping[str, Json], runs: Iterable[PastRun]) -> PastRun | None:
    """The remembered run of this task with the fewest parts that are otherwise, of several the newest."""
    best: PastRun | None = None
    score = (1 << 30, 0.0)
    for run in runs:
        parts = {*document, *run.document}
        apart = sum(canonical_json(document.get(part)) != canonical_json(run.document.get(part)) for part in parts)
        if (apart, -run.time) < score:
            best, score = run, (apart, -run.time)
    return best


def explain_task(
    task: CurrentTask,
    runs: Iterable[PastRun],
    *,
    view: Callable[[str], View | None] = lambda _: None,
    now: View | None = None,
    ground: Callable[[Mapping[str, Json]], tuple[Parent, ...]] = lambda _: (),
    places: LocationLookup | None = None,
) -> Explanation:
    """What can be said of a task. `view` finds the manifest of a digest and `now` is today's; `ground` names what the
    stack of an earlier document was."""
    known = [*runs]
    changes: tuple[Change, ...] = ()
    same: tuple[str, ...] = ()
    state: State = "run"
    run = next((one for one in known if task.document is not None and one.key == task.key), None)
    if run is not None:
        state = "cached"
    elif task.waits:
        state = "wait"
    elif task.document is not None:
        run = nearest_run(task.document, known)
        if run is not None:
            old = ComparedDocument(document=run.document, below=ground(run.document))
            new = ComparedDocument(document=task.document, below=task.below)
            views = (view(display_value(run.document.get("view"))), now)
            changes = compare_runs(old, new, views=views, places=places)
            same = _describe_unchanged(old, new)
    since = PastBuild(key=run.key, document={}, time=run.time, project=task.project) if run is not None else None
    return Explanation(
        name=f"{task.env}:{task.name}",
        subject="task",
        kind="task",
        where=task.where,
        state=state,
        envs=(task.env,),
        key=task.key,
        summary=task.never or (f"on {run.host}" if run is not None and run.host else ""),
        project=task.project,
        since=since,
        changes=changes,
        same=same,
        waits=task.waits,
    )


def _describe_unchanged(old: ComparedDocument, new: ComparedDocument) -> tuple[str, ...]:
    words = describe_same_parents(_stack(old.document), _stack(new.document), new.below)
    for key, word in (("view", "the project's files"), ("commands", "its commands"), ("variables", "variables")):
        if old.document.get(key) == new.document.get(key):
            words.append(word)
    return tuple(words)

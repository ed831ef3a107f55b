"""Explains why a task runs again, or does not: takes result documents, returns an Explanation. Pure.

A result document (keys.result_document) has all that decides the result of a task; a view is the content of the
project: path -> (mode, hash).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from envtool.keys import canonical_json
from envtool.lazy_dataclass import dataclass, field
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
from envtool.plan.why_services import compare_services

View: TypeAlias = Mapping[str, tuple[int, str]]
SPEC_KEYS = ("commands", "workdir", "user", "outputs", "network")
KNOWN_KEYS = (
    *SPEC_KEYS, "services", "artefacts", "format", "arch", "stack", "view", "history", "repository", "variables",
    "passed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A passed run in the result cache."""

    key: str
    document: Mapping[str, Json]
    time: float  # seconds since the epoch
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """A task as it is now. `document` is None where its stack is not built (`waits` names the missing layers) or where
    its results are never cached (`never` says why)."""

    env: str
    name: str
    where: Where
    project: str = ""
    document: Mapping[str, Json] | None = None
    key: str = ""
    below: tuple[Parent, ...] = ()
    beside: Mapping[str, tuple[Parent, ...]] = field(default_factory=dict)  # service -> its stack
    waits: tuple[str, ...] = ()
    never: str = ""


def compare_runs(
    old: ComparedDocument,
    new: ComparedDocument,
    *,
    views: tuple[View | None, View | None] = (None, None),
    places: LocationLookup | None = None,
) -> tuple[Change, ...]:
    """Returns all changes between two result documents; none exactly when they are equal."""
    places = places or LocationLookup()
    before, after = old.document, new.document
    changes: list[Change] = [
        *compare_parents(old.below, new.below, _stack(before), _stack(after)),
        *_compare_host_bases(before, new),
    ]
    for key, part in (("format", "format"), ("arch", "arch")):
        differences = diff_json(before.get(key), after.get(key))
        changes += [change_of(part, replace(each, path=(key,))) for each in differences]  # type: ignore[arg-type]
    for key in SPEC_KEYS:
        old_value, new_value = (
            _commands(document.get(key)) if key == "commands" else document.get(key) for document in (before, after)
        )
        changes += [change_of("spec", difference, places) for difference in diff_json(old_value, new_value, (key,))]
    services = before.get("services"), after.get("services")
    of_services = compare_services(*services, (old.beside, new.beside), places)
    if of_services is None:
        of_services = tuple(change_of("spec", each, places) for each in diff_json(*services, ("services",)))
    changes += of_services
    changes += _compare_artefacts(before.get("artefacts"), after.get("artefacts"))
    if before.get("view") != after.get("view"):
        changes += _files(*views)
    if any(before.get(key) != after.get(key) for key in ("history", "repository")):
        changes.append(Change(part="file", name=".git", note="what git knows of the project: commits, tags"))
    parents_changed = any(change.part in ("base", "layer") for change in changes)
    for key, note in (("variables", ""), ("passed", "passed from outside")):
        for difference in diff_json(before.get(key), after.get(key)):
            change = change_of("variable", difference)
            if note:  # values may be secrets: documents have their hashes
                change = replace(change, old="", new="", note=note)
            changes.append(replace(change, where=places.variable(change.name), follows=parents_changed and not note))
    old_rest, new_rest = (
        {name: document[name] for name in document if name not in KNOWN_KEYS} for document in (before, after)
    )
    changes += [change_of("other", difference) for difference in diff_json(old_rest, new_rest)]
    if not changes:  # documents that no envtool wrote differ elsewhere
        changes = [change_of("other", difference) for difference in diff_json({**before}, {**after})]
    return tuple(sorted(changes, key=lambda change: change.follows))


def _commands(value: Json) -> Json:
    """Returns commands as they are written, each as one text."""
    if not isinstance(value, list):
        return value
    words = [[str(word) for word in command] if isinstance(command, list) else [str(command)] for command in value]
    return [
        command[2] if command[:2] == ["/bin/sh", "-ec"] and len(command) == 3 else shlex.join(command)
        for command in words
    ]


def _stack(document: Mapping[str, Json]) -> list[Json]:
    """Returns the diff IDs of the [diff ID, key] rows."""
    return [row[0] for row in _rows(document)]


def _rows(document: Mapping[str, Json]) -> list[list[Json]]:
    rows = document.get("stack")
    return [row for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []


def _compare_host_bases(old: Mapping[str, Json], new: ComparedDocument) -> Iterator[Change]:
    """Yields bases with the same tree that show another system of this machine: for those the stack has keys."""
    keys = {str(row[0]): row[1:] for row in _rows(old)}
    for row in _rows(new.document):
        old_row = keys.get(str(row[0]))
        if old_row is not None and old_row != row[1:]:
            base = next(
                (parent for parent in new.below if parent.diff_id == row[0]), Parent(diff_id="", subject="base")
            )
            sides = short_digest(display_value(old_row)), short_digest(display_value(row[1:]))
            note = "what it shows of this machine"
            yield Change(part=base.subject, name=base.name, old=sides[0], new=sides[1], note=note)


def _compare_artefacts(old: Json, new: Json) -> Iterator[Change]:
    """Yields the changes of what a task sees of the tasks that it needs (task_request.Artefacts)."""
    for difference in diff_json(old, new, ("artefacts",)):
        path = difference.path
        if path[1:2] == ("files",) and len(path) == 3:
            yield Change(part="file", name=str(path[2]), how=difference.how, note="from a task that it needs")
        else:
            yield replace(change_of("other", difference), note="what it sees of the tasks that it needs")


def _files(old: View | None, new: View | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(part="file", name="", note="files of the project; which, is not known any more")
        return
    removed = {path: row for path, row in old.items() if path not in new}
    by_content: dict[tuple[int, str], list[str]] = {}
    for path, row in removed.items():
        by_content.setdefault(row, []).append(path)
    has_changes = False
    for path, row in sorted(new.items()):
        if old.get(path) == row:
            continue
        has_changes = True
        if path in old:
            mode, content = old[path][0] != row[0], old[path][1] != row[1]
            note = ", ".join(word for word, applies in (("content", content), ("mode", mode)) if applies)
            yield Change(part="file", name=path, note=note)
        elif by_content.get(row):
            old_path = by_content[row].pop()
            del removed[old_path]
            yield Change(part="file", name=path, how="renamed", old=old_path, new=path)
        else:
            yield Change(part="file", name=path, how="added")
    for path in sorted(removed):
        has_changes = True
        yield Change(part="file", name=path, how="removed")
    if not has_changes:
        yield Change(part="file", name="", note="how the project is looked at")


def nearest_run(document: Mapping[str, Json], runs: Iterable[PastRun]) -> PastRun | None:
    """Returns the cached run of this task with the fewest different parts, of several the newest."""
    best: PastRun | None = None
    score = (1 << 30, 0.0)
    for run in runs:
        parts = {*document, *run.document}
        differences = sum(
            canonical_json(document.get(part)) != canonical_json(run.document.get(part)) for part in parts
        )
        if (differences, -run.time) < score:
            best, score = run, (differences, -run.time)
    return best


def explain_task(
    task: CurrentTask,
    runs: Iterable[PastRun],
    *,
    view: Callable[[str], View | None] = lambda _: None,
    now: View | None = None,
    ground: Callable[[Mapping[str, Json]], tuple[Parent, ...]] = lambda _: (),
    beside: Callable[[Mapping[str, Json]], Mapping[str, tuple[Parent, ...]]] = lambda _: {},
    places: LocationLookup | None = None,
) -> Explanation:
    """Explains a task. `view` finds the view of a digest and `now` is the current view; `ground` returns the parents of
    an earlier document, and `beside` the stacks of the services in it."""
    past_runs = [*runs]
    changes: tuple[Change, ...] = ()
    same: tuple[str, ...] = ()
    state: State = "run"
    run = next((past_run for past_run in past_runs if task.document is not None and past_run.key == task.key), None)
    if run is not None:
        state = "cached"
    elif task.waits:
        state = "wait"
    elif task.document is not None:
        run = nearest_run(task.document, past_runs)
        if run is not None:
            old = ComparedDocument(document=run.document, below=ground(run.document), beside=beside(run.document))
            new = ComparedDocument(document=task.document, below=task.below, beside=task.beside)
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
    for key, word in (
        ("view", "the project's files"),
        ("commands", "its commands"),
        ("variables", "variables"),
        ("services", "its services"),
    ):
        if old.document.get(key) == new.document.get(key) and not (key == "services" and not new.document.get(key)):
            words.append(word)
    return tuple(words)

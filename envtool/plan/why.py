"""Explains why a base or layer is cached, built or resolved: takes documents, returns an Explanation. Pure.

A layer that is not cached is compared with the nearest earlier build: of the same kind, with the fewest and least
important differences; of several the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from envtool.api.kind import archive_package
from envtool.keys import canonical_json
from envtool.lazy_dataclass import dataclass
from envtool.model import Json, ReadFiles, Where
from envtool.plan.change_values import Change, ComparedDocument, LocationLookup, PackageOfFile, Parent
from envtool.plan.compare_documents import compare, compare_question
from envtool.plan.json_diff import MISSING, Side, diff_json

State: TypeAlias = Literal["cached", "build", "ask", "wait", "run"]  # "run": a task that runs (again)
OTHER_NAME_DISTANCE = 6  # added to the distance of an earlier build of another name
MAX_PART_DISTANCE = 8  # the most that one part of a document adds


@dataclass(frozen=True, slots=True, kw_only=True)
class PastBuild:
    """An earlier build in the store. Fields that older envtools did not write are empty: `name` and `project` (of the
    first builder), `options` MISSING."""

    key: str
    document: Mapping[str, Json]
    diff_id: str = ""
    time: float = 0.0  # seconds since the epoch
    name: str = ""
    project: str = ""  # absolute path
    options: Side = MISSING
    pulled: str = ""  # the team cache that it came from, and who signed it; empty where it was built here
    refused: str = ""  # why the layer of the team cache was not used


@dataclass(frozen=True, slots=True, kw_only=True)
class PastQuestion:
    """An earlier question to a kind's `resolve` with the time of its answer, or (`locked`) the question of the lock."""

    question: Mapping[str, Json]
    time: float = 0.0
    locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentNode:
    """A base or layer as it is now. `document` is None where its key is not known yet: then `question` is what
    `resolve` has to be asked, or, where that is None too, `waits` names the nodes that must be built first. `inputs`
    are rows as in documents."""

    name: str
    subject: Literal["base", "layer"]
    kind: str
    where: Where
    pinned: bool = True
    envs: tuple[str, ...] = ()
    project: str = ""
    options: Json = None
    inputs: tuple[Json, ...] = ()
    below: tuple[Parent, ...] = ()
    waits: tuple[str, ...] = ()
    question: Mapping[str, Json] | None = None
    document: Mapping[str, Json] | None = None
    key: str = ""
    summary: str = ""
    package: PackageOfFile = archive_package

    @property
    def sort(self) -> str:
        """The kind as documents name it."""
        return f"{self.subject}:{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContents:
    """What a cached base or layer consists of."""

    diff_id: str
    size: int  # bytes of its tar
    entries: int
    arch: str
    epoch: int
    pins: tuple[tuple[str, str], ...]  # name and version, or name and hash
    inputs: tuple[str, ...]
    variables: Mapping[str, str | None]  # None: unset
    below: tuple[tuple[str, str], ...]  # (subject, name), bottom first


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why one base, layer, task or prepared state of a service is in its state.

    `since` is the earlier build that `changes` are counted from, or None. Its key is empty where it is an earlier
    question (with `locked`: that of the lock); for a cached node it is the build of its layer. `same` lists what is
    unchanged, `waits` what must be built before more is known.
    """

    name: str
    subject: Literal["base", "layer", "task", "state"]
    kind: str
    where: Where
    state: State
    envs: tuple[str, ...] = ()
    key: str = ""
    summary: str = ""
    project: str = ""
    since: PastBuild | None = None
    locked: bool = False
    changes: tuple[Change, ...] = ()
    same: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    content: NodeContents | None = None
    reads: ReadFiles | None = None  # what a task read of the project in the run that `since` names


# ---- the nearest ---------------------------------------------------------------------------------------------------


class NearestBuild:
    """Considers earlier builds one after the other and keeps the nearest. There may be thousands: values of the subject
    are computed once, and a build that is already too far is not compared further."""

    def __init__(self, subject: CurrentNode) -> None:
        self.subject = subject
        self.best: PastBuild | None = None
        self._score: tuple[float, float] = (float("inf"), 0.0)
        self._new: Mapping[str, Json] = subject.document or {"inputs": [*subject.inputs]}
        self._rows = {part: _rows(self._new[part]) for part in ("files", "inputs") if part in self._new}

    def offer(self, past: PastBuild) -> None:
        """Considers one more build."""
        distance = self.distance(past, self._score[0])
        if distance is not None and (distance, -past.time) < self._score:
            self.best, self._score = past, (distance, -past.time)

    def distance(self, past: PastBuild, limit: float = float("inf")) -> float | None:
        """Returns the distance of an earlier build from the subject; None where it is no earlier build of it (another
        kind, or only the kind in common), or where it is further than `limit`."""
        old, new, subject = past.document, self._new, self.subject
        if old.get("kind") != subject.sort:
            return None
        same_name = past.name == subject.name
        same_project = bool(past.project) and _basename(past.project) == _basename(subject.project)
        distance = 0.0 if same_name else OTHER_NAME_DISTANCE if past.name else OTHER_NAME_DISTANCE / 2
        distance += 0.0 if past.project == subject.project else 0.25 if same_project else 0.5
        # another base has another epoch
        base_moved = _first_parent(old.get("below")) != _first_parent(new.get("below"))
        for part, weight in (
            ("arch", MAX_PART_DISTANCE),
            ("version", 2),
            ("format", 2),
            ("epoch", 1),
            ("variables", 1),
        ):
            if part in new and not (part == "epoch" and base_moved):
                distance += weight * (old.get(part) != new[part])
        distance += (
            min(MAX_PART_DISTANCE, _rows_distance(_rows(old.get("below")), _rows(new["below"])))
            if "below" in new
            else 0
        )
        if distance > limit:
            return None
        is_related = same_name and same_project
        for part, rows in self._rows.items():
            before = _rows(old.get(part))
            is_related = is_related or not before.isdisjoint(rows)
            distance += min(MAX_PART_DISTANCE, _rows_distance(before, rows))
        if distance > limit:
            return None
        old_options, new_options = (
            (old.get("material"), new["material"]) if "material" in new else (past.options, subject.options)
        )
        if old_options is not MISSING:
            differences = 0 if old_options == new_options else len(diff_json(old_options, new_options))
            distance += min(MAX_PART_DISTANCE, 2 * differences)
            is_related = is_related or (not differences and bool(new_options))
        return distance if is_related else None


def _rows(rows: Json) -> frozenset[object]:
    """Returns rows as a set: only the number of common rows counts, so duplicates do not matter."""
    try:
        return frozenset([tuple(row) if isinstance(row, list) else row for row in rows])  # type: ignore[union-attr]
    except TypeError:  # a document that no envtool wrote
        return frozenset([repr(rows)])


def _rows_distance(old: frozenset[object], new: frozenset[object]) -> int:
    return max(len(old - new), len(new - old))


def _first_parent(below: Json) -> Json:
    return below[0] if isinstance(below, list) and below else None


def _basename(path: str) -> str:
    """Returns the last component of a path: checkouts of one project have it in common."""
    return path.rstrip("/").rpartition("/")[2]


def nearest_question(subject: CurrentNode, questions: Iterable[PastQuestion]) -> PastQuestion | None:
    """Returns the earlier question with the fewest differences, of several the newest; None where there is none of the
    kind."""
    best: PastQuestion | None = None
    score: tuple[int, float] = (1 << 30, 0.0)
    assert subject.question is not None
    for question in questions:
        if question.question.get("kind") != subject.sort:
            continue
        differences = len(diff_json({**question.question}, {**subject.question}))
        if (differences, -question.time) < score:
            best, score = question, (differences, -question.time)
    return best


# ---- the explanation -----------------------------------------------------------------------------------------------


def explain_node(
    subject: CurrentNode,
    *,
    past: PastBuild | None = None,
    ground: tuple[Parent, ...] = (),
    asked: PastQuestion | None = None,
    content: NodeContents | None = None,
    places: LocationLookup | None = None,
) -> Explanation:
    """Explains a base or layer. `past` is the nearest earlier build and `ground` its parents; `asked` is the nearest
    earlier question where there is no key yet; `content` is given for a cached node."""
    changes: tuple[Change, ...] = ()
    same: tuple[str, ...] = ()
    locked = False
    state: State = "wait" if subject.waits else "ask" if subject.document is None else "build"
    if content is not None:
        state = "cached"
    elif subject.document is not None and past is not None:
        old = ComparedDocument(document=past.document, below=ground, options=past.options)
        new = ComparedDocument(
            document=subject.document, below=subject.below, options=subject.options, package=subject.package
        )
        changes = compare(old, new, places=places, pinned=subject.pinned)
        same = describe_unchanged(old, new)
    elif state == "ask" and asked is not None:
        assert subject.question is not None
        old = ComparedDocument(document=asked.question, below=ground)
        new = ComparedDocument(document=subject.question, below=subject.below, options=subject.options)
        paths = [str(row[0]) for row in subject.inputs if isinstance(row, list)]
        changes = compare_question(old, new, inputs=paths, places=places)
        past = PastBuild(key="", document={}, time=asked.time)
        locked = asked.locked
    elif state == "wait" and past is not None:
        changes = own_changes(subject, past, places)
    else:
        past = None
    return Explanation(
        name=subject.name,
        subject=subject.subject,
        kind=subject.kind,
        where=subject.where,
        state=state,
        envs=subject.envs,
        key=subject.key,
        summary=subject.summary,
        project=subject.project,
        since=past,
        locked=locked,
        changes=changes,
        same=same,
        waits=subject.waits,
        content=content,
    )


def own_changes(subject: CurrentNode, past: PastBuild, places: LocationLookup | None) -> tuple[Change, ...]:
    """Returns the changes of a layer that waits for others: only its options and inputs are known."""
    old: dict[str, Json] = {"inputs": past.document.get("inputs"), "material": None}
    new: dict[str, Json] = {"inputs": [*subject.inputs], "material": None}
    if past.options is not MISSING:
        old["material"], new["material"] = past.options, subject.options
    sides = (
        ComparedDocument(document=old, options=past.options),
        ComparedDocument(document=new, options=subject.options, package=subject.package),
    )
    return compare(*sides, places=places, pinned=subject.pinned)


def describe_unchanged(old: ComparedDocument, new: ComparedDocument) -> tuple[str, ...]:
    """Returns what is unchanged, in a few words: ("the base", "layer python", "11 pins", "the spec")."""
    words = describe_same_parents(_list(old.document, "below"), _list(new.document, "below"), new.below)
    for key, word in (("files", "pin"), ("inputs", "input")):
        rows = {canonical_json(row) for row in _list(old.document, key)} & {
            canonical_json(row) for row in _list(new.document, key)
        }
        if rows:
            words.append(f"{len(rows)} {word}{'s' if len(rows) != 1 else ''}")
    if canonical_json(old.document.get("material")) == canonical_json(new.document.get("material")):
        words.append("the spec")
    if new.document.get("variables") and old.document.get("variables") == new.document.get("variables"):
        words.append("variables")
    return tuple(words)


def describe_same_parents(old: Iterable[Json], new: Iterable[Json], ground: Iterable[Parent]) -> list[str]:
    """Returns the parents in `ground` whose diff IDs are in both documents."""
    common = {str(entry) for entry in old} & {str(entry) for entry in new}
    return [
        "the base" if entry.subject == "base" else f"layer {entry.name}" for entry in ground if entry.diff_id in common
    ]


def node_contents(
    document: Mapping[str, Json],
    below: Iterable[Parent],
    package: PackageOfFile,
    *,
    diff_id: str,
    size: int,
    entries: int,
) -> NodeContents:
    """Returns what a stored layer consists of, from its own document."""
    variables = document.get("variables")
    epoch = document.get("epoch")
    return NodeContents(
        diff_id=diff_id,
        size=size,
        entries=entries,
        arch=str(document.get("arch", "")),
        epoch=epoch if isinstance(epoch, int) else 0,
        pins=tuple(_pin(row, package) for row in _list(document, "files")),
        inputs=tuple(str(row[0]) for row in _list(document, "inputs") if isinstance(row, list)),
        variables={name: value if value is None else str(value) for name, value in variables.items()}
        if isinstance(variables, dict)
        else {},
        below=tuple((parent.subject, parent.name) for parent in below),
    )


def _pin(row: Any, package: PackageOfFile) -> tuple[str, str]:
    name, version = package(str(row[0]))
    return name, version or str(row[1])[:12]


def _list(document: Mapping[str, Json], key: str) -> list[Json]:
    value = document.get(key)
    return value if isinstance(value, list) else []

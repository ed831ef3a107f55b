"""Why a base or layer is cached, built or asked for: documents in, an Explanation out. Pure.

The earlier build that a miss is compared with is the nearest one: of the same kind, with the fewest and least
weighty differences, and of several the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from envtool.keys import canonical_json
from envtool.model import Json, Where
from envtool.plan import package_names
from envtool.plan.change_values import Change, ComparedDocument, LocationLookup, Parent
from envtool.plan.compare_documents import compare, compare_question
from envtool.plan.json_diff import MISSING, Side, diff_json

State: TypeAlias = Literal["cached", "build", "ask", "wait", "run"]  # the last: a task that is run (again)
OTHER_NAME_DISTANCE = 6  # what another name adds to the distance of an earlier build
MAX_PART_DISTANCE = 8  # what any one part of a document adds at most


@dataclass(frozen=True, slots=True, kw_only=True)
class PastBuild:
    """An earlier build, as it stands in the store. What older envtools did not write is empty: `name` and `project` (of
    the first who built it), `options` MISSING."""

    key: str
    document: Mapping[str, Json]
    diff_id: str = ""
    time: float = 0.0  # seconds since the epoch
    name: str = ""
    project: str = ""  # absolute path
    options: Side = MISSING
    pulled: str = ""  # the team cache that it came from, and who signed it there; empty where it was built
    refused: str = ""  # why what the team cache has was not used


@dataclass(frozen=True, slots=True, kw_only=True)
class PastQuestion:
    """An earlier question to a kind's `resolve`, with the time of its answer, or (`locked`) that of the lock."""

    question: Mapping[str, Json]
    time: float = 0.0
    locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentNode:
    """A base or layer as it stands now. `document` is None where its key is not known yet: then `question` says what is
    to be asked, or (both None) `waits` what has to be made first. `inputs` are rows as in documents."""

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

    @property
    def sort(self) -> str:
        """Its kind as documents name it."""
        return f"{self.subject}:{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContents:
    """What a cached base or layer is made of."""

    diff_id: str
    size: int  # bytes of its tar
    entries: int
    arch: str
    epoch: int
    pins: tuple[tuple[str, str], ...]  # name and version, or name and hash
    inputs: tuple[str, ...]
    variables: Mapping[str, str | None]  # None: taken away
    below: tuple[tuple[str, str], ...]  # (subject, name), bottom first


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is said of one base, layer or task.

    `since` is the earlier build that `changes` are counted from, None where there is none. Its key is empty where it is
    an earlier question, with `locked` that of the lock; of what is cached it is its own build. `same` says what is as
    it was, `waits` what has to be made before more can be known."""

    name: str
    subject: Literal["base", "layer", "task"]
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


# ---- the nearest ---------------------------------------------------------------------------------------------------


class NearestBuild:
    """Looks at earlier builds one after the other and keeps the nearest: there may be thousands, so what can be known
    of the subject is made once, and a build that is too far already is not looked at further."""

    def __init__(self, subject: CurrentNode) -> None:
        self.subject = subject
        self.best: PastBuild | None = None
        self._score: tuple[float, float] = (float("inf"), 0.0)
        self._new: Mapping[str, Json] = subject.document or {"inputs": [*subject.inputs]}
        self._rows = {part: _rows(self._new[part]) for part in ("files", "inputs") if part in self._new}

    def offer(self, past: PastBuild) -> None:
        """Consider one more."""
        far = self.distance(past, self._score[0])
        if far is not None and (far, -past.time) < self._score:
            self.best, self._score = past, (far, -past.time)

    def distance(self, past: PastBuild, limit: float = float("inf")) -> float | None:
        """How far an earlier build is from what is wanted now; None when it is no earlier build of it (another kind, or
        nothing in common but the kind), or further than `limit`."""
        old, new, subject = past.document, self._new, self.subject
        if old.get("kind") != subject.sort:
            return None
        same_name = past.name == subject.name
        same_project = bool(past.project) and _basename(past.project) == _basename(subject.project)
        far = 0.0 if same_name else OTHER_NAME_DISTANCE if past.name else OTHER_NAME_DISTANCE / 2
        far += 0.0 if past.project == subject.project else 0.25 if same_project else 0.5
        moved = _first_parent(old.get("below")) != _first_parent(new.get("below"))  # another base has another date
        for part, weight in (
            ("arch", MAX_PART_DISTANCE),
            ("version", 2),
            ("format", 2),
            ("epoch", 1),
            ("variables", 1),
        ):
            if part in new and not (part == "epoch" and moved):
                far += weight * (old.get(part) != new[part])
        far += (
            min(MAX_PART_DISTANCE, _rows_distance(_rows(old.get("below")), _rows(new["below"])))
            if "below" in new
            else 0
        )
        if far > limit:
            return None
        common = same_name and same_project
        for part, rows in self._rows.items():
            before = _rows(old.get(part))
            common = common or not before.isdisjoint(rows)
            far += min(MAX_PART_DISTANCE, _rows_distance(before, rows))
        if far > limit:
            return None
        known, wanted = (old.get("material"), new["material"]) if "material" in new else (past.options, subject.options)
        if known is not MISSING:
            other = 0 if known == wanted else len(diff_json(known, wanted))
            far += min(MAX_PART_DISTANCE, 2 * other)
            common = common or (not other and bool(wanted))
        return far if common else None


def _rows(rows: Json) -> frozenset[object]:
    """Rows so that they can be counted: only for how much is the same, so duplicates do not matter."""
    try:
        return frozenset([tuple(row) if isinstance(row, list) else row for row in rows])  # type: ignore[union-attr]
    except TypeError:  # a document of nobody's
        return frozenset([repr(rows)])


def _rows_distance(old: frozenset[object], new: frozenset[object]) -> int:
    return max(len(old - new), len(new - old))


def _first_parent(below: Json) -> Json:
    return below[0] if isinstance(below, list) and below else None


def _basename(path: str) -> str:
    """The project's own directory: checkouts of one project stand at many places."""
    return path.rstrip("/").rpartition("/")[2]


def nearest_question(subject: CurrentNode, asked: Iterable[PastQuestion]) -> PastQuestion | None:
    """The earlier question with the fewest differences, of several the newest; None when nothing is the same but the
    kind."""
    best: PastQuestion | None = None
    score: tuple[int, float] = (1 << 30, 0.0)
    assert subject.question is not None
    for one in asked:
        if one.question.get("kind") != subject.sort:
            continue
        apart = len(diff_json({**one.question}, {**subject.question}))
        if (apart, -one.time) < score:
            best, score = one, (apart, -one.time)
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
    """All that can be said of a base or layer. `past` is the nearest earlier build and `ground` what that stood on;
    `asked` the nearest earlier question where there is no key yet; `content` is given when it is cached."""
    changes: tuple[Change, ...] = ()
    same: tuple[str, ...] = ()
    locked = False
    state: State = "wait" if subject.waits else "ask" if subject.document is None else "build"
    if content is not None:
        state = "cached"
    elif subject.document is not None and past is not None:
        old = ComparedDocument(document=past.document, below=ground, options=past.options)
        new = ComparedDocument(document=subject.document, below=subject.below, options=subject.options)
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
    """What a layer that waits for another says otherwise by itself: in its options and inputs, all that is known."""
    old: dict[str, Json] = {"inputs": past.document.get("inputs"), "material": None}
    new: dict[str, Json] = {"inputs": [*subject.inputs], "material": None}
    if past.options is not MISSING:
        old["material"], new["material"] = past.options, subject.options
    sides = (
        ComparedDocument(document=old, options=past.options),
        ComparedDocument(document=new, options=subject.options),
    )
    return compare(*sides, places=places, pinned=subject.pinned)


def describe_unchanged(old: ComparedDocument, new: ComparedDocument) -> tuple[str, ...]:
    """What is as it was, in a few words: ("the base", "layer python", "11 pins", "the spec")."""
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
    """The part of `ground` whose diff IDs are in both."""
    kept = {str(one) for one in old} & {str(one) for one in new}
    return ["the base" if one.subject == "base" else f"layer {one.name}" for one in ground if one.diff_id in kept]


def node_contents(
    document: Mapping[str, Json], below: Iterable[Parent], *, diff_id: str, size: int, entries: int
) -> NodeContents:
    """What a layer that stands in the store is made of, from its own document."""
    variables = document.get("variables")
    epoch = document.get("epoch")
    return NodeContents(
        diff_id=diff_id,
        size=size,
        entries=entries,
        arch=str(document.get("arch", "")),
        epoch=epoch if isinstance(epoch, int) else 0,
        pins=tuple(_pin(row) for row in _list(document, "files")),
        inputs=tuple(str(row[0]) for row in _list(document, "inputs") if isinstance(row, list)),
        variables={name: value if value is None else str(value) for name, value in variables.items()}
        if isinstance(variables, dict)
        else {},
        below=tuple((one.subject, one.name) for one in below),
    )


def _pin(row: Any) -> tuple[str, str]:
    name, version = package_names.parse_package_file(str(row[0]))
    return name, version or str(row[1])[:12]


def _list(document: Mapping[str, Json], key: str) -> list[Json]:
    value = document.get(key)
    return value if isinstance(value, list) else []

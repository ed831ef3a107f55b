"""What goes into a lock, and what of a spec a lock has no answer for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envtool import keys
from envtool.api import Cache, Fetch, Request, Secret
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import MadeLayer, ResolvedNode
from envtool.errors import Problem, SpecError
from envtool.lock.lock import Lock, LockEntry, LockQuestion
from envtool.model import Json, LayerSpec
from envtool.plan.change_values import Change, ComparedDocument
from envtool.plan.compare_documents import compare_question
from envtool.plan.graph import Graph, Node
from envtool.project import source_files

MAX_CHANGES = 5  # changes that are told of one layer
MAX_VALUE_LENGTH = 40  # characters of a name or value that are told


def lock_entries(graph: Graph, made: Sequence[MadeLayer]) -> tuple[LockEntry, ...]:
    """Everything outside that the nodes that stand are made of, but for what only this machine has (kind `host`)."""
    by_id = {each.settled.node.id: each for each in made}
    found: list[LockEntry] = []
    pure: dict[str, bool] = {}  # decided by pins and spec alone: no file of the project, no network, no other machine
    for node in graph.nodes.values():
        if node.id not in by_id:
            continue
        settled, layer = by_id[node.id].settled, by_id[node.id].layer
        recipe = node.kind.build(settled.request, settled.pins)
        outside = recipe.network or any(isinstance(each, Cache | Secret) for each in recipe.shown)
        pure[node.id] = (
            node.kind.pinned and not settled.inputs and not outside and all(pure[each] for each in node.needs)
        )
        floats = resolution.needs_resolution(node.kind)
        if not node.kind.pinned or node.of or not (floats or settled.fetches):  # a base's pins are its parts' too
            continue
        found.append(
            LockEntry(
                question=resolution.question_for_lock(
                    node, settled.request, [by_id[each].settled for each in node.below]
                ),
                pins=settled.pins,
                files=() if floats else tuple(_file(fetch) for fetch in settled.fetches),
                key=settled.key if pure[node.id] else "",
                diff_id=layer.diff_id if pure[node.id] else "",
            )
        )
    return tuple(found)


def _file(fetch: Fetch) -> Mapping[str, Json]:
    pinned: dict[str, Json] = {"name": fetch.name, "url": fetch.url, "sha256": fetch.sha256}
    return pinned | ({"size": fetch.size} if fetch.size else {})


def check_lock(graph: Graph, lock: Lock, setting: Context, file: str) -> None:
    """Raise SpecError with every base and layer that the lock (in `file`) has no answer for.

    What stands on this machine's own system is asked for less: its answers are those of machines like this one, and
    where there are none, another machine's show that the same thing was locked.
    """
    known: dict[str, ResolvedNode] = {}
    problems: dict[Problem, None] = {}
    for node in graph.nodes.values():
        if any(each not in known for each in node.below):
            continue  # what it stands on is the problem, or is not known here
        below = [known[each] for each in node.below]
        request = _request(node, below, setting)
        if request is None:
            continue
        pins: Json = None
        if resolution.needs_resolution(node.kind) and not node.kind.pinned:
            continue
        if resolution.needs_resolution(node.kind):
            question = resolution.question_for_lock(node, request, below)
            answer = resolution.find_locked_answer(node, request, question, setting)
            if answer is None:
                problems[_stale_problem(node, question, lock, setting, file)] = None
                continue
            pins = answer.pins
        known[node.id] = resolution.settled(node, request, pins)
    problems |= dict.fromkeys(_host_base_problems(graph, lock, setting, file))
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda each: (each.where, each.message))))


def _request(node: Node, below: Sequence[ResolvedNode], setting: Context) -> Request | None:
    """What a lock is asked about a node; None where it cannot be: an input is not there, which its envs will say."""
    try:
        return resolution.request_from_resolved(node, below, (), setting)
    except SpecError:
        return None


def _host_base_problems(graph: Graph, lock: Lock, setting: Context, file: str) -> list[Problem]:
    found = []
    asked = {(entry.question.kind, keys.digest(entry.question.asked)) for entry in lock.entries}
    for node in graph.nodes.values():
        base = graph.nodes[node.below[0]] if node.below else node
        if base.kind.pinned or not resolution.needs_resolution(node.kind) or node is base:
            continue
        request = _request(node, [], setting)
        if request is None:
            continue
        wanted = node.kind.question(request)
        if (node.kind.name, keys.digest(wanted)) not in asked:
            question = LockQuestion(
                subject=node.subject, name=node.spec.name, kind=node.kind.name, platform="", asked=wanted
            )
            found.append(_stale_problem(node, question, lock, setting, file))
    return found


def _stale_problem(node: Node, question: LockQuestion, lock: Lock, setting: Context, file: str) -> Problem:
    near = min(
        (
            entry.question
            for entry in lock.entries
            if (entry.question.subject, entry.question.name) == (question.subject, question.name)
        ),
        key=lambda each: (
            each.kind != question.kind,
            len(_changes(each, question)),
            each.platform != question.platform,
        ),
        default=None,
    )
    if near is None:
        why = f"{file} knows nothing of {node.subject} `{node.spec.name}`"
    elif near.kind != question.kind:
        why = f"{file} has {node.subject} `{node.spec.name}` as kind `{near.kind}`, not `{question.kind}`"
    elif near.asked == question.asked and near.platform != question.platform:
        why = f"{file} has {node.subject} `{node.spec.name}` for {near.platform}, not for {question.platform}"
    elif near.asked == question.asked:
        why = f"{file} has {node.subject} `{node.spec.name}` on other pins below it"
    else:
        why = f"{file} no longer fits {node.subject} `{node.spec.name}`{_describe_changes(near, question)}"
    hint = "`envtool lock` brings the lock up to date, and moves nothing else"
    where = node.spec.where
    return Problem(where=where, message=why, code="lock-stale", hint=hint, text=_line(node.spec, setting), width=0)


def _changes(near: LockQuestion, question: LockQuestion) -> tuple[Change, ...]:
    old, new = (ComparedDocument(document={"question": each.asked, "kind": each.kind}) for each in (near, question))
    return compare_question(old, new)


def _describe_changes(near: LockQuestion, question: LockQuestion) -> str:
    """What of it is otherwise, as in ": packages new attrs"."""
    changes = _changes(near, question)
    said = []
    for change in changes[:MAX_CHANGES]:
        word = {"added": "new", "removed": "gone", "order": "in another order"}.get(change.how, "changed")
        values = " → ".join(_short(each) for each in (change.old, change.new) if each)
        said.append(" ".join(filter(None, (_short(change.name), change.note or word, values))))
    more = [f"and {len(changes) - MAX_CHANGES} more"] if len(changes) > MAX_CHANGES else []
    return f": {', '.join([*said, *more])}" if said else ": it was asked for something else"


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def _line(spec: object, setting: Context) -> str:
    where = spec.where if isinstance(spec, LayerSpec) else getattr(spec, "where", None)
    try:
        text = source_files.ProjectFiles(setting.root).read(where.file) or ""  # type: ignore[union-attr]
    except Exception:
        return ""
    return [*text.splitlines()[where.line - 1 : where.line], ""][0]  # type: ignore[union-attr]

"""Makes the entries of a lock, and checks that a lock answers a spec."""

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

MAX_CHANGES = 5  # changes of one layer that a message lists
MAX_VALUE_LENGTH = 40  # characters of a name or value in a message


def lock_entries(graph: Graph, made: Sequence[MadeLayer]) -> tuple[LockEntry, ...]:
    """Returns an entry for each built node with pins or files, except what only this machine has (kind `host`)."""
    by_id = {each.settled.node.id: each for each in made}
    entries: list[LockEntry] = []
    pure: dict[str, bool] = {}  # decided by pins and spec alone, not by the project, a network or another machine
    for node in graph.nodes.values():
        if node.id not in by_id:
            continue
        settled, layer = by_id[node.id].settled, by_id[node.id].layer
        recipe = node.kind.build(settled.request, settled.pins)
        is_impure = recipe.network or any(isinstance(each, Cache | Secret) for each in recipe.shown)
        pure[node.id] = (
            node.kind.pinned and not settled.inputs and not is_impure and all(pure[each] for each in node.needs)
        )
        has_pins = resolution.needs_resolution(node.kind)
        if not node.kind.pinned or node.of or not (has_pins or settled.fetches):  # a base's pins are its parts' too
            continue
        entries.append(
            LockEntry(
                question=resolution.question_for_lock(
                    node, settled.request, [by_id[each].settled for each in node.below]
                ),
                pins=settled.pins,
                files=() if has_pins else tuple(_file(fetch) for fetch in settled.fetches),
                key=settled.key if pure[node.id] else "",
                diff_id=layer.diff_id if pure[node.id] else "",
            )
        )
    return tuple(entries)


def _file(fetch: Fetch) -> Mapping[str, Json]:
    pinned: dict[str, Json] = {"name": fetch.name, "url": fetch.url, "sha256": fetch.sha256}
    return pinned | ({"size": fetch.size} if fetch.size else {})


def check_lock(graph: Graph, lock: Lock, context: Context, file: str) -> None:
    """Raises SpecError with every base and layer that the lock (in `file`) has no answer for.

    Layers on this machine's own system are checked less strictly: their answers come from machines like this one, and
    without such an answer another machine's entry for the same question is enough.
    """
    known: dict[str, ResolvedNode] = {}
    problems: dict[Problem, None] = {}
    for node in graph.nodes.values():
        if any(each not in known for each in node.below):
            continue  # a parent is the problem, or is not known here
        below = [known[each] for each in node.below]
        request = _request(node, below, context)
        if request is None:
            continue
        pins: Json = None
        if resolution.needs_resolution(node.kind) and not node.kind.pinned:
            continue
        if resolution.needs_resolution(node.kind):
            question = resolution.question_for_lock(node, request, below)
            answer = resolution.find_locked_answer(node, request, question, context)
            if answer is None:
                problems[_stale_problem(node, question, lock, context, file)] = None
                continue
            pins = answer.pins
        known[node.id] = resolution.apply_pins(node, request, pins)
    problems |= dict.fromkeys(_host_base_problems(graph, lock, context, file))
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda each: (each.where, each.message))))


def _request(node: Node, below: Sequence[ResolvedNode], context: Context) -> Request | None:
    """Returns the request of a node for its question to a lock; None where an input is missing, which its envs
    report."""
    try:
        return resolution.request_from_resolved(node, below, (), context)
    except SpecError:
        return None


def _host_base_problems(graph: Graph, lock: Lock, context: Context, file: str) -> list[Problem]:
    problems = []
    asked = {(entry.question.kind, keys.digest(entry.question.asked)) for entry in lock.entries}
    for node in graph.nodes.values():
        base = graph.nodes[node.below[0]] if node.below else node
        if base.kind.pinned or not resolution.needs_resolution(node.kind) or node is base:
            continue
        request = _request(node, [], context)
        if request is None:
            continue
        options = node.kind.question(request)
        if (node.kind.name, keys.digest(options)) not in asked:
            question = LockQuestion(
                subject=node.subject, name=node.spec.name, kind=node.kind.name, platform="", asked=options
            )
            problems.append(_stale_problem(node, question, lock, context, file))
    return problems


def _stale_problem(node: Node, question: LockQuestion, lock: Lock, context: Context, file: str) -> Problem:
    nearest = min(
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
    if nearest is None:
        why = f"{file} knows nothing of {node.subject} `{node.spec.name}`"
    elif nearest.kind != question.kind:
        why = f"{file} has {node.subject} `{node.spec.name}` as kind `{nearest.kind}`, not `{question.kind}`"
    elif nearest.asked == question.asked and nearest.platform != question.platform:
        why = f"{file} has {node.subject} `{node.spec.name}` for {nearest.platform}, not for {question.platform}"
    elif nearest.asked == question.asked:
        why = f"{file} has {node.subject} `{node.spec.name}` on other pins below it"
    else:
        why = f"{file} no longer fits {node.subject} `{node.spec.name}`{_describe_changes(nearest, question)}"
    hint = "`envtool lock` brings the lock up to date, and moves nothing else"
    where = node.spec.where
    return Problem(where=where, message=why, code="lock-stale", hint=hint, text=_line(node.spec, context), width=0)


def _changes(near: LockQuestion, question: LockQuestion) -> tuple[Change, ...]:
    old, new = (ComparedDocument(document={"question": each.asked, "kind": each.kind}) for each in (near, question))
    return compare_question(old, new)


def _describe_changes(near: LockQuestion, question: LockQuestion) -> str:
    """Lists the changes of a question, as in ": packages new attrs"; the message goes on with it."""
    changes = _changes(near, question)
    parts = []
    for change in changes[:MAX_CHANGES]:
        word = {"added": "new", "removed": "gone", "order": "in another order"}.get(change.how, "changed")
        values = " → ".join(_short(each) for each in (change.old, change.new) if each)
        parts.append(" ".join(filter(None, (_short(change.name), change.note or word, values))))
    more = [f"and {len(changes) - MAX_CHANGES} more"] if len(changes) > MAX_CHANGES else []
    return f": {', '.join([*parts, *more])}" if parts else ": it was asked for something else"


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def _line(spec: object, context: Context) -> str:
    where = spec.where if isinstance(spec, LayerSpec) else getattr(spec, "where", None)
    try:
        text = source_files.ProjectFiles(context.root).read(where.file) or ""  # type: ignore[union-attr]
    except Exception:
        return ""
    return [*text.splitlines()[where.line - 1 : where.line], ""][0]  # type: ignore[union-attr]

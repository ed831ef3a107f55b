"""Makes the entries of a lock, and checks that a lock answers a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envtool import keys
from envtool.api import Cache, Fetch, Secret
from envtool.build import resolution
from envtool.build.assess import NodeState, Sources, StateReader
from envtool.build.context import Context
from envtool.build.stack import KnownLayer, ResolvedNode
from envtool.errors import Problem, SpecError
from envtool.lock.lock import Lock, LockEntry, LockQuestion
from envtool.model import Json, LayerSpec
from envtool.plan.graph import Graph, Node
from envtool.project import source_files

if TYPE_CHECKING:
    from envtool.plan.change_values import Change

MAX_CHANGES = 5  # changes of one layer that a message lists
MAX_VALUE_LENGTH = 40  # characters of a name or value in a message


def lock_entries(graph: Graph, made: Sequence[KnownLayer]) -> tuple[LockEntry, ...]:
    """Returns an entry for each built node with pins or files, except what only this machine has (kind `host`)."""
    by_id = {each.resolved.node.id: each for each in made}
    entries: list[LockEntry] = []
    pure: dict[str, bool] = {}  # decided by pins and spec alone, not by the project, a network or another machine
    for node in graph.nodes.values():
        if node.id not in by_id:
            continue
        resolved = by_id[node.id].resolved
        recipe = node.kind.build(resolved.request, resolved.pins)
        is_impure = recipe.network or any(isinstance(each, Cache | Secret) for each in recipe.shown)
        pure[node.id] = (
            node.is_pinned and not resolved.inputs and not is_impure and all(pure[each] for each in node.needs)
        )
        has_pins = resolution.needs_resolution(node.kind)
        if not node.is_pinned or node.of or not (has_pins or resolved.fetches):  # a base's pins are its parts' too
            continue
        entries.append(
            LockEntry(
                question=resolution.question_for_lock(
                    node, resolved.request, [by_id[each].resolved for each in node.below]
                ),
                pins=resolved.pins,
                files=() if has_pins else tuple(_file(fetch) for fetch in resolved.fetches),
                key=resolved.key if pure[node.id] else "",
                diff_id=by_id[node.id].diff_id if pure[node.id] else "",
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
    reader = StateReader(context, Sources(store=False, assume=True))
    problems: dict[Problem, None] = {}
    for node in graph.nodes.values():
        state = _read_state(reader, graph, node)
        if state is None or state.request is None or state.resolved is not None or not node.is_pinned:
            continue  # a parent is the problem, or the node is not known here
        below = [resolved for parent in node.below if (resolved := _resolved(reader, parent)) is not None]
        question = resolution.question_for_lock(node, state.request, below)
        problems[_stale_problem(node, question, lock, context, file)] = None
    problems |= dict.fromkeys(_host_base_problems(graph, lock, context, file))
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda each: (each.where, each.message))))


def _read_state(reader: StateReader, graph: Graph, node: Node) -> NodeState | None:
    """Returns what the lock says of a node; None where an input is missing, which its envs report. Raises SpecError for
    wrong pins in the lock."""
    try:
        return reader.read(graph, [node.id])[node.id]
    except SpecError as error:
        if any(problem.code == "lock-pins" for problem in error.problems):
            raise
        return None


def _resolved(reader: StateReader, node_id: str) -> ResolvedNode | None:
    state = reader.known(node_id)
    return state.resolved if state else None


def _host_base_problems(graph: Graph, lock: Lock, context: Context, file: str) -> list[Problem]:
    problems = []
    asked = {(entry.question.kind, keys.digest(entry.question.asked)) for entry in lock.entries}
    for node in graph.nodes.values():
        base = graph.nodes[node.below[0]] if node.below else node
        if base.is_pinned or not resolution.needs_resolution(node.kind) or node is base:
            continue
        try:
            request = resolution.request_from_resolved(node, (), (), context)
        except SpecError:
            continue  # an input is missing, which its envs report
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
    hint = "`envtool lock` updates the lock, and changes no other versions"
    where = node.spec.where
    return Problem(where=where, message=why, code="lock-stale", hint=hint, text=_line(node.spec, context), width=0)


def _changes(near: LockQuestion, question: LockQuestion) -> tuple[Change, ...]:
    from envtool.plan.change_values import ComparedDocument  # a lock that fits has nothing to compare
    from envtool.plan.compare_documents import compare_question

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
    return f": {', '.join([*parts, *more])}" if parts else ": it was resolved for other options"


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def _line(spec: object, context: Context) -> str:
    where = spec.where if isinstance(spec, LayerSpec) else getattr(spec, "where", None)
    try:
        text = source_files.ProjectFiles(context.root).read(where.file) or ""  # type: ignore[union-attr]
    except Exception:
        return ""
    return [*text.splitlines()[where.line - 1 : where.line], ""][0]  # type: ignore[union-attr]

"""Makes the entries of a lock, and checks that a lock answers a spec.

`check_lock` is what each run with `--locked` asks: has every question an answer? `find_lock_faults` is stricter, for
`lock --check`: would `envtool lock` change a pin or a file?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from envtool import keys
from envtool.build import resolution
from envtool.build.assess import NodeState, Sources, StateReader
from envtool.build.context import Context
from envtool.build.stack import KnownLayer, ResolvedNode
from envtool.errors import Problem, SpecError
from envtool.lock.lock import Lock, LockEntry, LockQuestion
from envtool.model import Json, LayerSpec, Where
from envtool.plan.graph import Graph, Node
from envtool.project import source_files

if TYPE_CHECKING:
    from envtool.api import Fetch, Request
    from envtool.plan.change_values import Change

MAX_CHANGES = 5  # changes of one layer that a message lists
MAX_VALUE_LENGTH = 40  # characters of a name or value in a message


def lock_entries(graph: Graph, made: Sequence[KnownLayer]) -> tuple[LockEntry, ...]:
    """Returns an entry for each built node with pins or files, except what only this machine has (kind `host`)."""
    from envtool.api import Cache, Secret

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
            node.is_pinned
            and not (resolved.inputs or recipe.project_directory or is_impure)
            and all(pure[each] for each in node.needs)
        )
        entry = entry_of(node, resolved, [by_id[each].resolved for each in node.below])
        if entry is not None and pure[node.id]:
            entry = replace(entry, key=resolved.key, diff_id=by_id[node.id].diff_id)
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def entry_of(node: Node, resolved: ResolvedNode, below: Sequence[ResolvedNode]) -> LockEntry | None:
    """Returns the entry of a node on its parents, without the hashes of the built layer; None for one that has no pins
    and files, or none that another machine could use."""
    has_pins = resolution.needs_resolution(node.kind)
    if not node.is_pinned or node.of or not (has_pins or resolved.fetches):  # a base's pins are its parts' too
        return None
    return LockEntry(
        question=resolution.question_for_lock(node, resolved.request, below),
        pins=resolved.pins,
        files=() if has_pins else tuple(_file(fetch) for fetch in resolved.fetches),
    )


def _file(fetch: Fetch) -> Mapping[str, Json]:
    pinned: dict[str, Json] = {"name": fetch.name, "url": fetch.url, "sha256": fetch.sha256}
    return pinned | ({"size": fetch.size} if fetch.size else {})


class LockFault(NamedTuple):
    """What `envtool lock` would change: an entry that is `missing`, one that no longer fits (`stale`), or one that
    nothing asks for (`unused`). `subject` and `name` are those of the base or layer; of a lock that does not exist or
    cannot be read (`broken`) they are "lock" and its file. Or a layer whose lock file of the `project` (uv.lock) does
    not fit the project's other files, which another tool mends."""

    state: Literal["missing", "stale", "unused", "broken", "project"]
    subject: str
    name: str
    platform: str
    problem: Problem


def check_lock(graph: Graph, lock: Lock, context: Context, file: str) -> None:
    """Raises SpecError with every base and layer that the lock (in `file`) has no answer for.

    Layers on this machine's own system are checked less strictly: their answers come from machines like this one, and
    without such an answer another machine's entry for the same question is enough.
    """
    reader = StateReader(context, Sources(store=False, assume=True))
    unanswered = (
        _unanswered(state.node, resolution.question_for_lock(state.node, request, below), lock, context, file)
        for state, request, below in _read_asking(reader, graph)
        if state.resolved is None
    )
    problems = dict.fromkeys(fault.problem for fault in unanswered)
    problems |= dict.fromkeys(fault.problem for fault in _host_base_faults(graph, lock, context, file))
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda each: (each.where, each.message))))


def find_lock_faults(
    graph: Graph, lock: Lock, context: Context, file: str, *, whole: bool = True
) -> tuple[LockFault, ...]:
    """Returns all that `envtool lock` would change in the pins and files of the lock, for the architecture of the
    context; the hashes of built layers do not count. Asks nobody. `whole`: the graph has all envs, so that entries of
    other names are unused. Raises SpecError for inputs that do not exist, and for wrong pins in the lock."""
    reader = StateReader(context, Sources(store=False, assume=True, checks=True))
    reader.read(graph)  # raises for inputs that do not exist
    faults: dict[LockFault, None] = {}
    asked: set[str] = set()
    for state, request, below in _read_asking(reader, graph):
        node, resolved = state.node, state.resolved
        question = resolution.question_for_lock(node, request, below)
        if resolved is None or (_needs_files(resolved) and not _has_files(lock, question, resolved)):
            faults[_unanswered(node, question, lock, context, file)] = None
        asked.add(question.id)
    faults |= dict.fromkeys(_host_base_faults(graph, lock, context, file))
    names = {(node.subject, node.spec.name) for node in graph.nodes.values()}
    unused: list[LockFault] = []
    for entry in lock.entries:
        question = entry.question
        is_named = (question.subject, question.name) in names
        # below a fault the questions are not known, so that an entry of a name that is there may be asked for
        is_unused = not faults if is_named else whole
        if question.platform == context.arch and question.id not in asked and is_unused:
            unused.append(_unused(entry, file))
    return (*sorted(faults, key=lambda fault: (fault.problem.where, fault.problem.message)), *unused)


def _read_asking(reader: StateReader, graph: Graph) -> Iterator[tuple[NodeState, Request, list[ResolvedNode]]]:
    """Yields the states of the pinned nodes whose parents have pins in the lock, with their requests and parents."""
    for node in graph.nodes.values():
        state = _read_state(reader, graph, node)
        if state is None or state.request is None or not node.is_pinned:
            continue  # a parent is the problem, or the node is not known here
        below = [resolved for parent in node.below if (resolved := _resolved(reader, parent)) is not None]
        yield state, state.request, below


def _needs_files(resolved: ResolvedNode) -> bool:
    """Whether the lock has the files of a node, since it has no pins of it."""
    return bool(resolved.fetches) and not resolution.needs_resolution(resolved.node.kind)


def _has_files(lock: Lock, question: LockQuestion, resolved: ResolvedNode) -> bool:
    entry = lock.answer(question)
    return entry is not None and [*entry.files] == [_file(fetch) for fetch in resolved.fetches]


def _unused(entry: LockEntry, file: str) -> LockFault:
    question = entry.question
    problem = Problem(
        where=entry.where or Where(file=file, line=1, column=1),
        message=f"nothing asks for this entry of {question.subject} `{question.name}` any more",
        code="lock-unused",
        hint="`envtool lock` removes it",
        width=0,
    )
    return LockFault("unused", question.subject, question.name, question.platform, problem)


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


def _host_base_faults(graph: Graph, lock: Lock, context: Context, file: str) -> list[LockFault]:
    faults = []
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
            faults.append(_unanswered(node, question, lock, context, file))
    return faults


def _unanswered(node: Node, question: LockQuestion, lock: Lock, context: Context, file: str) -> LockFault:
    """Returns what is wrong with the entry that is nearest to a question without an answer."""
    state: Literal["missing", "stale"] = "stale"
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
        why, state = f"{file} knows nothing of {node.subject} `{node.spec.name}`", "missing"
    elif nearest.kind != question.kind:
        why = f"{file} has {node.subject} `{node.spec.name}` as kind `{nearest.kind}`, not `{question.kind}`"
    elif nearest.asked == question.asked and nearest.platform != question.platform:
        why = f"{file} has {node.subject} `{node.spec.name}` for {nearest.platform}, not for {question.platform}"
        state = "missing"
    elif nearest.asked == question.asked and nearest.ground == question.ground:
        why = f"{file} has other files of {node.subject} `{node.spec.name}`"
    elif nearest.asked == question.asked:
        why = f"{file} has {node.subject} `{node.spec.name}` on other pins below it"
    else:
        why = f"{file} no longer fits {node.subject} `{node.spec.name}`{_describe_changes(nearest, question)}"
    hint = "`envtool lock` updates the lock, and changes no other versions"
    where = node.spec.where
    text = _line(node.spec, context)
    problem = Problem(where=where, message=why, code="lock-stale", hint=hint, text=text, width=0)
    return LockFault(state, node.subject, node.spec.name, question.platform, problem)


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

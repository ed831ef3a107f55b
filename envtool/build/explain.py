"""Gathers what `envtool why` reports: the graph as it is now, and earlier builds and questions in the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from envtool.build import resolution
from envtool.build.assess import NodeState, assess_nodes, known_layers
from envtool.build.context import Context
from envtool.build.source_lines import LockLineFinder, locate_items
from envtool.build.stack import KnownLayer
from envtool.model import Json
from envtool.plan import why
from envtool.plan.change_values import Parent
from envtool.plan.graph import Graph
from envtool.plan.json_diff import MISSING
from envtool.plan.selection import envs_of
from envtool.plan.why import CurrentNode, Explanation, NearestBuild, PastBuild, PastQuestion
from envtool.store import history


def explain_nodes(
    graph: Graph,
    context: Context,
    wanted: Collection[str],
    *,
    states: Mapping[str, NodeState] | None = None,
    lock: LockLineFinder | None = None,
    misses: bool = False,
) -> tuple[Explanation, ...]:
    """Explains some nodes (ids), each after its parents; with `misses` only those that are not cached. `states` are the
    assessments of the whole graph; `lock` finds the lines of pins in a lock. Reads the store once for all of them.
    Raises SpecError."""
    states = states if states is not None else assess_nodes(graph, context)
    envs = envs_of(graph)
    selected = [state for state in states.values() if state.node.id in wanted and not (misses and state.is_cached)]
    subjects = {state.node.id: _subject(state, states, envs[state.node.id], context) for state in selected}
    missing = [subjects[state.node.id] for state in selected if not state.is_cached]
    nearest = _nearest(missing, context)
    questions = _questions(missing, context) | _locked_questions(selected, subjects, states, context)
    documents = [past.document for past in nearest.values()] + [question.question for question in questions.values()]
    past_parents = find_past_parents([document.get("below") for document in documents], context)
    explanations = []
    for state in selected:
        subject = subjects[state.node.id]
        past, question = nearest.get(id(subject)), questions.get(id(subject))
        below = (past.document if past else question.question if question else {}).get("below")
        contents = None
        if state.is_cached and state.output is not None:
            layer, diff_id = state.layer, state.output.diff_id
            document = layer.document if layer else state.output.resolved.document
            size, entries = (layer.size, layer.entries) if layer else (0, 0)
            contents = why.node_contents(
                document, subject.below, subject.package, diff_id=diff_id, size=size, entries=entries
            )
            past = _own_build(state, context)
        explanations.append(
            why.explain_node(
                subject,
                past=past,
                ground=name_past_parents(below, subject.below, past_parents),
                asked=question,
                content=contents,
                places=locate_items(state, known_layers(state.node.below, states), context, lock),
            )
        )
    return tuple(explanations)


def _subject(state: NodeState, states: Mapping[str, NodeState], envs: tuple[str, ...], context: Context) -> CurrentNode:
    node, request = state.node, state.request
    if request is None:  # the inputs of a node do not depend on its parents
        request = resolution.request_for(node, (), context)
    missing = [states[node_id] for node_id in state.waits]
    first = [
        parent for parent in missing if parent.request is not None
    ] or missing  # a sublayer may not stand on the nodes that these wait for
    is_question = state.resolved is None and not missing
    return CurrentNode(
        name=node.spec.name,
        subject=node.subject,
        kind=node.kind.name,
        where=node.spec.where,
        pinned=node.is_pinned,
        envs=envs,
        project=context.root,
        options=node.spec.options,
        inputs=tuple([item.path, item.sha256, item.executable, item.link] for item in request.inputs),
        below=tuple(as_parent(layer) for layer in known_layers(node.below, states)),
        waits=tuple(parent.node.spec.name for parent in first),
        question=resolution.pins_question(node, request) if is_question else None,
        document=state.resolved.document if state.resolved else None,
        key=state.key,
        summary=node.kind.summary(request, state.resolved.pins) if state.resolved else "",
        package=node.kind.package,
    )


def as_parent(layer: KnownLayer) -> Parent:
    """Returns a node whose diff ID is known as a parent."""
    node = layer.resolved.node
    document = layer.layer.document if layer.layer else layer.resolved.document
    return Parent(
        diff_id=layer.diff_id, name=node.spec.name, subject=node.subject, document=document, package=node.kind.package
    )


def _nearest(missing: Sequence[CurrentNode], context: Context) -> dict[int, PastBuild]:
    """Returns the nearest earlier build of each subject that has one, by id() of the subject."""
    by_kind: dict[str, list[NearestBuild]] = {}
    seekers = {id(subject): NearestBuild(subject) for subject in missing if subject.question is None}
    for seeker in seekers.values():
        by_kind.setdefault(seeker.subject.sort, []).append(seeker)
    if by_kind:
        for built in history.earlier_builds(context.store, kinds=by_kind):
            past = _past_build(built)
            for seeker in by_kind.get(str(built.document["kind"]), ()):
                seeker.offer(past)
    return {number: seeker.best for number, seeker in seekers.items() if seeker.best is not None}


def _questions(missing: Sequence[CurrentNode], context: Context) -> dict[int, PastQuestion]:
    unresolved = [subject for subject in missing if subject.question is not None]
    if not unresolved:
        return {}
    kinds = {subject.sort for subject in unresolved}
    earlier = [
        PastQuestion(question=past.question, time=past.time) for past in history.earlier_questions(context.store, kinds)
    ]
    nearest = {id(subject): why.nearest_question(subject, earlier) for subject in unresolved}
    return {number: question for number, question in nearest.items() if question is not None}


def _locked_questions(
    selected: Sequence[NodeState],
    subjects: Mapping[str, CurrentNode],
    states: Mapping[str, NodeState],
    context: Context,
) -> dict[int, PastQuestion]:
    """Returns the lock's answer to another question under the same name, for each subject that has no answer."""
    questions: dict[int, PastQuestion] = {}
    for state in selected:
        subject = subjects[state.node.id]
        if subject.question is None or state.request is None:
            continue
        question = resolution.question_for_lock(
            state.node, state.request, [each.resolved for each in known_layers(state.node.below, states)]
        )
        entry = context.lock.nearest(question)
        if entry is not None:
            document = {**subject.question, "question": entry.question.asked}
            document |= {"ground": entry.question.ground} if entry.question.ground != question.ground else {}
            questions[id(subject)] = PastQuestion(question=document, locked=True)
    return questions


def _past_build(stored: history.StoredBuild) -> PastBuild:
    record = stored.built
    return PastBuild(
        key=stored.key,
        document=stored.document,
        diff_id=stored.diff_id,
        time=stored.time,
        name=str(record.get("name", "")),
        project=str(record.get("project", "")),
        options=record.get("options", MISSING),
        pulled=_origin(record.get("pulled")),
        refused=str(record.get("refused", "")),
    )


def _origin(pulled: Json) -> str:
    if not isinstance(pulled, dict):
        return ""
    return f"{pulled.get('registry', '')}, signed by {pulled.get('signed', '')}"


def _own_build(state: NodeState, context: Context) -> PastBuild | None:
    """Returns the build that a cached node came from."""
    stored = history.read_build(context.store, state.key)
    return _past_build(stored) if stored else None


def find_past_builds(kinds: Collection[str], context: Context) -> list[PastBuild]:
    """Returns all layers in the store of these kinds ("layer:pip", "state:prepare")."""
    return [_past_build(stored) for stored in history.earlier_builds(context.store, kinds=kinds)]


def find_past_parents(belows: Iterable[Json], context: Context) -> dict[str, list[PastBuild]]:
    """Returns the stored layers, by diff ID, that earlier builds stood on. `belows` are lists of diff IDs."""
    diff_ids = {str(diff_id) for below in belows if isinstance(below, list) for diff_id in below}
    builds: dict[str, list[PastBuild]] = {}
    if diff_ids:
        for stored in history.earlier_builds(context.store, diff_ids=diff_ids):
            builds.setdefault(stored.diff_id, []).append(_past_build(stored))
    return builds


def name_past_parents(
    below: Json, parents: Sequence[Parent], builds: Mapping[str, list[PastBuild]]
) -> tuple[Parent, ...]:
    """Returns the parents of an earlier build, with the names of today's parents (`here`) where they are the same."""
    by_diff_id = {parent.diff_id: parent for parent in parents}
    names = {parent.name for parent in parents}
    past_parents = []
    for diff_id in below if isinstance(below, list) else ():
        if str(diff_id) in by_diff_id:
            past_parents.append(by_diff_id[str(diff_id)])
        elif candidates := builds.get(str(diff_id)):
            best = max(candidates, key=lambda past: (past.name in names, past.time))
            subject, _, kind = str(best.document.get("kind", "")).partition(":")
            is_base = subject == "base"
            past_parents.append(
                Parent(
                    diff_id=best.diff_id,
                    name=best.name or (kind if is_base else ""),
                    subject="base" if is_base else "layer",
                    document=best.document,
                )
            )
    return tuple(past_parents)

"""Gathers what `envtool why` reports: the graph as it is now, and earlier builds and questions in the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from envtool.build import resolution
from envtool.build.assess import Assessment, assess_nodes, stored_layers
from envtool.build.context import Context
from envtool.build.source_lines import LockLineFinder, locate_items
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
    looks: Mapping[str, Assessment] | None = None,
    lock: LockLineFinder | None = None,
    misses: bool = False,
) -> tuple[Explanation, ...]:
    """Explains some nodes (ids), each after its parents; with `misses` only those that are not cached. `looks` are the
    assessments of the whole graph; `lock` finds the lines of pins in a lock. Reads the store once for all of them.
    Raises SpecError."""
    looks = looks if looks is not None else assess_nodes(graph, context)
    envs = envs_of(graph)
    selected = [
        assessment
        for assessment in looks.values()
        if assessment.node.id in wanted and not (misses and assessment.layer)
    ]
    subjects = {
        assessment.node.id: _subject(assessment, looks, envs[assessment.node.id], context) for assessment in selected
    }
    missing = [subjects[assessment.node.id] for assessment in selected if assessment.layer is None]
    nearest = _nearest(missing, context)
    questions = _questions(missing, context) | _locked_questions(selected, subjects, looks, context)
    documents = [past.document for past in nearest.values()] + [question.question for question in questions.values()]
    past_parents = find_past_parents([document.get("below") for document in documents], context)
    explanations = []
    for assessment in selected:
        subject = subjects[assessment.node.id]
        past, question = nearest.get(id(subject)), questions.get(id(subject))
        below = (past.document if past else question.question if question else {}).get("below")
        contents = None
        if assessment.layer is not None:
            layer = assessment.layer
            contents = why.node_contents(
                layer.document, subject.below, diff_id=layer.diff_id, size=layer.size, entries=layer.entries
            )
            past = _own_build(assessment, context)
        explanations.append(
            why.explain_node(
                subject,
                past=past,
                ground=name_past_parents(below, subject.below, past_parents),
                asked=question,
                content=contents,
                places=locate_items(assessment, stored_layers(assessment.node.below, looks), context, lock),
            )
        )
    return tuple(explanations)


def _subject(
    assessment: Assessment, looks: Mapping[str, Assessment], envs: tuple[str, ...], context: Context
) -> CurrentNode:
    node, request = assessment.node, assessment.request
    if request is None:  # the inputs of a node do not depend on its parents
        request = resolution.request_for(node, (), context)
    missing = [looks[node_id] for node_id in node.needs if looks[node_id].layer is None]
    first = [
        parent for parent in missing if parent.request is not None
    ] or missing  # a sublayer may not stand on the nodes that these wait for
    is_question = assessment.settled is None and not missing
    return CurrentNode(
        name=node.spec.name,
        subject=node.subject,
        kind=node.kind.name,
        where=node.spec.where,
        pinned=node.kind.pinned,
        envs=envs,
        project=context.root,
        options=node.spec.options,
        inputs=tuple([item.path, item.sha256, item.executable, item.link] for item in request.inputs),
        below=tuple(as_parent(looks[node_id]) for node_id in node.below if looks[node_id].layer),
        waits=tuple(parent.node.spec.name for parent in first),
        question=resolution.pins_question(node, request) if is_question else None,
        document=assessment.settled.document if assessment.settled else None,
        key=assessment.settled.key if assessment.settled else "",
        summary=node.kind.summary(request, assessment.settled.pins) if assessment.settled else "",
    )


def as_parent(assessment: Assessment) -> Parent:
    """Returns a cached node as a parent."""
    assert assessment.layer is not None
    document = assessment.layer.document
    return Parent(
        diff_id=assessment.layer.diff_id,
        name=assessment.node.spec.name,
        subject=assessment.node.subject,
        document=document,
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
    selected: Sequence[Assessment],
    subjects: Mapping[str, CurrentNode],
    looks: Mapping[str, Assessment],
    context: Context,
) -> dict[int, PastQuestion]:
    """Returns the lock's answer to another question under the same name, for each subject that has no answer."""
    questions: dict[int, PastQuestion] = {}
    for assessment in selected:
        subject = subjects[assessment.node.id]
        if subject.question is None or assessment.request is None:
            continue
        question = resolution.question_for_lock(
            assessment.node, assessment.request, [each.settled for each in stored_layers(assessment.node.below, looks)]
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


def _own_build(assessment: Assessment, context: Context) -> PastBuild | None:
    """Returns the build that a cached node came from."""
    assert assessment.layer is not None
    stored = history.read_build(context.store, assessment.layer.key)
    return _past_build(stored) if stored else None


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

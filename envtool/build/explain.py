"""Gathers what `envtool why` is told from: the graph as it stands, and earlier builds and questions in the store."""

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
    setting: Context,
    wanted: Collection[str],
    *,
    looks: Mapping[str, Assessment] | None = None,
    lock: LockLineFinder | None = None,
    misses: bool = False,
) -> tuple[Explanation, ...]:
    """What is said of some nodes (ids), each after what it stands on; with `misses` only of those that are not cached.
    `looks` are those of the whole graph, `lock` knows places of pins in a lock. Reads the store once for all of them.
    Raises SpecError."""
    looks = looks if looks is not None else assess_nodes(graph, setting)
    envs = envs_of(graph)
    shown = [one for one in looks.values() if one.node.id in wanted and not (misses and one.layer)]
    subjects = {one.node.id: _subject(one, looks, envs[one.node.id], setting) for one in shown}
    missing = [subjects[one.node.id] for one in shown if one.layer is None]
    nearest = _nearest(missing, setting)
    questions = _questions(missing, setting) | _locked(shown, subjects, looks, setting)
    documents = [past.document for past in nearest.values()] + [asked.question for asked in questions.values()]
    ground = find_past_parents([document.get("below") for document in documents], setting)
    told = []
    for one in shown:
        subject = subjects[one.node.id]
        past, asked = nearest.get(id(subject)), questions.get(id(subject))
        below = (past.document if past else asked.question if asked else {}).get("below")
        content = None
        if one.layer is not None:
            layer = one.layer
            content = why.node_contents(
                layer.document, subject.below, diff_id=layer.diff_id, size=layer.size, entries=layer.entries
            )
            past = _own_build(one, setting)
        told.append(
            why.explain_node(
                subject,
                past=past,
                ground=name_past_parents(below, subject.below, ground),
                asked=asked,
                content=content,
                places=locate_items(one, stored_layers(one.node.below, looks), setting, lock),
            )
        )
    return tuple(told)


def _subject(one: Assessment, looks: Mapping[str, Assessment], envs: tuple[str, ...], setting: Context) -> CurrentNode:
    node, request = one.node, one.request
    if request is None:  # its inputs do not depend on what is below
        request = resolution.request_for(node, (), setting)
    waits = [looks[node_id] for node_id in node.needs if looks[node_id].layer is None]
    first = [
        other for other in waits if other.request is not None
    ] or waits  # a part may not stand on what they wait for
    asks = one.settled is None and not waits
    return CurrentNode(
        name=node.spec.name,
        subject=node.subject,
        kind=node.kind.name,
        where=node.spec.where,
        pinned=node.kind.pinned,
        envs=envs,
        project=setting.root,
        options=node.spec.options,
        inputs=tuple([item.path, item.sha256, item.executable, item.link] for item in request.inputs),
        below=tuple(as_parent(looks[node_id]) for node_id in node.below if looks[node_id].layer),
        waits=tuple(other.node.spec.name for other in first),
        question=resolution.pins_question(node, request) if asks else None,
        document=one.settled.document if one.settled else None,
        key=one.settled.key if one.settled else "",
        summary=node.kind.summary(request, one.settled.pins) if one.settled else "",
    )


def as_parent(one: Assessment) -> Parent:
    """A node that is cached, as something to stand on."""
    assert one.layer is not None
    document = one.layer.document
    return Parent(diff_id=one.layer.diff_id, name=one.node.spec.name, subject=one.node.subject, document=document)


def _nearest(missing: Sequence[CurrentNode], setting: Context) -> dict[int, PastBuild]:
    """The nearest earlier build of each subject, where there is one."""
    by_kind: dict[str, list[NearestBuild]] = {}
    seekers = {id(subject): NearestBuild(subject) for subject in missing if subject.question is None}
    for seeker in seekers.values():
        by_kind.setdefault(seeker.subject.sort, []).append(seeker)
    if by_kind:
        for built in history.earlier_builds(setting.store, kinds=by_kind):
            past = _past(built)
            for seeker in by_kind.get(str(built.document["kind"]), ()):
                seeker.offer(past)
    return {number: seeker.best for number, seeker in seekers.items() if seeker.best is not None}


def _questions(missing: Sequence[CurrentNode], setting: Context) -> dict[int, PastQuestion]:
    asking = [subject for subject in missing if subject.question is not None]
    if not asking:
        return {}
    kinds = {subject.sort for subject in asking}
    known = [
        PastQuestion(question=one.question, time=one.time) for one in history.earlier_questions(setting.store, kinds)
    ]
    found = {id(subject): why.nearest_question(subject, known) for subject in asking}
    return {number: asked for number, asked in found.items() if asked is not None}


def _locked(
    shown: Sequence[Assessment], subjects: Mapping[str, CurrentNode], looks: Mapping[str, Assessment], setting: Context
) -> dict[int, PastQuestion]:
    """What the lock answers to another question under the same name, for each subject that has to be asked."""
    found: dict[int, PastQuestion] = {}
    for one in shown:
        subject = subjects[one.node.id]
        if subject.question is None or one.request is None:
            continue
        question = resolution.question_for_lock(
            one.node, one.request, [each.settled for each in stored_layers(one.node.below, looks)]
        )
        entry = setting.lock.nearest(question)
        if entry is not None:
            other = {**subject.question, "question": entry.question.asked}
            other |= {"ground": entry.question.ground} if entry.question.ground != question.ground else {}
            found[id(subject)] = PastQuestion(question=other, locked=True)
    return found


def _past(built: history.StoredBuild) -> PastBuild:
    noted = built.built
    return PastBuild(
        key=built.key,
        document=built.document,
        diff_id=built.diff_id,
        time=built.time,
        name=str(noted.get("name", "")),
        project=str(noted.get("project", "")),
        options=noted.get("options", MISSING),
        pulled=_origin(noted.get("pulled")),
        refused=str(noted.get("refused", "")),
    )


def _origin(pulled: Json) -> str:
    if not isinstance(pulled, dict):
        return ""
    return f"{pulled.get('registry', '')}, signed by {pulled.get('signed', '')}"


def _own_build(one: Assessment, setting: Context) -> PastBuild | None:
    """The build that a cached node came from."""
    assert one.layer is not None
    found = history.read_build(setting.store, one.layer.key)
    return _past(found) if found else None


def find_past_parents(belows: Iterable[Json], setting: Context) -> dict[str, list[PastBuild]]:
    """The layers, by diff ID, that earlier builds stood on (lists of diff IDs), as far as they are still in the
    store."""
    wanted = {str(diff_id) for below in belows if isinstance(below, list) for diff_id in below}
    found: dict[str, list[PastBuild]] = {}
    if wanted:
        for built in history.earlier_builds(setting.store, diff_ids=wanted):
            found.setdefault(built.diff_id, []).append(_past(built))
    return found


def name_past_parents(below: Json, here: Sequence[Parent], found: Mapping[str, list[PastBuild]]) -> tuple[Parent, ...]:
    """What an earlier build stood on, by the names of now (`here`) where it is the same."""
    now = {one.diff_id: one for one in here}
    names = {one.name for one in here}
    out = []
    for diff_id in below if isinstance(below, list) else ():
        if str(diff_id) in now:
            out.append(now[str(diff_id)])
        elif candidates := found.get(str(diff_id)):
            best = max(candidates, key=lambda past: (past.name in names, past.time))
            subject, _, kind = str(best.document.get("kind", "")).partition(":")
            base = subject == "base"
            out.append(
                Parent(
                    diff_id=best.diff_id,
                    name=best.name or (kind if base else ""),
                    subject="base" if base else "layer",
                    document=best.document,
                )
            )
    return tuple(out)

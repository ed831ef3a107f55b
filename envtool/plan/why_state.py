"""Explains why the prepared state of a service is reused or made again: takes documents, returns an Explanation. Pure.

The documents are those of services.state_plan. State that is not in the store is compared with the newest earlier one
of the same service, in the same project if there is one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from envtool.keys import canonical_json
from envtool.model import Json, Where
from envtool.plan.change_values import Change, ComparedDocument, LocationLookup
from envtool.plan.compare_documents import compare
from envtool.plan.why import Explanation, NodeContents, PastBuild
from envtool.plan.why_services import Stacks, compare_services

NAME = "prepared state of "  # before the service's, also in the store
KIND = "prepare"  # of a PlannedStep and an Explanation
_PARTS = {
    "version": "the way in which envtool prepares state",
    "before": "a command of `before`",
    "run": "a command",
    "data": "the directories that are kept",
    "stop": "the stop signal",
}


class CurrentState(NamedTuple):
    """Prepared state of a service as it is now. `waits` names what its stack lacks: then there is no document yet."""

    service: str
    where: Where
    stack: str  # `service:NAME`
    project: str
    document: Mapping[str, Json] | None = None
    key: str = ""
    waits: tuple[str, ...] = ()
    content: NodeContents | None = None  # if the store has it
    summary: str = ""

    @property
    def name(self) -> str:
        """The name of the state."""
        return f"{NAME}{self.service}"


def select_past(current: CurrentState, past: Sequence[PastBuild]) -> PastBuild | None:
    """Returns the earlier state with which the current one is compared; for one in the store, its own."""
    if current.content is not None:
        return next((build for build in past if build.key == current.key), None)
    named = [build for build in past if build.name == current.name]
    return max(named, key=lambda build: (build.project == current.project, build.time), default=None)


def explain_state(
    current: CurrentState, past: PastBuild | None, stacks: tuple[Stacks, Stacks], places: LocationLookup
) -> Explanation:
    """Returns why state is reused or made. `stacks` name the layers of the services on each side, as far as they are
    known."""
    changes: tuple[Change, ...] = ()
    if current.document is None:
        past = None
    elif past is not None and current.content is None:
        changes = tuple(_compare(past.document, current.document, stacks, places))
    return Explanation(
        name=current.name,
        subject="state",
        kind=KIND,
        where=current.where,
        state="wait" if current.waits else "cached" if current.content is not None else "build",
        envs=(current.stack,),
        key=current.key,
        summary=current.summary,
        project=current.project,
        since=past,
        changes=changes,
        waits=current.waits,
        content=current.content,
    )


def describe_reason(explanation: Explanation) -> str:
    """Returns the reason for one line of a plan, as in: its command, input seed.sql changed."""
    if explanation.state == "wait":
        return "unknown until its stack is built"
    if explanation.state == "cached":
        return ""
    if explanation.since is None:
        return "the store has none of this service"
    words = list(dict.fromkeys(_name_change(change) for change in explanation.changes if not change.follows))
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return f"{', '.join(words[:3])}{more} changed" if words else "the store has none of this key"


def _name_change(change: Change) -> str:
    if change.part == "service":
        return change.note or f"the services that it needs ({change.name})"
    return change.note if change.part == "spec" else " ".join(filter(None, (change.part, change.name)))


def _compare(
    old: Mapping[str, Json], new: Mapping[str, Json], stacks: tuple[Stacks, Stacks], places: LocationLookup
) -> Iterator[Change]:
    for part, note in _PARTS.items():
        before, after = old.get(part), new.get(part)
        if canonical_json(before) != canonical_json(after):
            yield Change(part="spec", name=part, old=_show(before), new=_show(after), note=note)
    services = [[side.get("service"), *_rows(side.get("needs"))] for side in (old, new)]
    yield from compare_services(services[0], services[1], stacks, places) or ()
    sides = [ComparedDocument(document={"inputs": _rows(side.get("files"))}) for side in (old, new)]
    yield from compare(sides[0], sides[1], places=places)


def _rows(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _show(value: Json) -> str:
    """Returns commands as people write them, one a line; directories with commas."""
    if not isinstance(value, list):
        return "" if value is None else str(value)
    if all(isinstance(item, str) for item in value):
        return ", ".join(map(str, value))
    return "\n".join(_show_command(item) for item in value)


def _show_command(words: Json) -> str:
    if not isinstance(words, list):
        return str(words)
    texts = [str(word) for word in words]
    return texts[-1] if len(texts) == 3 and texts[1].startswith("-e") else shlex.join(texts)

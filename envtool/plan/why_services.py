"""Compares the services beside a task in two result documents (services.service_request.ServiceRequest.document). Pure.

Each change has the service's name; its note says what of the service differs, as in "its command".
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from envtool.keys import canonical_json
from envtool.model import Json
from envtool.plan.change_values import Change, LocationLookup, Parent, change_of
from envtool.plan.compare_documents import compare_parents
from envtool.plan.json_diff import JsonDifference, diff_json

Stacks = Mapping[str, Sequence[Parent]]  # service -> its base and layers, bottom first

WORDS = {
    "command": "its command",
    "user": "its user",
    "workdir": "its directory",
    "project": "whether it sees the project",
    "needs": "what it needs",
    "ready": "when it is ready",
    "ports": "its ports",
    "replicas": "its replicas",
    "once": "whether it is to end",
    "restart": "whether it is restarted",
    "prepare": "its prepared state: a command of `prepare`, or a file that one reads",
    "kernel": "the kernel of this machine, whose system it sees",
}
MEMBERS = {"variables": "its variable", "provides": "the variable that it provides,", "files": "its file"}


def compare_services(
    old: Json, new: Json, stacks: tuple[Stacks, Stacks], places: LocationLookup
) -> tuple[Change, ...] | None:
    """Returns the changes between two lists of services; none exactly when they are equal; None if one of the lists is
    no list of services. `stacks` name the layers of each side as far as they are known."""
    before, after = _by_name(old), _by_name(new)
    if before is None or after is None:
        return None
    changes = [*_compare(before, after, stacks, places)]
    if not changes and canonical_json(old) != canonical_json(new):
        changes.append(
            Change(
                part="service", name="", how="order", old=", ".join(before), new=", ".join(after), note="of services"
            )
        )
    return tuple(changes)


def _by_name(services: Json) -> dict[str, Mapping[str, Json]] | None:
    """Returns services by their names; None for a value that is no list of services with different names."""
    if not isinstance(services, list):
        return None
    named = {
        service["name"]: service
        for service in services
        if isinstance(service, dict) and isinstance(service.get("name"), str)
    }
    return named if len(named) == len(services) else None  # type: ignore[return-value]


def _compare(
    before: Mapping[str, Mapping[str, Json]],
    after: Mapping[str, Mapping[str, Json]],
    stacks: tuple[Stacks, Stacks],
    places: LocationLookup,
) -> Iterator[Change]:
    for name, service in after.items():
        where = places.service(name)
        if name not in before:
            yield Change(part="service", name=name, how="added", where=where)
        elif before[name] != service or canonical_json({**before[name]}) != canonical_json({**service}):
            sides = stacks[0].get(name, ()), stacks[1].get(name, ())
            changes = [*_compare_service(before[name], service, sides)]
            own = any(change.note != WORDS["prepare"] for change in changes)
            for change in changes:  # a prepared state stands on all else of the service
                follows = own and change.note == WORDS["prepare"]
                yield replace(change, part="service", name=name, where=where, follows=follows)
    yield from (Change(part="service", name=name, how="removed") for name in before if name not in after)


def _compare_service(
    old: Mapping[str, Json], new: Mapping[str, Json], stacks: tuple[Sequence[Parent], Sequence[Parent]]
) -> Iterator[Change]:
    for key in sorted({*old, *new}, key=lambda key: (key == "prepare", key)):
        if canonical_json(old.get(key)) == canonical_json(new.get(key)) and (key in old) == (key in new):
            continue
        if key == "stack":
            yield from _compare_stack(old.get(key), new.get(key), stacks)
        elif key in MEMBERS and isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            for difference in diff_json(old[key], new[key]):
                yield replace(change_of("service", difference), note=f"{MEMBERS[key]} {difference.path[0]}")
        else:
            difference = JsonDifference(path=(key,), old=_shown(key, old.get(key)), new=_shown(key, new.get(key)))
            change = change_of("service", difference)
            if key == "prepare":  # keys of layers say nothing to people
                change = replace(change, old="", new="")
            yield replace(change, note=WORDS.get(key, f"its {key}"))


def _shown(key: str, value: Json) -> Json:
    """Returns a value as people would write it: a command as one line, a list of names with commas."""
    words = [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(words) < len(value):
        return value
    if key == "command":
        return words[2] if words[:2] == ["/bin/sh", "-ec"] and len(words) == 3 else shlex.join(words)
    return ", ".join(words)


def _compare_stack(old: Json, new: Json, stacks: tuple[Sequence[Parent], Sequence[Parent]]) -> Iterator[Change]:
    """Yields changes of a service's base and layers. The key beside a diff ID is that of this machine's own system."""
    changes = [*compare_parents(*stacks, _diff_ids(old), _diff_ids(new))]
    for change in changes:
        words = f"its {change.part}{f' {change.name}' if change.name else 's'}"
        yield replace(change, note=", ".join(filter(None, (words, change.note))))
    if not changes:
        yield Change(part="service", name="", note="its base: what it shows of this machine")


def _diff_ids(rows: Json) -> list[Json]:
    return [row[0] for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []

"""Formats the state of replicas for `ps` and the log: as JSON values, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envtool.services.group_values import ReplicaState


def replica_fields(state: ReplicaState, published: Sequence[tuple[int, int]], memory: int) -> dict[str, Any]:
    """Returns a replica as JSON values; `published` are (port, port of this machine), `memory` bytes."""
    return {
        "service": state.service,
        "replica": state.replica,
        "state": "exited" if state.stage == "ended" else state.stage,
        "status": state.status,
        "since": round(state.since, 3),
        "restarts": state.restarts,
        "address": state.address,
        "published": [[port, host_port] for port, host_port in published],
        "memory": memory,
        "error": state.error.message[:2000] if state.error is not None else "",
    }


def state_words(fields: dict[str, Any]) -> str:
    """Returns the state of a replica in words: "ready", "restarting 3", "exited 0"."""
    match fields["state"]:
        case "exited" if fields["status"] is not None:
            return f"exited {fields['status']}"
        case "restarting":
            return f"restarting {fields['restarts']}"
        case "ready" if fields["restarts"]:
            return f"ready, restarts: {fields['restarts']}"
        case state:
            return str(state)


def describe_state(state: ReplicaState) -> str:
    """Returns a change of a replica as a line of the log."""
    match state.stage:
        case "ready":
            return f"{state.replica} is ready"
        case "restarting":
            how = f": {state.limit}" if state.limit else f" with {state.status}"
            return f"{state.replica} ended{how}, and starts again ({state.restarts})"
        case "ended":
            if state.killed:
                return f"{state.replica} did not end within its grace, and was killed"
            return f"{state.replica} ended" + (f" with {state.status}" if state.status and state.status < 128 else "")
        case "failed":
            return state.error.message if state.error is not None else f"{state.replica} failed"
        case stage:
            return f"{state.replica} is {stage}"


def describe_ignored(paths: Sequence[str]) -> str:
    """Returns a line of the log about files that no longer restart services."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        f"`{paths[0]}`{more} changed after each of the last restarts: until the next `up` that restarts nothing; let"
        " git ignore what services write"
    )


def describe_change(message: dict[str, Any]) -> str:
    """Returns a message about a change as one line: "api: replaced (command)"."""
    for word in ("started", "stopped", "unchanged"):
        if name := message.get(word):
            return f"{name}: {word}"
    if name := message.get("replaced"):
        fields = ", ".join(message.get("fields", ()))
        return f"{name}: replaced" + (f" ({fields})" if fields else "")
    if name := message.get("scaled"):
        count = message.get("replicas")
        return f"{name}: {count} replica{'' if count == 1 else 's'}"
    return ""

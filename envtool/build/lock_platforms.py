"""`lock --platform`: locks the bases and layers of a spec for another architecture, without running anything of it.

A kind that chooses its pins from indexes alone can do that for any architecture. One that asks programs of the stack
below (apt, pip, npm, cargo …) cannot, since these programs do not run here: it is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.build import resolution
from envtool.build.locking import entry_of
from envtool.build.scheduler import resolve
from envtool.errors import MakeError, Problem, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.build.context import Context
    from envtool.build.stack import ResolvedNode
    from envtool.lock.lock import LockEntry
    from envtool.plan.graph import Graph, Node

PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}  # as OCI has them -> as `uname -m` prints them


def machines_of(platforms: Sequence[str]) -> tuple[str, ...]:
    """Returns the machines of the values of `--platform`, each once. Raises UsageError."""
    for platform in platforms:
        if platform not in PLATFORMS:
            message = f"`--platform {platform}` is none that a lock can have"
            raise UsageError(message, code="lock-platform", hint=f"there are {' and '.join(PLATFORMS)}")
    return tuple(dict.fromkeys(PLATFORMS[platform] for platform in platforms))


def platform_of(machine: str) -> str:
    """Returns the value of `--platform` for a machine, or "" for one that has none."""
    return next((platform for platform, name in PLATFORMS.items() if name == machine), "")


def entries_for(graph: Graph, context: Context, machine: str) -> tuple[LockEntry, ...]:
    """Returns the entries of all bases and layers for another machine; they have no hash of a built layer. Raises
    SpecError with all that cannot be locked without such a machine, MakeError, Interrupted."""
    there = replace(context, arch=machine)
    known: dict[str, ResolvedNode] = {}
    problems: dict[Problem, None] = {}
    for node in graph.nodes.values():
        context.cancel.check()
        if not all(parent in known for parent in node.below):
            continue  # a parent cannot be locked, and is said
        resolved = _resolve_node(node, [known[parent] for parent in node.below], there, problems)
        if resolved is not None:
            known[node.id] = resolved
    problems |= dict.fromkeys(_on_this_machine(graph, machine))
    if problems:
        raise SpecError(tuple(sorted(problems, key=lambda problem: (problem.where, problem.message))))
    entries = (entry_of(node, known[node.id], [known[parent] for parent in node.below]) for node in graph.nodes.values()
               if node.id in known)  # fmt: skip
    return tuple(entry for entry in entries if entry is not None)


def _resolve_node(
    node: Node, below: Sequence[ResolvedNode], context: Context, problems: dict[Problem, None]
) -> ResolvedNode | None:
    if not node.is_pinned:
        return None
    request = resolution.request_from_resolved(node, below, (), context)
    answer = resolution.find_resolution(node, request, below, context, use_cache=False)
    if not answer.known:
        try:
            answer = resolve(node, answer, (), context)
        except MakeError as error:
            if error.code != "no-stack":
                raise
            reason = f"kind `{node.kind.name}` asks programs of its own base, which do not run here"
            problems[_refusal(node, context.arch, reason)] = None
            return None
    return resolution.apply_pins(node, answer.request, answer.pins, keyed=False)


def _on_this_machine(graph: Graph, machine: str) -> list[Problem]:
    """Returns a problem for each layer with pins whose base is this machine's own system."""
    return [
        _refusal(node, machine, "its base is this machine's own system")
        for node in graph.nodes.values()
        if node.below and not graph.nodes[node.below[0]].is_pinned and resolution.needs_resolution(node.kind)
    ]


def _refusal(node: Node, machine: str, reason: str) -> Problem:
    return Problem(
        where=node.spec.where,
        message=f"{node.subject} `{node.spec.name}` cannot be locked for {platform_of(machine) or machine}: {reason}",
        code="lock-platform",
        hint="`envtool lock` on such a machine adds its entries, and keeps the others; `-e ENV` locks some envs alone",
        width=0,
    )

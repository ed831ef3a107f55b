"""`lock --upgrade NAME…`: chooses the answers of a lock that are asked again."""

from __future__ import annotations

from dataclasses import replace

from envtool.build.context import Context
from envtool.errors import UsageError, near_name_hint
from envtool.lock.lock import Lock, normalize_name, pinned_items, without_upgraded
from envtool.plan.graph import Graph


def with_upgrades(context: Context, graph: Graph, names: tuple[str, ...]) -> Context:
    """Returns a context in which the named layers, bases and packages are resolved again. Raises UsageError for names
    that mean nothing, and for packages that only a newer base can move."""
    old = context.lock
    remaining, preferred, unknown = without_upgraded(old, names)
    known_names = {node.spec.name for node in graph.nodes.values()}
    unknown = tuple(name for name in unknown if name not in known_names)
    if unknown:
        candidates = known_names | {str(item["name"]) for entry in old.entries for item in pinned_items(entry.pins)}
        hint = f"there are {', '.join(sorted(known_names)[:12])}" + (
            ", and the packages in them" if old.entries else ""
        )
        hint = near_name_hint(unknown[0], sorted(candidates), hint) if len(unknown) == 1 else hint
        raise UsageError(f"nothing here is called {', '.join(unknown)}", code="lock-name", hint=hint)
    _check_upgradable(old, graph, names)
    return replace(context, lock=remaining, upgrading=preferred)


def _check_upgradable(old: Lock, graph: Graph, names: tuple[str, ...]) -> None:
    """Raises UsageError for a package that only a newer base can move."""
    base_nodes = {node.spec.name: node for node in graph.nodes.values() if node.kind.of_base}
    for entry in old.entries:
        node = base_nodes.get(entry.question.name)
        packages = {normalize_name(str(item["name"])) for item in pinned_items(entry.pins)} if node else set()
        of_base = [name for name in names if normalize_name(name) in packages]
        if node and of_base and not {entry.question.name, graph.nodes[node.below[0]].spec.name} & {*names}:
            base = graph.nodes[node.below[0]].spec.name
            raise UsageError(
                f"`{of_base[0]}` in layer `{node.spec.name}` is chosen from the index of base `{base}`",
                code="lock-base",
                hint=f"`envtool lock --upgrade {base}` moves the index, and all that has a newer version in it",
            )

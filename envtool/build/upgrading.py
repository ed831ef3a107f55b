"""`lock --upgrade NAME…`: which answers of a lock are asked for again."""

from __future__ import annotations

from dataclasses import replace

from envtool.build.context import Context
from envtool.errors import UsageError, closest_name
from envtool.lock.lock import Lock, normalize_name, pinned_items, without_upgraded
from envtool.plan.graph import Graph


def with_upgrades(setting: Context, nodes: Graph, names: tuple[str, ...]) -> Context:
    """A setting in which what the names name is settled anew. Raises UsageError for names that mean nothing, and for
    packages that only a newer base can move."""
    old = setting.lock
    rest, kept, unknown = without_upgraded(old, names)
    here = {node.spec.name for node in nodes.nodes.values()}
    unknown = tuple(name for name in unknown if name not in here)
    if unknown:
        called = here | {str(item["name"]) for entry in old.entries for item in pinned_items(entry.pins)}
        near = closest_name(unknown[0], sorted(called))
        hint = f"there are {', '.join(sorted(here)[:12])}" + (", and the packages in them" if old.entries else "")
        hint = f"did you mean `{near}`?" if near and len(unknown) == 1 else hint
        raise UsageError(f"nothing here is called {', '.join(unknown)}", code="lock-name", hint=hint)
    _check_upgradable(old, nodes, names)
    return replace(setting, lock=rest, moving=kept)


def _check_upgradable(old: Lock, nodes: Graph, names: tuple[str, ...]) -> None:
    """Raise UsageError for a package that only a newer base can move."""
    fixed = {node.spec.name: node for node in nodes.nodes.values() if node.kind.of_base}
    for entry in old.entries:
        node = fixed.get(entry.question.name)
        has = {normalize_name(str(item["name"])) for item in pinned_items(entry.pins)} if node else set()
        bound = [name for name in names if normalize_name(name) in has]
        if node and bound and not {entry.question.name, nodes.nodes[node.below[0]].spec.name} & {*names}:
            base = nodes.nodes[node.below[0]].spec.name
            raise UsageError(
                f"`{bound[0]}` in layer `{node.spec.name}` is chosen from the index of base `{base}`",
                code="lock-base",
                hint=f"`envtool lock --upgrade {base}` moves the index, and all that has a newer version in it",
            )

"""Merges envs with what they inherit through `extends` and `defaults`: mappings key by key; any other value
replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.lazy_dataclass import dataclass, field
from envtool.spec.node import YamlNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.spec.node import Problems

MAX_INHERITED_VALUES = 500_000  # values in all merged envs together: a spec of 1,000 envs has 30,000
REPLACED_KEYS = frozenset({"base"})  # {debian: x} merged with {image: y} would be two bases


def merge(below: YamlNode, above: YamlNode, *, top: bool = True) -> YamlNode:
    """Returns `above` merged over `below`, neither of which changes. Each value keeps its position."""
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    values, keys = dict(below.value), dict(below.keys or {})
    for name, value in above.value.items():
        inherited = values.get(name)
        values[name] = (
            value if inherited is None or (top and name in REPLACED_KEYS) else merge(inherited, value, top=False)
        )
        keys[name] = above.key(name)
    size = 1 + sum(value.size for value in values.values())
    return YamlNode(values, above.source, above.line, above.column, above.width, keys=keys, size=size)


@dataclass(slots=True)
class Inheritance:
    """Resolves `extends` between all envs; each env is merged once."""

    envs: Mapping[str, YamlNode]
    extends: Mapping[str, YamlNode | None]
    keys: Mapping[str, YamlNode | None]  # the key with which each is declared
    problems: Problems
    done: dict[str, YamlNode] = field(default_factory=dict)
    remaining: int = MAX_INHERITED_VALUES

    def spend(self, size: int, node: YamlNode) -> None:
        """Counts values that envs inherit and that matrices multiply. Raises SpecError if there are too many."""
        self.remaining -= size
        if self.remaining < 0:
            message = (
                f"more than {MAX_INHERITED_VALUES:,} values, counting what envs inherit and each point of a matrix"
            )
            self.problems.add(node, message, code="limit")
            self.problems.raise_any()

    def merged(self, name: str) -> YamlNode:
        """Returns the env `name` merged with all that it extends, without defaults. Notes errors in `extends`."""
        pending = [name]
        while pending:  # no recursion: a chain may be as long as the file
            current = pending[-1]
            if current in self.done:
                pending.pop()
                continue
            ready = True
            for parent in self._parents(current):
                parent_name = self._resolve_parent_name(parent)
                if parent_name in self.done or parent_name not in self.envs:
                    continue
                if parent_name in pending:
                    self._cycle(pending, parent)
                    continue
                pending.append(parent_name)
                ready = False
                break
            if ready:
                merged = self.done[current] = self._merge_parents(current)
                self.spend(merged.size if merged is not self.envs[current] else 1, self.envs[current])
                pending.pop()
        return self.done[name]

    def _parents(self, name: str) -> list[YamlNode]:
        extends = self.extends[name]
        if extends is None:
            return []
        nodes = extends.items() if isinstance(extends.value, list) else [extends]
        return [node for node in nodes if isinstance(node.value, str)]

    def _resolve_parent_name(self, parent: YamlNode) -> str:
        return parent.source.resolve_name(str(parent.value), self.envs)

    def _merge_parents(self, name: str) -> YamlNode:
        own = self.envs[name]
        merged: YamlNode | None = None
        for parent in self._parents(name):
            parent_name = self._resolve_parent_name(parent)
            if parent_name not in self.envs:
                message = f"unknown env `{parent.value}` in `extends` of env `{name}`"
                others = {key: at for key, at in self.keys.items() if key != name}
                hint = self.problems.nearest_hint(str(parent.value), others) or "there is no other env to extend"
                self.problems.add(parent, message, code="unknown-env", hint=hint)
            elif parent_name in self.done:
                inherited = self.done[parent_name]
                merged = inherited if merged is None else merge(merged, inherited)
        return own if merged is None else merge(merged, own)

    def _cycle(self, pending: list[str], parent: YamlNode) -> None:
        parent_name = self._resolve_parent_name(parent)
        path = " → ".join([*pending[pending.index(parent_name) :], parent_name])
        self.problems.add(
            parent, f"env `{parent_name}` extends itself: {path}", code="cycle", hint="remove one `extends`"
        )

"""`extends` and `defaults`: mappings merge key by key, everything else replaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envtool.spec.node import YamlNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.spec.node import Problems

MAX_INHERITED_VALUES = 500_000  # values in all merged envs together: a spec of 1,000 envs has 30,000
REPLACED_KEYS = frozenset({"base"})  # {debian: x} merged with {image: y} would be two bases


def merge(below: YamlNode, above: YamlNode, *, top: bool = True) -> YamlNode:
    """`above` laid over `below`. Both stay as they are; the places of what is taken are kept."""
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    values, keys = dict(below.value), dict(below.keys or {})
    for name, value in above.value.items():
        old = values.get(name)
        values[name] = value if old is None or (top and name in REPLACED_KEYS) else merge(old, value, top=False)
        keys[name] = above.key(name)
    size = 1 + sum(value.size for value in values.values())
    return YamlNode(values, above.source, above.line, above.column, above.width, keys=keys, size=size)


@dataclass(slots=True)
class Inheritance:
    """Resolves `extends` between all envs; each is merged once."""

    envs: Mapping[str, YamlNode]
    keys: Mapping[str, YamlNode | None]  # where each is declared
    problems: Problems
    done: dict[str, YamlNode] = field(default_factory=dict)
    left: int = MAX_INHERITED_VALUES

    def spend(self, size: int, node: YamlNode) -> None:
        """Count values that came by inheriting and by matrices. Raises SpecError when they are too many."""
        self.left -= size
        if self.left < 0:
            message = (
                f"more than {MAX_INHERITED_VALUES:,} values, counting what envs inherit and each point of a matrix"
            )
            self.problems.add(node, message, code="limit")
            self.problems.raise_any()

    def merged(self, name: str) -> YamlNode:
        """The env `name` with all it inherits, without defaults. What is wrong with `extends` is noted."""
        pending = [name]
        while pending:  # by hand, not by recursion: a chain may be as long as the file
            this = pending[-1]
            if this in self.done:
                pending.pop()
                continue
            ready = True
            for parent in self._parents(this):
                meant = self._resolve_parent_name(parent)
                if meant in self.done or meant not in self.envs:
                    continue
                if meant in pending:
                    self._cycle(pending, parent)
                    continue
                pending.append(meant)
                ready = False
                break
            if ready:
                merged = self.done[this] = self._merge_parents(this)
                self.spend(merged.size if merged is not self.envs[this] else 1, self.envs[this])
                pending.pop()
        return self.done[name]

    def _parents(self, name: str) -> list[YamlNode]:
        extends = self.envs[name].get("extends")
        if extends is None:
            return []
        nodes = extends.items() if isinstance(extends.value, list) else [extends]
        return [node for node in nodes if isinstance(node.value, str)]

    def _resolve_parent_name(self, parent: YamlNode) -> str:
        return parent.source.meant(str(parent.value), self.envs)

    def _merge_parents(self, name: str) -> YamlNode:
        own = self.envs[name]
        below: YamlNode | None = None
        for parent in self._parents(name):
            meant = self._resolve_parent_name(parent)
            if meant not in self.envs:
                message = f"unknown env `{parent.value}` in `extends` of env `{name}`"
                others = {key: at for key, at in self.keys.items() if key != name}
                hint = self.problems.nearest_hint(str(parent.value), others) or "there is no other env to extend"
                self.problems.add(parent, message, code="unknown-env", hint=hint)
            elif meant in self.done:
                inherited = self.done[meant]
                below = inherited if below is None else merge(below, inherited)
        return own if below is None else merge(below, own)

    def _cycle(self, pending: list[str], parent: YamlNode) -> None:
        meant = self._resolve_parent_name(parent)
        path = " → ".join([*pending[pending.index(meant) :], meant])
        self.problems.add(parent, f"env `{meant}` extends itself: {path}", code="cycle", hint="remove one `extends`")

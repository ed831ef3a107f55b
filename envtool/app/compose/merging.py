"""Merges one part of a compose file over another: files after each other, and `extends`.

Mappings are merged key by key, lists are joined, all else is replaced. Source: the Compose Specification, "Merge and
override".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.spec.node import YamlNode

if TYPE_CHECKING:
    from collections.abc import Mapping

RESET, OVERRIDE = "!reset", "!override"
_REPLACED = frozenset({"command", "entrypoint", "test"})  # of a service, and of its health check
_ENTRIES = frozenset({"environment", "labels", "args", "annotations", "sysctls", "extra_hosts", "additional_contexts"})
_NAMES = frozenset({"depends_on", "networks"})  # a list of names, or a mapping of them


def merge(base: YamlNode, over: YamlNode, tags: Mapping[int, str], key: str = "") -> YamlNode | None:
    """Returns `over` merged over `base`, the values of one key; None if `over` resets it. `tags` has the tags of nodes,
    by their id()."""
    tag = tags.get(id(over))
    if tag == RESET:
        return None
    if over.value is None:
        return base
    if tag == OVERRIDE or key in _REPLACED or base.value is None:
        return over
    if key == "build" and type(base.value) is not type(over.value):
        base, over = _build_mapping(base), _build_mapping(over)
    if key in (_ENTRIES | _NAMES) and type(base.value) is not type(over.value):
        base, over = as_mapping(base, key), as_mapping(over, key)
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return _merge_mappings(base, over, tags)
    if isinstance(base.value, list) and isinstance(over.value, list):
        joined = [*base.value, *over.value]
        return YamlNode(joined, over.source, over.line, over.column, over.width, size=base.size + over.size)
    return over


def _merge_mappings(base: YamlNode, over: YamlNode, tags: Mapping[int, str]) -> YamlNode:
    values, keys = dict(base.mapping()), dict(base.keys or {})
    for name, value in over.mapping().items():
        merged = merge(values[name], value, tags, name) if name in values else _alone(value, tags)
        keys[name] = over.key(name)
        if merged is None:
            values.pop(name, None)
        else:
            values[name] = merged
    return YamlNode(values, over.source, over.line, over.column, over.width, keys=keys, size=base.size + over.size)


def without_resets(node: YamlNode, tags: Mapping[int, str], done: dict[int, YamlNode]) -> YamlNode:
    """Returns a tree without values of `!reset`, which had no value to reset."""
    if id(node) not in done:
        new = node
        if isinstance(node.value, dict):
            kept = {key: child for key, child in node.value.items() if tags.get(id(child)) != RESET}
            values = {key: without_resets(child, tags, done) for key, child in kept.items()}
            new = YamlNode(values, node.source, node.line, node.column, node.width, keys=node.keys, size=node.size)
        done[id(node)] = new
    return done[id(node)]


def _alone(value: YamlNode, tags: Mapping[int, str]) -> YamlNode | None:
    return None if tags.get(id(value)) == RESET else value


def as_mapping(node: YamlNode, key: str) -> YamlNode:
    """Returns a list of `NAME=value`, or of names, as a mapping; another node as it is."""
    if not isinstance(node.value, list):
        return node
    values: dict[str, YamlNode] = {}
    for member in node.value:
        name, equals, text = str(member.value).partition("=") if key in _ENTRIES else (str(member.value), "", "")
        values[name] = YamlNode(text if equals else None, member.source, member.line, member.column, member.width)
    keys = dict(zip(values, node.value, strict=False)) if len(values) == len(node.value) else None
    return YamlNode(values, node.source, node.line, node.column, node.width, keys=keys, size=node.size)


def _build_mapping(node: YamlNode) -> YamlNode:
    """Returns `build: DIRECTORY` as a mapping; another node as it is."""
    if not isinstance(node.value, str):
        return node
    return YamlNode(
        {"context": node}, node.source, node.line, node.column, node.width, keys={"context": node}, size=node.size
    )

"""The DAG of bases and layers behind a spec's envs.

A node is one base or layer *on what it stands on*: two envs that ask for the same thing on the same things share
the node, and so its build. Nodes know nothing of pins, keys or diff IDs: those are settled bottom up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from envtool.api import Kind, Part
from envtool.keys import digest
from envtool.model import BaseSpec, Env, Json, LayerSpec, Spec
from envtool.plugins import PluginRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`below` are the ids it stands on, bottom first: what its build sees, and with `beside` all that can decide it."""

    id: str
    subject: Literal["base", "layer"]
    spec: BaseSpec | LayerSpec
    kind: Kind
    below: tuple[str, ...]
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a part: other stacks that its build sees
    of: str = ""  # the name of the base that it is a part of (api.Part)
    on: str = ""  # for people: what tells it apart from others of its name; empty where it is the only one

    @property
    def needs(self) -> tuple[str, ...]:
        """All that has to stand before it can be made."""
        return tuple(dict.fromkeys((*self.below, *(each for stack in self.beside.values() for each in stack))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """`stacks`: env name -> node ids, bottom first. `nodes` are in an order in which each comes after what it needs.

    `parts`: the parts of each base that has some and whose pins are known, by the base's id: see `grown`."""

    nodes: Mapping[str, Node]
    stacks: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def build_graph(spec: Spec, registry: PluginRegistry) -> Graph:
    """The whole DAG of a spec, linear in the layers written (and in what each `needs`)."""
    nodes: dict[str, Node] = {}
    stacks: dict[str, tuple[str, ...]] = {}
    chains: dict[tuple[str, ...], str] = {}  # a long chain is named by one digest, not hashed again per layer
    for env in spec.envs:
        stacks[env.name] = _add_stack(env, registry, nodes, chains)
    return _disambiguate_names(Graph(nodes=nodes, stacks=stacks))


def is_composite(kind: Kind) -> bool:
    """Whether bases of a kind may be made of several layers: which, only their pins tell."""
    return type(kind).parts is not Kind.parts


def expand_parts(graph: Graph, base: str, parts: Sequence[Part]) -> Graph:
    """The same graph with the parts of one base (its id), now that they are known: whatever stands on the base stands
    on those that are shown too. Linear in the graph."""
    owner = graph.nodes[base]
    ids = [base]
    made: dict[str, Node] = {}
    chains: dict[tuple[str, ...], str] = {}
    for part in parts:
        below = tuple(ids[number] for number in part.below)
        beside = {name: tuple(ids[number] for number in stack) for name, stack in part.beside.items()}
        others: dict[str, Json] = {name: _chain(stack, chains) for name, stack in beside.items()}
        directory = owner.spec.directory
        node_id = digest(["part", part.kind.name, directory, part.options, _chain(below, chains), others])
        made[node_id] = _part(owner, part, node_id, below, beside)
        ids.append(node_id)
    shown = [node_id for node_id, part in zip(ids[1:], parts, strict=True) if part.shown]
    nodes: dict[str, Node] = {}
    for node_id, node in graph.nodes.items():
        if node.of:
            nodes[node_id] = node
        elif node_id not in nodes:
            nodes[node_id] = replace(node, below=_insert_above_base(node.below, base, shown))
        if node_id == base:
            nodes |= {each: made[each] for each in ids[1:] if each not in nodes}
    stacks = {env: _insert_above_base(stack, base, shown) for env, stack in graph.stacks.items()}
    return _disambiguate_names(
        Graph(nodes=nodes, stacks=stacks, parts={**graph.parts, base: tuple(dict.fromkeys(ids[1:]))})
    )


def part_previews(owner: Node, parts: Iterable[Part]) -> Iterator[Node]:
    """Nodes of parts of which nothing is known of what they stand on: to be looked at, and in no graph."""
    for number, part in enumerate(parts):
        yield _part(owner, part, f"{owner.id}:{number}", (), {})


def _part(owner: Node, part: Part, node_id: str, below: tuple[str, ...], beside: Mapping[str, tuple[str, ...]]) -> Node:
    spec = LayerSpec(
        name=part.name,
        kind=part.kind.name,
        options=part.options,
        where=part.where,
        directory=owner.spec.directory,
    )
    return Node(
        id=node_id,
        subject="layer",
        spec=spec,
        kind=part.kind,
        below=below,
        beside=beside,
        of=owner.spec.name,
    )


def _disambiguate_names(graph: Graph) -> Graph:
    """The same graph, in which nodes of one name say what they are on: mostly the base ("trixie"); where that is the
    same, the first env that has them."""
    alike: dict[tuple[str, str], list[Node]] = {}
    for node in graph.nodes.values():
        alike.setdefault((node.subject, node.spec.name), []).append(node)
    several = [nodes for nodes in alike.values() if len(nodes) > 1]
    if not several:
        return graph
    envs: dict[str, str] = {}
    for env, stack in graph.stacks.items():
        for node_id in stack:
            envs.setdefault(node_id, env)
    apart: dict[str, str] = {}
    for nodes in several:
        bases = [_base(graph, node) for node in nodes]
        for node, base in zip(nodes, bases, strict=True):
            apart[node.id] = base if len({*bases}) == len(bases) else envs.get(node.id, base)
    marked = {node_id: replace(node, on=apart.get(node_id, "")) for node_id, node in graph.nodes.items()}
    return replace(graph, nodes=marked)


def _base(graph: Graph, node: Node) -> str:
    """The name of the base below a node, or of the one that it is; of one written in place what stands there."""
    spec = graph.nodes[node.below[0]].spec if node.below else node.spec
    return spec.name.removeprefix(f"{spec.kind}:")


def _insert_above_base(stack: tuple[str, ...], base: str, shown: Sequence[str]) -> tuple[str, ...]:
    return (base, *dict.fromkeys(shown), *stack[1:]) if stack[:1] == (base,) else stack


def _add_stack(
    env: Env, registry: PluginRegistry, nodes: dict[str, Node], chains: dict[tuple[str, ...], str]
) -> tuple[str, ...]:
    base_kind = registry.bases[env.base.kind]
    base_id = digest(["base", base_kind.name, env.base.directory, env.base.options])
    if base_id not in nodes:
        nodes[base_id] = Node(id=base_id, subject="base", spec=env.base, kind=base_kind, below=())
    stack = [base_id]
    placed: dict[str, tuple[str, tuple[str, ...], bool]] = {}  # layer name -> (id, below, owns its directory)
    for layer in env.layers:
        kind = registry.layers[layer.kind]
        below = _below(layer, kind, stack, placed)
        identity: list[Json] = [
            "layer",
            layer.name,
            layer.kind,
            layer.directory,
            layer.options,
            dict(layer.set),
            _chain(below, chains),
        ]
        node_id = digest(identity)
        if node_id not in nodes:
            nodes[node_id] = Node(id=node_id, subject="layer", spec=layer, kind=kind, below=below)
        if node_id not in stack:
            stack.append(node_id)
        placed[layer.name] = (node_id, below, kind.needs_only)
    return tuple(stack)


def _below(
    layer: LayerSpec, kind: Kind, stack: list[str], placed: Mapping[str, tuple[str, tuple[str, ...], bool]]
) -> tuple[str, ...]:
    """What a layer stands on, in the stack's own order.

    `needs` written: the base and those, with what they stand on. Else everything before it; but a kind that owns a
    directory (a venv, node_modules) leaves out other layers that own theirs, so one language does not rebuild another.
    """
    if layer.needs is not None:
        wanted = {stack[0]}
        for name in layer.needs:
            node_id, below, _ = placed[name]
            wanted.update((node_id, *below))
        return tuple(node_id for node_id in stack if node_id in wanted)
    if kind.needs_only:
        owners = {node_id for node_id, _, owns in placed.values() if owns}
        return tuple(node_id for node_id in stack if node_id not in owners)
    return tuple(stack)


def _chain(below: tuple[str, ...], chains: dict[tuple[str, ...], str]) -> str:
    known = chains.get(below)
    if known is None:
        known = chains[below] = digest([*below])
    return known

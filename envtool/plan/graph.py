"""The graph of the bases and layers behind a spec's envs.

A node is one base or layer *on its parents*: two envs with the same layer on the same parents share the node, and its
build. Nodes have no pins, keys or diff IDs: those are resolved bottom up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from envtool.api import Base, Kind, Part
from envtool.keys import digest, digest_of_digests
from envtool.lazy_dataclass import dataclass, field
from envtool.model import BaseSpec, Env, Json, LayerSpec, Spec
from envtool.plugins import PluginRegistry
from envtool.spec.select_envs import stack_envs

_NO_STACKS: Mapping[str, tuple[str, ...]] = {}


class Node(NamedTuple):
    """`below` are the ids of its parents, bottom first. Its build sees them and the stacks `beside` it, and nothing
    else can decide it. A named tuple is made in half the time of a frozen dataclass, and there may be thousands."""

    id: str
    subject: Literal["base", "layer"]
    spec: BaseSpec | LayerSpec
    kind: Kind
    below: tuple[str, ...]
    beside: Mapping[str, tuple[str, ...]] = _NO_STACKS  # of a sublayer: stacks that its build sees
    of: str = ""  # of a sublayer: the name of its base (api.Part)
    on: str = ""  # shown beside the name where several nodes have the same one, else empty

    @property
    def base_kind(self) -> Base:
        """The kind of a base. Raises TypeError for a layer."""
        if not isinstance(self.kind, Base):
            raise TypeError(f"{self.spec.name} is no base")
        return self.kind

    @property
    def is_pinned(self) -> bool:
        """Whether its pins decide what it is, as for all but bases that are trees of this machine."""
        return not isinstance(self.kind, Base) or self.kind.pinned

    @property
    def needs(self) -> tuple[str, ...]:
        """All nodes that its build needs, each once."""
        if not self.of and not self.beside:  # a layer of the spec has each parent once
            return self.below
        return tuple(dict.fromkeys((*self.below, *(node_id for stack in self.beside.values() for node_id in stack))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """`stacks`: env name -> node ids, bottom first. `nodes` are sorted: each comes after the nodes that it needs.

    `parts`: base id -> ids of its sublayers, for each base whose pins are known: see `expand_parts`.
    """

    nodes: Mapping[str, Node]
    stacks: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def build_graph(spec: Spec, registry: PluginRegistry) -> Graph:
    """Returns the whole graph of a spec, in time linear in the layers and their `needs`."""
    nodes: dict[str, Node] = {}
    stacks: dict[str, tuple[str, ...]] = {}
    chains: dict[tuple[str, ...], str] = {}  # ids -> their digest, so that a long chain is hashed once
    for env in stack_envs(spec):
        stacks[env.name] = _add_stack(env, registry, nodes, chains)
    return _disambiguate_names(Graph(nodes=nodes, stacks=stacks))


def is_composite(kind: Kind) -> bool:
    """Whether bases of a kind may consist of several sublayers: their pins say which."""
    return isinstance(kind, Base) and type(kind).parts is not Base.parts


def expand_parts(graph: Graph, base: str, parts: Sequence[Part]) -> Graph:
    """Returns the graph with the sublayers of one base (its id), once its pins are known: nodes on the base stand on
    its shown sublayers, too. Linear in the graph."""
    owner = graph.nodes[base]
    ids = [base]
    new_nodes: dict[str, Node] = {}
    chains: dict[tuple[str, ...], str] = {}
    for part in parts:
        below = tuple(ids[number] for number in part.below)
        beside = {name: tuple(ids[number] for number in stack) for name, stack in part.beside.items()}
        others: dict[str, Json] = {name: _chain(stack, chains) for name, stack in beside.items()}
        directory = owner.spec.directory
        node_id = digest(["part", part.kind.name, directory, part.options, _chain(below, chains), others])
        new_nodes[node_id] = _part(owner, part, node_id, below, beside)
        ids.append(node_id)
    shown_ids = [node_id for node_id, part in zip(ids[1:], parts, strict=True) if part.shown]
    nodes: dict[str, Node] = {}
    for node_id, node in graph.nodes.items():
        if node.of:
            nodes[node_id] = node
        elif node_id not in nodes:
            nodes[node_id] = node._replace(below=_insert_above_base(node.below, base, shown_ids))
        if node_id == base:
            nodes |= {each: new_nodes[each] for each in ids[1:] if each not in nodes}
    stacks = {env: _insert_above_base(stack, base, shown_ids) for env, stack in graph.stacks.items()}
    return _disambiguate_names(
        Graph(nodes=nodes, stacks=stacks, parts={**graph.parts, base: tuple(dict.fromkeys(ids[1:]))})
    )


def part_previews(owner: Node, parts: Iterable[Part]) -> Iterator[Node]:
    """Yields nodes for sublayers whose parents are not known: for checks; they are in no graph."""
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
    """Sets `on` for nodes that share a name: the base ("trixie") where the bases differ, else the first env that has
    the node."""
    by_name: dict[tuple[str, str], list[Node]] = {}
    for node in graph.nodes.values():
        by_name.setdefault((node.subject, node.spec.name), []).append(node)
    groups = [nodes for nodes in by_name.values() if len(nodes) > 1]
    if not groups:
        return graph
    envs: dict[str, str] = {}
    for env, stack in graph.stacks.items():
        for node_id in stack:
            envs.setdefault(node_id, env)
    labels: dict[str, str] = {}
    for nodes in groups:
        bases = [_base(graph, node) for node in nodes]
        differ = len({*bases}) == len(bases)
        for node, base in zip(nodes, bases, strict=True):
            labels[node.id] = base if differ else envs.get(node.id, base)
    labelled = {
        node_id: node if node.on == (label := labels.get(node_id, "")) else node._replace(on=label)
        for node_id, node in graph.nodes.items()
    }
    return replace(graph, nodes=labelled)


def _base(graph: Graph, node: Node) -> str:
    """Returns the name of the base of a node; for a base written inline, its own text."""
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
    placed: dict[str, tuple[str, tuple[str, ...], bool]] = {}  # layer name -> (id, parents, owns its directory)
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
    """Returns the parents of a layer, in the order of the stack.

    With `needs`: the base, the named layers and their parents. Without: all before it; but a kind that owns a directory
    (a venv, node_modules) leaves out other layers that own theirs, so that one language does not rebuild another.
    """
    if layer.needs is not None:
        needed = {stack[0]}
        for name in layer.needs:
            node_id, below, _ = placed[name]
            needed.update((node_id, *below))
        return tuple(node_id for node_id in stack if node_id in needed)
    if kind.needs_only:
        owners = {node_id for node_id, _, owns in placed.values() if owns}
        return tuple(node_id for node_id in stack if node_id not in owners)
    return tuple(stack)


def _chain(below: tuple[str, ...], chains: dict[tuple[str, ...], str]) -> str:
    name = chains.get(below)
    if name is None:
        name = chains[below] = digest_of_digests(below)
    return name

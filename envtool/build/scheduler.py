"""Builds the stacks of many envs: the first thread builds a node, the others wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from envtool.build import node_checks, resolution
from envtool.build.context import Context
from envtool.build.parents import Parents, not_cached_error, stack_binds
from envtool.build.prefetch import Prefetcher
from envtool.build.resolution import MadeLayer
from envtool.build.tracking import track_work
from envtool.errors import BuildError, EnvtoolError
from envtool.events import Progress
from envtool.plan.graph import Graph, Node, expand_parts, is_composite
from envtool.plugin_calls import with_location
from envtool.store import answer_cache, canonical, layers

__all__ = ["MadeLayer", "Scheduler", "Stack", "stack_binds"]

PART_THREADS = 8  # sublayers whose files are fetched in parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The layers of one env, bottom first."""

    made: tuple[MadeLayer, ...]
    aside: tuple[MadeLayer, ...] = ()  # sublayers that only other sublayers read (another stage of a Dockerfile)

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.made[0].settled.epoch

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables that the layers set, bottom first."""
        return resolution.stack_variables([made.settled for made in self.made])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The diff IDs, bottom first."""
        return resolution.stack_diff_ids(self.made)


class Scheduler:
    """Builds the nodes of a graph on demand, from any number of threads, each node once. The graph grows as the
    sublayers of bases become known."""

    def __init__(self, graph: Graph, context: Context) -> None:
        self._graph = graph
        self._answers: dict[str, Future[resolution.Resolution]] = {}  # of bases that have sublayers
        self._context = context
        self._futures: dict[str, Future[MadeLayer]] = {}
        self._lock = threading.Lock()
        self._recalled: dict[str, MadeLayer | None] = {}
        self._recalling = threading.Lock()
        self._checked: set[str] = set()  # nodes whose inputs and texts all exist
        self._ahead = Prefetcher(context)
        self._stood_on: tuple[Graph | None, frozenset[str]] = (None, frozenset())
        context.room.protect(self._stored_keys)

    def stack(self, env: str) -> Stack:
        """Returns the whole stack of an env, and builds what is missing. Raises MakeError, SpecError, Interrupted."""
        self.check([env])
        base = self._expand_parts(self._graph.stacks[env][0])
        self.check([env])  # now the sublayers of its base, too
        self.start_pulls([env])
        parts, ids = self._graph.parts.get(base, ()), self._graph.stacks[env]
        needed = self._needed(env)
        known = {each: made for each in parts if each not in needed and (made := self._known(each))}
        if parts:
            self._build_parallel([each for each in (base, *parts) if each not in known])
        stack = Stack(
            made=tuple(self.node(node_id) for node_id in ids),
            aside=tuple(known.get(node_id) or self.node(node_id) for node_id in parts if node_id not in ids),
        )
        _check_conflicts(stack, self._context)
        return stack

    def _known(self, node_id: str) -> MadeLayer | None:
        """Returns what is known of a node before it is built, where there is a team cache; its layer may have no
        tree."""
        if self._context.share is None:
            return None
        return self._recalled.get(node_id) or self._ahead.known(node_id)

    def _find_stored(self, node_id: str) -> MadeLayer | None:
        """Returns a node that was pulled, or was in the store before the run. Raises as `stack` does."""
        made = self._ahead.made(node_id) or self._known(node_id)
        context = self._context
        there = made is not None and made.layer.tree and context.claims.find_layer(context.store, made.layer.key)
        return made if there else None

    def _fits(self, node: Node, made: MadeLayer) -> bool:
        """Whether the layers below a node in an env's stack have the diff IDs that the node was built on. Raises as
        `stack` does."""
        graph, stood_on = self._stood_on
        if graph is not self._graph:  # once for each, not once for each node
            stood_on = frozenset(each for stack in self._graph.stacks.values() for each in stack)
            self._stood_on = self._graph, stood_on
        ground = zip(node.below, made.settled.request.below, strict=True)
        return all(self.node(each).layer.diff_id == diff_id for each, diff_id in ground if each in stood_on)

    def _needed(self, env: str) -> set[str]:
        """Returns the nodes that an env's stack needs: a stored or pulled layer needs no parents."""
        needed: set[str] = set()
        pending = [*self._graph.stacks[env]]
        while pending:
            node_id = pending.pop()
            if node_id not in needed:
                needed.add(node_id)
                known = self._known(node_id)
                there = self._ahead.is_fetching(node_id) or (known is not None and known.layer.tree)
                pending += () if there else self._graph.nodes[node_id].needs
        return needed

    def check(self, envs: Iterable[str]) -> None:
        """Raises SpecError for inputs of these envs' stacks that do not exist, before anything is fetched or built.
        Raises Interrupted."""
        with self._lock:
            graph = self._graph
            stacks = [graph.stacks[env] for env in envs]
            wanted = dict.fromkeys(each for ids in stacks for each in (*ids, *graph.parts.get(ids[0], ())))
            new = [each for each in wanted if each not in self._checked and self._recalled.get(each) is None]
        node_checks.check_nodes([graph.nodes[each] for each in new], self._context)
        with self._lock:
            self._checked.update(new)

    def start_pulls(self, envs: Iterable[str]) -> None:
        """Starts to pull the layers of these envs' stacks that the team cache has. Raises SpecError, Interrupted."""
        with self._lock:
            graph, begun = self._graph, {*self._futures}
        begun |= {node_id for node_id, seen in [*self._recalled.items()] if seen and seen.layer.tree}
        wanted = dict.fromkeys(each for env in envs for each in graph.stacks[env] if each not in begun)
        self._ahead.start(graph, [*wanted])

    def foreseen(self, env: str) -> Stack | None:
        """Returns the stack of an env as the store and the team cache know it, without a build or a pull; None where
        they do not know all of it. Raises SpecError, Interrupted."""
        with self._lock:
            graph = self._graph
        base = graph.nodes[graph.stacks[env][0]]
        if is_composite(base.kind) and base.id not in graph.parts:
            return None
        ids = graph.stacks[env]
        found = self._ahead.ask(graph, [*ids, *(each for each in graph.parts.get(base.id, ()) if each not in ids)])
        made = tuple(each for each in found if each is not None)
        return Stack(made=made[: len(ids)], aside=made[len(ids) :]) if len(made) == len(found) else None

    def wait_for_pulls(self, ids: Iterable[str]) -> None:
        """Waits for all pulls, and unpacks those of these nodes that an image's registry has: both count as cached.
        Raises MakeError, Interrupted."""
        self._ahead.wait()
        known = [made for each in ids if (made := self._known(each)) and not made.layer.tree]
        self._build_parallel([made.settled.node.id for made in known if resolution.image_diff_id(made.settled)])

    @property
    def known(self) -> Graph:
        """The graph with the sublayers that are known by now."""
        with self._lock:
            return self._graph

    def graph(self) -> Graph:
        """Returns the graph with all sublayers of all bases, which are resolved where they are not known. Raises as
        `stack`."""
        for node in [*self._graph.nodes.values()]:
            self._expand_parts(node.id)
        return self._graph

    def _expand_parts(self, node_id: str) -> str:
        """Adds the sublayers of a base to the graph; its pins are resolved for that. Returns the id. Raises as
        `stack`."""
        node = self._graph.nodes[node_id]
        if node.subject == "base" and is_composite(node.kind):
            wanted = self._answer(node)
            with self._lock:
                if node_id not in self._graph.parts:
                    self._graph = expand_parts(self._graph, node_id, node.kind.parts(wanted.request, wanted.pins))
        return node_id

    def _answer(self, node: Node) -> resolution.Resolution:
        """Returns the pins of a base that has sublayers, resolved once: they decide the graph."""
        with self._lock:
            future = self._answers.get(node.id)
            mine = future is None
            if future is None:
                future = self._answers[node.id] = Future()
        if mine:
            try:
                future.set_result(self._settle(node))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _settle(self, node: Node) -> resolution.Resolution:
        context = self._context
        wanted = resolution.find_resolution(node, resolution.request_for(node, (), context), (), context)
        if wanted.known:
            return wanted
        if context.cached_only:
            raise not_cached_error(node)
        from envtool.build.site import ContainerSite

        event_id = f"resolve:{node.id}"
        with track_work(context, event_id, "resolve", node.spec.name, on=node.on) as piece:
            site = ContainerSite(context, wanted.request, (), event_id)
            pins = resolution.resolve_pins(node, wanted.request, context, site, again=wanted.again)
            piece.detail = node.kind.summary(wanted.request, pins)
            piece.outcome = "done"
        return replace(wanted, known=True, pins=pins)

    def _build_parallel(self, ids: Iterable[str]) -> None:
        """Builds several nodes in parallel: each thread builds nodes that no thread has begun, and waits for the
        others."""
        with self._lock:
            new = [node_id for node_id in ids if node_id not in self._futures]
        if new:
            # more threads than processors: each fetches first, and fetches wait; `Context.turns` limits the builds
            width = min(len(new), max(PART_THREADS, os.cpu_count() or 1))
            with ThreadPoolExecutor(width, thread_name_prefix="part") as pool:
                [*pool.map(self.node, new)]

    def find_known_stack(self, env: str) -> Stack | None:
        """Returns the stack of an env as it came out before, without building, asking or fetching anything; None where
        it is not known. Layers that are gone from the store are in it, too, with an empty `tree`. Raises SpecError."""
        if self._context.refresh:
            return None
        with self._recalling:
            ids = self._graph.stacks[env]
            others = [each for each in self._graph.parts.get(ids[0], ()) if each not in ids]
            found = [self._find_known_node(self._graph.nodes[node_id]) for node_id in (*ids, *others)]
        made = tuple(each for each in found if each is not None)
        return Stack(made=made[: len(ids)], aside=made[len(ids) :]) if len(made) == len(found) else None

    def _find_known_node(self, node: Node) -> MadeLayer | None:
        if node.id in self._recalled:
            return self._recalled[node.id]
        made: MadeLayer | None = None
        found = {node_id: self._find_known_node(self._graph.nodes[node_id]) for node_id in node.needs}
        known = {node_id: each for node_id, each in found.items() if each is not None}
        if len(known) == len(found):
            below = [known[node_id] for node_id in node.below]
            beside = {name: [known[node_id] for node_id in stack] for name, stack in node.beside.items()}
            request = resolution.request_for(node, below, self._context, beside)
            wanted = resolution.find_resolution(node, request, below, self._context)
            if wanted.known:
                settled = resolution.apply_pins(node, wanted.request, wanted.pins)
                layer = layers.find(self._context.store, settled.key) or layers.find_known_output(
                    self._context.store, settled.key, settled.document
                )
                made = MadeLayer(settled=settled, layer=layer) if layer else None
        self._recalled[node.id] = made
        return made

    def _stored_keys(self) -> Iterator[str]:
        """Yields the keys of the layers of the graph that are in the store, as far as they are known without a
        build."""
        for node in self._graph.nodes.values():
            try:
                with self._recalling:
                    made = self._find_known_node(node)
            except EnvtoolError:
                continue
            if made is not None and made.layer.tree:
                yield made.layer.key
        with self._recalling:  # nodes that are not known yet may be known when they are built
            self._recalled = {node_id: made for node_id, made in self._recalled.items() if made is not None}

    def made(self) -> tuple[MadeLayer, ...]:
        """Returns every node that is built so far, and what is known of those that need not be built."""
        with self._lock:
            futures, graph = {**self._futures}, self._graph
        stand = [future.result() for future in futures.values() if future.done() and not future.exception()]
        others = [self._known(node_id) for node_id in graph.nodes if node_id not in futures]
        return (*stand, *(each for each in others if each is not None))

    def node(self, node_id: str) -> MadeLayer:
        """Returns one base or layer, and builds it and its parents where they are missing. Raises as `stack` does."""
        with self._lock:
            future = self._futures.get(node_id)
            mine = future is None
            if future is None:
                future = self._futures[node_id] = Future()
        if mine:
            try:
                node = self._graph.nodes[node_id]
                with with_location(f"{node.subject} `{node.spec.name}`", node.spec.where):
                    future.set_result(self._make(node))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _make(self, node: Node) -> MadeLayer:
        context = self._context
        stands = self._find_stored(node.id)
        if stands is not None and self._fits(node, stands):
            return stands
        if node.of:
            self._build_parallel(node.needs)
        ground = self.ground(node)
        seen = self._recalled.get(node.id)
        request = resolution.request_for(node, ground.below, context, ground.beside)
        if seen is not None and seen.layer.tree:
            known = seen.settled.request
            same = (known.below, known.beside) == (request.below, request.beside)
            if same and context.claims.find_layer(context.store, seen.layer.key) is not None:
                return seen
        context.cancel.check()
        answered = self._answer(node) if node.subject == "base" and is_composite(node.kind) else None
        wanted = answered or resolution.find_resolution(node, request, ground.below, context)
        if wanted.known:
            settled = resolution.apply_pins(node, wanted.request, wanted.pins)
            layer = context.claims.find_layer(context.store, settled.key)
            if layer is not None:
                return MadeLayer(settled=settled, layer=layer)
        if context.cached_only and not (wanted.known and context.share and resolution.image_diff_id(settled)):
            raise not_cached_error(node)
        return self._work(node, wanted, ground)

    def ground(self, node: Node) -> Parents:
        """Returns the parents of a node, and builds them where they are missing. Raises as `stack` does."""
        beside = {name: tuple(self.node(each) for each in stack) for name, stack in node.beside.items()}
        return Parents(below=tuple(self.node(node_id) for node_id in node.below), beside=beside)

    def _work(self, node: Node, wanted: resolution.Resolution, ground: Parents) -> MadeLayer:
        from envtool.build import shared_layers
        from envtool.build.builder import build_layer
        from envtool.build.site import ContainerSite

        context = self._context
        request, pins = wanted.request, wanted.pins
        event_id = f"{node.subject}:{node.id}"
        with track_work(context, event_id, node.subject, node.spec.name, on=node.on) as piece:
            site = ContainerSite(context, request, ground.below, event_id)
            if not wanted.known:
                context.emit(Progress(id=event_id, phase="resolving"))
                pins = resolution.resolve_pins(node, request, context, site, again=wanted.again)
            settled = resolution.apply_pins(node, request, pins)
            piece.detail = node.kind.summary(request, pins)
            layer = context.claims.find_layer(context.store, settled.key)
            if layer is not None:
                piece.outcome = "cached"
                return MadeLayer(settled=settled, layer=layer)
            try:
                layer, outcome = build_layer(settled, ground, context, event_id, site)
            except BuildError:
                piece.outcome = "failed"
                raise
            surprise = resolution.lock_mismatch(wanted, settled.key, layer.diff_id)
            size = shared_layers.pulled_size(layer) if outcome == "pulled" else ""
            piece.detail = "; ".join(filter(None, [", ".join(filter(None, [piece.detail, size])), surprise]))
            piece.outcome = outcome
            return MadeLayer(settled=settled, layer=layer)


def _independent_pairs(stack: Stack) -> Iterator[tuple[MadeLayer, MadeLayer]]:
    own = sum(made.settled.node.subject == "base" or bool(made.settled.node.of) for made in stack.made)
    for index, upper in enumerate(stack.made[own:], own):  # a base's own layers cover each other on purpose
        ground = {*upper.settled.node.below}
        yield from ((lower, upper) for lower in stack.made[:index] if lower.settled.node.id not in ground)


def _check_conflicts(stack: Stack, context: Context) -> None:
    """Raises BuildError where two layers, neither of which stands on the other, wrote one path differently."""
    for lower, upper in _independent_pairs(stack):
        question: Mapping[str, str] = {"conflicts": lower.layer.key, "with": upper.layer.key}
        answer = answer_cache.get(context.store, dict(question))
        if not isinstance(answer, dict) or not isinstance(answer.get("paths"), list):
            clash = canonical.find_conflicts(layers.read_records(lower.layer), layers.read_records(upper.layer))
            answer = {"paths": [*clash[:10]]}
            answer_cache.put(context.store, dict(question), answer)
        paths = answer["paths"]
        if paths:
            raise BuildError(
                f"layers `{lower.settled.node.spec.name}` and `{upper.settled.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither stands on the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.settled.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )

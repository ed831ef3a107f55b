"""Carries out the plan of a graph on several threads: the first thread does a node, the others wait for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from envtool.build import node_checks, resolution
from envtool.build.assess import NodeState, Sources, StateReader, assess_node
from envtool.build.context import Context
from envtool.build.prefetch import Prefetcher
from envtool.build.resolution import Resolution
from envtool.build.stack import (
    KnownLayer,
    KnownStack,
    Parents,
    Stack,
    StoredLayer,
    check_conflicts,
    check_variables,
    not_cached_error,
    stack_binds,
)
from envtool.errors import BuildError, EnvtoolError, PluginError
from envtool.events import Progress
from envtool.model import Json
from envtool.plan.graph import Graph, Node, expand_parts, is_composite
from envtool.tracking import track_work

__all__ = ["KnownStack", "Scheduler", "Stack", "StoredLayer", "stack_binds"]

PART_THREADS = 8  # sublayers whose files are fetched in parallel


class Scheduler:
    """Carries out the plan of a graph on demand, from any number of threads, each node once. The graph grows as the
    sublayers of bases become known: an env on such a base is planned in two rounds. The states of its nodes (assess.py)
    say what is done for each: a stored layer is reused, any other node is made. A node whose parents' diff IDs are not
    known at first is planned again once the parents are there."""

    def __init__(self, graph: Graph, context: Context) -> None:
        self._graph = graph
        self._context = context
        self._answers: dict[str, Future[Resolution]] = {}  # of bases that have sublayers
        self._futures: dict[str, Future[StoredLayer]] = {}
        self._lock = threading.Lock()
        self._checked: set[str] = set()  # nodes whose inputs and texts all exist
        self._local = StateReader(context, Sources())
        team = context.share is not None and not context.refresh
        # without a team cache it is the same reader: there is nothing more to learn
        self._reader = StateReader(context, Sources(team=True), self._local) if team else self._local
        self._prefetcher = Prefetcher(context)
        context.disk_space.protect(self._stored_keys)

    # ---- what is known ---------------------------------------------------------------------------------------------

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

    def find_known_stack(self, env: str, *, team: bool = False) -> KnownStack | None:
        """Returns the stack of an env as the store (and the `team` cache) know it, without building, pulling or
        resolving anything; None where a diff ID is not known. Raises SpecError, Interrupted."""
        if self._context.refresh:
            return None
        graph = self.known
        ids = graph.stacks[env]
        if team and _lacks_parts(graph, ids[0]):
            return None
        others = [node_id for node_id in graph.parts.get(ids[0], ()) if node_id not in ids]
        states = (self._reader if team else self._local).read(graph, [*ids, *others])
        outputs = tuple(state.output for state in states.values() if state.output is not None)
        return (
            KnownStack(layers=outputs[: len(ids)], other_stages=outputs[len(ids) :])
            if len(outputs) == len(states)
            else None
        )

    def finished_layers(self) -> tuple[KnownLayer, ...]:
        """Returns every node that is done so far, and what is known of those that need not be."""
        with self._lock:
            futures, graph = {**self._futures}, self._graph
        done = [future.result() for future in futures.values() if future.done() and not future.exception()]
        states = [self._state(node_id) for node_id in graph.nodes if node_id not in futures]
        return (*done, *(state.output for state in states if state and state.output))

    def _state(self, node_id: str) -> NodeState | None:
        return self._reader.known(node_id) or self._local.known(node_id)

    def _stored_keys(self) -> Iterator[str]:
        """Yields the keys of the layers of the graph that are in the store, as far as they are known without a
        build."""
        graph = self.known
        for node_id in graph.nodes:
            try:
                state = self._local.read(graph, [node_id])[node_id]
            except EnvtoolError:
                continue
            if isinstance(state.output, StoredLayer):
                yield state.output.layer.key
        self._local.forget_unknown()  # nodes that are not known yet may be known when they are built

    def check(self, envs: Iterable[str]) -> None:
        """Raises SpecError for inputs of these envs' stacks that do not exist, before anything is fetched or built.
        Raises Interrupted."""
        with self._lock:
            graph = self._graph
            stacks = [graph.stacks[env] for env in envs]
            ids = dict.fromkeys(node_id for stack in stacks for node_id in (*stack, *graph.parts.get(stack[0], ())))
            new = [node_id for node_id in ids if node_id not in self._checked and not self._has_output(node_id)]
        node_checks.check_nodes([graph.nodes[node_id] for node_id in new], self._context)
        with self._lock:
            self._checked.update(new)

    def _has_output(self, node_id: str) -> bool:
        state = self._local.known(node_id)
        return state is not None and state.output is not None

    # ---- stacks ----------------------------------------------------------------------------------------------------

    def check_limits(self, envs: Iterable[str]) -> None:
        """Checks the limits of the layers of these envs that are not in the store. Raises SandboxError for one that
        cannot be enforced here. With a team cache that waits until the layer is built after all."""
        if self._context.share is None:
            for env in envs:
                for node in self._unbuilt(env, node_checks.has_limits):
                    node_checks.check_limits(node)

    def check_secrets(self, envs: Iterable[str]) -> None:
        """Reads the secrets of the layers of these envs that are not in the store. Raises SpecError with all that the
        caller does not give."""
        nodes = [node for env in envs for node in self._unbuilt(env, node_checks.names_secrets)]
        node_checks.check_secrets({node.id: node for node in nodes}.values(), self._context)

    def _unbuilt(self, env: str, select: Callable[[Node], bool]) -> list[Node]:
        """Returns those selected layers of an env that are not in the store."""
        graph = self.known
        ids = graph.stacks[env]
        if not any(select(graph.nodes[node_id]) for node_id in ids):
            return []
        states = self._local.read(graph, ids)
        self._local.forget_unknown()  # nodes that are not known yet may be known when they are built
        nodes = [graph.nodes[node_id] for node_id in ids if states[node_id].output is None]
        return [node for node in nodes if select(node)]

    def stack(self, env: str, own: Container[str] = ()) -> Stack:
        """Returns the whole stack of an env, and makes what is missing. `own` are the variables that the env itself
        sets. Raises MakeError, SpecError, Interrupted."""
        self.check([env])
        self.check_secrets([env])
        base = self._expand_parts(self.known.stacks[env][0])
        self.check([env])  # now the sublayers of its base, too
        self.start_pulls([env])
        graph = self.known
        ids, parts = graph.stacks[env], graph.parts.get(base, ())
        needed = self._needed(graph, env)
        skipped = {
            node_id: state.output
            for node_id in parts
            if node_id not in needed and (state := self._state(node_id)) and state.output
        }
        if parts:
            self._do_parallel([node_id for node_id in (base, *parts) if node_id not in skipped])
        stack = Stack(
            layers=tuple(self.node(node_id) for node_id in ids),
            other_stages=tuple(skipped.get(node_id) or self.node(node_id) for node_id in parts if node_id not in ids),
        )
        check_conflicts(stack, self._context)
        check_variables(stack, own)
        return stack

    def start_pulls(self, envs: Iterable[str]) -> None:
        """Reads the states of these envs' stacks, and starts to pull the layers that the team cache has. Raises
        SpecError, Interrupted."""
        graph = self.known
        ids = dict.fromkeys(
            node_id for env in envs for node_id in (*graph.stacks[env], *graph.parts.get(graph.stacks[env][0], ()))
        )
        states = self._reader.read(graph, ids)
        with self._lock:
            begun = {*self._futures}
        self._prefetcher.start(state for state in states.values() if state.in_stack and state.node.id not in begun)

    def wait_for_pulls(self, ids: Iterable[str]) -> None:
        """Waits for all pulls, and with a team cache unpacks those of these nodes that an image's registry has: both
        count as cached. Raises MakeError, Interrupted."""
        self._prefetcher.wait()
        if self._context.share is not None:
            states = [state for node_id in ids if (state := self._state(node_id)) is not None]
            self._do_parallel([state.node.id for state in states if state.where == "image"])

    def _needed(self, graph: Graph, env: str) -> set[str]:
        """Returns the nodes that an env's stack needs: a stored or pulled layer needs no parents."""
        needed: set[str] = set()
        pending = [*graph.stacks[env]]
        while pending:
            node_id = pending.pop()
            if node_id not in needed:
                needed.add(node_id)
                state = self._state(node_id)
                is_stored = state is not None and isinstance(state.output, StoredLayer)
                is_there = is_stored or self._prefetcher.is_pulling(node_id)
                pending += () if is_there else graph.nodes[node_id].needs
        return needed

    def _expand_parts(self, node_id: str) -> str:
        """Adds the sublayers of a base to the graph; its pins are resolved for that. Returns the id. Raises as
        `stack`."""
        node = self._graph.nodes[node_id]
        if _lacks_parts(self.known, node_id):
            answer = self._answer(node)
            with self._lock:
                if node_id not in self._graph.parts:
                    self._graph = expand_parts(self._graph, node_id, node.base_kind.parts(answer.request, answer.pins))
            for reader in {self._local, self._reader}:  # the second round: nodes on this base have other parents now
                reader.forget_unknown()
        return node_id

    def _answer(self, node: Node) -> Resolution:
        """Returns the pins of a base that has sublayers, resolved once: they decide the graph."""
        with self._lock:
            future = self._answers.get(node.id)
            mine = future is None
            if future is None:
                future = self._answers[node.id] = Future()
        if mine:
            try:
                future.set_result(self._resolve_base(node))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _resolve_base(self, node: Node) -> Resolution:
        context = self._context
        answer = resolution.find_resolution(node, resolution.request_for(node, (), context), (), context)
        if answer.known:
            return answer
        if context.cached_only:
            raise not_cached_error(node)
        return resolve(node, answer, (), context)

    # ---- nodes -----------------------------------------------------------------------------------------------------

    def node(self, node_id: str) -> StoredLayer:
        """Returns one base or layer, and makes it and its parents where they are missing. Raises as `stack` does."""
        with self._lock:
            future = self._futures.get(node_id)
            mine = future is None
            if future is None:
                future = self._futures[node_id] = Future()
        if mine:
            try:
                future.set_result(self._do(self._graph.nodes[node_id]))
            except BaseException as error:
                if isinstance(error, PluginError):  # of a method whose arguments do not have the node
                    node = self._graph.nodes[node_id]
                    error.locate(f"{node.subject} `{node.spec.name}`", node.spec.where)
                future.set_exception(error)
        return future.result()

    def pins(self, node_id: str) -> Json:
        """Returns the pins of a base or layer. One whose pins need its parents is made with them. Raises as `stack`
        does."""
        node = self._graph.nodes[node_id]
        if node.subject == "base" and is_composite(node.kind):
            return self._answer(node).pins
        return self.node(node_id).resolved.pins

    def parents_of(self, node: Node) -> Parents:
        """Returns the parents of a node, and makes them where they are missing. Raises as `stack` does."""
        beside = {name: tuple(self.node(node_id) for node_id in stack) for name, stack in node.beside.items()}
        return Parents(below=tuple(self.node(node_id) for node_id in node.below), beside=beside)

    def _do_parallel(self, ids: Iterable[str]) -> None:
        """Does several nodes in parallel: each thread does nodes that no thread has begun, and waits for the others."""
        with self._lock:
            new = [node_id for node_id in ids if node_id not in self._futures]
        if new:
            # more threads than processors: each fetches first, and fetches wait; `Context.turns` limits the builds
            width = min(len(new), max(PART_THREADS, len(os.sched_getaffinity(0))))
            with ThreadPoolExecutor(width, thread_name_prefix="part") as pool:
                [*pool.map(self.node, new)]

    def _do(self, node: Node) -> StoredLayer:
        """Does what the plan says: first without the parents, then on them."""
        made = self._reuse_or_pull(node)
        if made is not None:
            return made
        if node.of:
            self._do_parallel(node.needs)
        parents = self.parents_of(node)
        state = self._assess_on(node, parents)
        if isinstance(state.output, StoredLayer) and self._lease(state.output):
            return state.output
        context = self._context
        context.cancel.check()
        is_image = state.where == "image" and context.share is not None
        if context.cached_only and not is_image:
            raise not_cached_error(node)
        return self._make(state, parents)

    def _reuse_or_pull(self, node: Node) -> StoredLayer | None:
        """Returns a node that is pulled, or was in the store before the run; None where it has to be made."""
        state = self._state(node.id)
        made: KnownLayer | None = self._prefetcher.pulled(node.id)
        if made is None and state is not None:
            made = state.output
        return made if isinstance(made, StoredLayer) and self._lease(made) and self._fits(node, made) else None

    def _lease(self, made: StoredLayer) -> bool:
        return self._context.leases.find_layer(self._context.store, made.layer.key) is not None

    def _fits(self, node: Node, made: StoredLayer) -> bool:
        """Whether the layers below a node in an env's stack have the diff IDs that the node was built on. Raises as
        `stack` does."""
        parents = zip(node.below, made.resolved.request.below, strict=True)
        return all(
            self.node(node_id).layer.diff_id == diff_id for node_id, diff_id in parents if self._is_in_stack(node_id)
        )

    def _is_in_stack(self, node_id: str) -> bool:
        state = self._state(node_id)
        return state is None or state.in_stack

    def _assess_on(self, node: Node, parents: Parents) -> NodeState:
        """Returns the state of a node whose parents are all in the store: the second look."""
        made = {layer.resolved.node.id: layer for stack in (parents.below, *parents.beside.values()) for layer in stack}
        states = {
            node_id: NodeState(node=layer.resolved.node, in_stack=True, resolved=layer.resolved, output=layer)
            for node_id, layer in made.items()
        }
        answer = self._answer(node) if node.subject == "base" and is_composite(node.kind) else None
        return assess_node(node, states, self._context, Sources(), in_stack=True, answer=answer)

    def _make(self, state: NodeState, parents: Parents) -> StoredLayer:
        from envtool.build import shared_layers
        from envtool.build.builder import build_layer
        from envtool.build.site import ContainerSite

        context, node, answer = self._context, state.node, state.answer
        assert answer is not None
        event_id = f"{node.subject}:{node.id}"
        with track_work(context.emit, event_id, node.subject, node.spec.name, on=node.on) as work:
            site = ContainerSite(context, answer.request, parents.below, event_id)
            resolved = state.resolved
            if resolved is None:
                context.emit(Progress(id=event_id, phase="resolving"))
                answer = resolution.resolve_pins(node, answer, context, site)
                resolved = resolution.apply_pins(node, answer.request, answer.pins, file=answer.file)
            work.detail = node.kind.summary(resolved.request, resolved.pins)
            layer = context.leases.find_layer(context.store, resolved.key)
            if layer is not None:
                work.outcome = "cached"
                return StoredLayer(resolved=resolved, layer=layer, diff_id=layer.diff_id)
            try:
                layer, outcome = build_layer(resolved, parents, context, event_id, site)
            except BuildError:
                work.outcome = "failed"
                raise
            finally:
                work.memory, work.cpu_seconds, work.written = context.used.pop(event_id, (0, 0.0, 0))
            mismatch = resolution.lock_mismatch(answer, resolved.key, layer.diff_id)
            size = shared_layers.pulled_size(layer) if outcome == "pulled" else ""
            work.detail = "; ".join(filter(None, [", ".join(filter(None, [work.detail, size])), mismatch]))
            work.outcome = outcome
            return StoredLayer(resolved=resolved, layer=layer, diff_id=layer.diff_id)


def _lacks_parts(graph: Graph, node_id: str) -> bool:
    """Whether a base has sublayers that are not in the graph yet."""
    node = graph.nodes[node_id]
    return node.subject == "base" and is_composite(node.kind) and node_id not in graph.parts


def resolve(node: Node, answer: Resolution, below: Iterable[KnownLayer], context: Context) -> Resolution:
    """Asks for the pins of a node, as a piece of work of its own. Raises MakeError, Interrupted."""
    from envtool.build.site import ContainerSite

    event_id = f"resolve:{node.id}"
    with track_work(context.emit, event_id, "resolve", node.spec.name, on=node.on) as work:
        site = ContainerSite(context, answer.request, [*below], event_id)
        answer = resolution.resolve_pins(node, answer, context, site)
        work.detail = node.kind.summary(answer.request, answer.pins)
        work.outcome = "done"
    return answer

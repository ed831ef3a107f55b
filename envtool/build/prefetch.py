"""Asks the team cache for the layers of a stack, and pulls them ahead of the build.

A key consists of the diff IDs of the parents, and statements hold those: statements are asked for from the bottom up,
level by level, and the blobs are then pulled in parallel. Layers that only a missing layer needs are not pulled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from envtool.build import resolution, shared_layers
from envtool.build.context import Context
from envtool.build.resolution import MadeLayer, ResolvedNode
from envtool.build.tracking import track_work
from envtool.container import userns
from envtool.plan.graph import Graph, Node
from envtool.store import layers
from envtool.store.layers import Layer

LOOKUP_THREADS, FETCH_THREADS = 8, 4  # threads


class Prefetcher:
    """Asks and pulls for one run, from any thread: each node once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # what statements say; a layer that is not in the store has no `tree`
        self._known: dict[str, MadeLayer | None] = {}
        self._coming: dict[str, Future[MadeLayer | None]] = {}
        self._asking = threading.Lock()
        self._bringing = threading.BoundedSemaphore(FETCH_THREADS)

    def ask(self, graph: Graph, wanted: Sequence[str]) -> list[MadeLayer | None]:
        """Returns what is known of these nodes, in the store or the team cache; a layer that is not in the store has no
        `tree`. Raises SpecError, Interrupted."""
        context = self._context
        if context.share is None or context.refresh:
            return [None] * len(wanted)
        with self._asking:
            for level in _levels(graph, wanted, self._known):
                with ThreadPoolExecutor(min(LOOKUP_THREADS, len(level)), thread_name_prefix="ask") as pool:
                    found = [*pool.map(lambda node: self._ask(node, wanted=node.id in wanted), level)]
                self._known |= {node.id: made for node, made in zip(level, found, strict=True)}
            return [self._known[node_id] for node_id in wanted]

    def start(self, graph: Graph, wanted: Sequence[str]) -> None:
        """Starts to pull those of these nodes that the team cache has. Raises as `ask` does."""
        known = self.ask(graph, wanted)
        with self._asking:
            for node_id, made in zip(wanted, known, strict=True):
                if (
                    made is not None
                    and not made.layer.tree
                    and node_id not in self._coming
                    and not resolution.image_diff_id(made.settled)
                ):
                    self._coming[node_id] = self._begin(made.settled)

    def made(self, node_id: str) -> MadeLayer | None:
        """Waits for a node that is being pulled and returns it; None where it has to be built. Raises StoreError,
        Interrupted."""
        future = self._coming.get(node_id)
        return future.result() if future is not None else None

    def known(self, node_id: str) -> MadeLayer | None:
        """Returns what the store or a statement says of a node, or None; a layer that is not in the store has no
        `tree`."""
        return self._known.get(node_id)

    def is_fetching(self, node_id: str) -> bool:
        """Whether a node is being pulled: its parents are not needed for it then."""
        return node_id in self._coming

    def wait(self) -> None:
        """Waits until all pulls have ended. Raises as `made` does."""
        for future in [*self._coming.values()]:
            future.result()

    def _ask(self, node: Node, *, wanted: bool) -> MadeLayer | None:
        context = self._context
        context.cancel.check()
        known = {each: made for each in node.needs if (made := self._known[each]) is not None}
        if len(known) < len(node.needs):
            return None
        below = [known[each] for each in node.below]
        beside = {name: [known[each] for each in stack] for name, stack in node.beside.items()}
        answer = resolution.find_resolution(node, resolution.request_for(node, below, context, beside), below, context)
        if not answer.known:
            return None
        settled = resolution.apply_pins(node, answer.request, answer.pins)
        layer = layers.find(context.store, settled.key)
        if layer is None and not wanted:  # what it came out as is all that is needed
            layer = layers.find_known_output(context.store, settled.key, settled.document)
        layer = layer or self._find_remote(settled, below)
        return MadeLayer(settled=settled, layer=layer) if layer else None

    def _find_remote(self, settled: ResolvedNode, below: Sequence[MadeLayer]) -> Layer | None:
        archive = resolution.image_diff_id(settled)
        if archive:
            return _layer(settled, archive, 0, 0)
        base = below[0].settled if below else settled
        found = (
            shared_layers.find_statement(settled, self._context)
            if shared_layers.is_shareable(settled, base, self._context)
            else None
        )
        if found is None:
            return None
        layer = _layer(settled, found.diff_id, found.size, found.entries)
        with suppress(OSError):  # the next run need not ask
            layers.store_known_output(self._context.store, layer)
        return layer

    def _begin(self, settled: ResolvedNode) -> Future[MadeLayer | None]:
        return _thread(lambda: self._pull_layer(settled))

    def _pull_layer(self, settled: ResolvedNode) -> MadeLayer | None:
        context, node = self._context, settled.node
        event_id = f"{node.subject}:{node.id}:pull"

        def waiting(holder: str) -> None:
            from envtool import net

            context.emit(net.note_event(event_id, f"waiting for another envtool ({holder})"))

        context.make_room()
        with (
            self._bringing,
            track_work(context, event_id, node.subject, node.spec.name, on=node.on) as piece,
            layers.open_draft(
                context.store,
                settled.key,
                remove=userns.remove_as_root,
                waiting=waiting,
                cancelled=context.cancel.is_set,
            ) as draft,
        ):
            piece.detail = node.kind.summary(settled.request, settled.pins)
            piece.outcome = "cached"
            layer = draft.layer
            if layer is None:
                layer = shared_layers.pull_layer(settled, context, draft, event_id)
                piece.outcome = "pulled" if layer else "done"
                piece.detail = ", ".join(
                    filter(None, (piece.detail, shared_layers.pulled_size(layer) if layer else ""))
                )
        return MadeLayer(settled=settled, layer=layer) if layer else None


def _layer(settled: ResolvedNode, diff_id: str, size: int, entries: int) -> Layer:
    return Layer(
        key=settled.key, tree="", manifest="", diff_id=diff_id, size=size, entries=entries, document=settled.document
    )


def _levels(graph: Graph, wanted: Iterable[str], known: Mapping[str, object]) -> list[list[Node]]:
    """Returns the nodes that some need and that are not known yet, in levels: each level needs only levels before
    it."""
    needed: set[str] = set()
    pending = [*wanted]
    while pending:
        node_id = pending.pop()
        if node_id not in needed:
            needed.add(node_id)
            pending += graph.nodes[node_id].needs
    heights: dict[str, int] = {}
    levels: list[list[Node]] = []
    for node in graph.nodes.values():  # each after what it needs
        if node.id not in needed or node.id in known:
            continue
        height = heights[node.id] = max((heights[each] + 1 for each in node.needs if each in heights), default=0)
        if height == len(levels):
            levels.append([])
        levels[height].append(node)
    return levels


def _thread(work: Callable[[], MadeLayer | None]) -> Future[MadeLayer | None]:
    """Runs `work` in a daemon thread: a dead registry must not delay the end of the program."""
    future: Future[MadeLayer | None] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        finally:
            from envtool import net

            net.close_session()

    threading.Thread(target=run, name="pull", daemon=True).start()
    return future

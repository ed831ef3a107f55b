"""Pulls layers from the team cache ahead of the build, side by side.

A key consists of the diff IDs of the parents, and statements hold those: the states of a whole stack are read first
(assess.py), then the blobs come in parallel. Layers that only a missing layer needs are not pulled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from envtool.build import shared_layers
from envtool.build.assess import NodeState
from envtool.build.context import Context
from envtool.build.stack import ResolvedNode, StoredLayer
from envtool.store import layers
from envtool.tracking import track_work

PULL_THREADS = 4  # layers that are pulled at one time


class Prefetcher:
    """Pulls for one run, from any thread: each node once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pulls: dict[str, Future[StoredLayer | None]] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(PULL_THREADS)

    def start(self, states: Iterable[NodeState]) -> None:
        """Starts to pull those nodes that the team cache has."""
        with self._lock:
            for state in states:
                layer = state.output
                if layer is not None and layer.where == "team" and state.node.id not in self._pulls:
                    self._pulls[state.node.id] = self._begin(layer.resolved)

    def pulled(self, node_id: str) -> StoredLayer | None:
        """Waits for a node that is being pulled and returns it; None where it has to be built. Raises StoreError,
        Interrupted."""
        future = self._pulls.get(node_id)
        return future.result() if future is not None else None

    def is_pulling(self, node_id: str) -> bool:
        """Whether a node is being pulled: its parents are not needed for it then."""
        return node_id in self._pulls

    def wait(self) -> None:
        """Waits until all pulls have ended. Raises as `pulled` does."""
        for future in [*self._pulls.values()]:
            future.result()

    def _begin(self, resolved: ResolvedNode) -> Future[StoredLayer | None]:
        return _thread(lambda: self._pull_layer(resolved))

    def _pull_layer(self, resolved: ResolvedNode) -> StoredLayer | None:
        context, node = self._context, resolved.node
        event_id = f"{node.subject}:{node.id}:pull"

        def waiting(holder: str) -> None:
            from envtool import net

            context.emit(net.note_event(event_id, f"waiting for another envtool ({holder})"))

        context.make_room()
        with (
            self._slots,
            track_work(context.emit, event_id, node.subject, node.spec.name, on=node.on) as work,
            layers.open_draft(
                context.store,
                resolved.key,
                remove=context.runner.remove,
                waiting=waiting,
                cancelled=context.cancel.is_set,
            ) as draft,
        ):
            work.detail = node.kind.summary(resolved.request, resolved.pins)
            work.outcome = "cached"
            layer = draft.layer
            if layer is None:
                layer = shared_layers.pull_layer(resolved, context, draft, event_id)
                work.outcome = "pulled" if layer else "done"
                size = shared_layers.pulled_size(layer) if layer else ""
                work.detail = ", ".join(filter(None, (work.detail, size)))
        return StoredLayer(resolved=resolved, layer=layer, diff_id=layer.diff_id) if layer else None


def _thread(work: Callable[[], StoredLayer | None]) -> Future[StoredLayer | None]:
    """Runs `work` in a daemon thread: a dead registry must not delay the end of the program."""
    future: Future[StoredLayer | None] = Future()

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

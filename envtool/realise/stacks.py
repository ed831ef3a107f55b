"""The stacks of many envs: each node is made once, whoever asks first; the others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from envtool.errors import BuildError, EnvtoolError, MakeError
from envtool.plan.graph import Graph, Node
from envtool.realise import settle
from envtool.realise.build import build, stack_binds
from envtool.realise.setting import Setting
from envtool.realise.settle import Made
from envtool.realise.site import StackSite
from envtool.realise.told import told
from envtool.store import canonical, layers, memo

__all__ = ["Made", "Stack", "Stacks", "stack_binds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The made layers of one env, bottom first."""

    made: tuple[Made, ...]

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.made[0].settled.epoch

    @property
    def variables(self) -> dict[str, str]:
        """What the layers set, bottom first."""
        return settle.variables([made.settled for made in self.made])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Content addresses, bottom first."""
        return tuple(made.layer.diff_id for made in self.made)


class Stacks:
    """Makes the nodes of a graph on demand, from any number of threads, each node once."""

    def __init__(self, graph: Graph, setting: Setting) -> None:
        self._graph = graph
        self._setting = setting
        self._futures: dict[str, Future[Made]] = {}
        self._lock = threading.Lock()
        self._recalled: dict[str, Made | None] = {}
        self._recalling = threading.Lock()
        setting.room.need(self._standing)

    def stack(self, env: str) -> Stack:
        """The whole stack of an env, made where it was not. Raises MakeError, SpecError, Interrupted."""
        stack = Stack(made=tuple(self.node(node_id) for node_id in self._graph.stacks[env]))
        _agree(stack, self._setting)
        return stack

    def recalled(self, env: str) -> Stack | None:
        """The stack of an env as it came out before, without making, asking or fetching anything; None where that is
        not known. Layers that are gone from the store are in it too, with an empty `tree`. Raises SpecError."""
        if self._setting.refresh:
            return None
        with self._recalling:
            found = [self._recall(self._graph.nodes[node_id]) for node_id in self._graph.stacks[env]]
        made = tuple(each for each in found if each is not None)
        return Stack(made=made) if len(made) == len(found) else None

    def _recall(self, node: Node) -> Made | None:
        if node.id in self._recalled:
            return self._recalled[node.id]
        made: Made | None = None
        found = [self._recall(self._graph.nodes[node_id]) for node_id in node.below]
        below = [each for each in found if each is not None]
        if len(below) == len(found):
            request = settle.request_for(node, below, self._setting)
            wanted = settle.wanted(node, request, below, self._setting)
            if wanted.known:
                settled = settle.settled(node, wanted.request, wanted.pins)
                layer = layers.find(self._setting.store, settled.key) or layers.recall(
                    self._setting.store, settled.key, settled.document
                )
                made = Made(settled=settled, layer=layer) if layer else None
        self._recalled[node.id] = made
        return made

    def _standing(self) -> Iterator[str]:
        """Keys of the layers of the graph that stand already, as far as that is known without making any."""
        for node in self._graph.nodes.values():
            try:
                with self._recalling:
                    made = self._recall(node)
            except EnvtoolError:
                continue
            if made is not None and made.layer.tree:
                yield made.layer.key

    def made(self) -> tuple[Made, ...]:
        """Every node that stands so far."""
        with self._lock:
            futures = [*self._futures.values()]
        return tuple(future.result() for future in futures if future.done() and not future.exception())

    def node(self, node_id: str) -> Made:
        """One base or layer, made (with all that it stands on) where it was not. Raises as `stack` does."""
        with self._lock:
            future = self._futures.get(node_id)
            mine = future is None
            if future is None:
                future = self._futures[node_id] = Future()
        if mine:
            try:
                future.set_result(self._make(self._graph.nodes[node_id]))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _make(self, node: Node) -> Made:
        setting = self._setting
        below = [self.node(node_id) for node_id in node.below]
        seen = self._recalled.get(node.id)
        ground = tuple(made.layer.diff_id for made in below)
        fits = seen is not None and seen.layer.tree and seen.settled.request.below == ground
        if seen is not None and fits and setting.claims.find(setting.store, seen.layer.key) is not None:
            return seen
        setting.cancel.check()
        wanted = settle.wanted(node, settle.request_for(node, below, setting), below, setting)
        if wanted.known:
            settled = settle.settled(node, wanted.request, wanted.pins)
            layer = setting.claims.find(setting.store, settled.key)
            if layer is not None:
                return Made(settled=settled, layer=layer)
        if setting.cached_only:
            raise MakeError(f"{node.subject} `{node.spec.name}` is not cached", code="not-cached")
        return self._work(node, wanted, below)

    def _work(self, node: Node, wanted: settle.Wanted, below: list[Made]) -> Made:
        setting = self._setting
        request, pins = wanted.request, wanted.pins
        event_id = f"{node.subject}:{node.id}"
        with told(setting, event_id, node.subject, node.spec.name) as piece:
            site = StackSite(setting, request, below, event_id)
            if not wanted.known:
                pins = settle.resolve(node, request, setting, site, again=wanted.again)
            settled = settle.settled(node, request, pins)
            piece.detail = node.kind.summary(request, pins)
            layer = setting.claims.find(setting.store, settled.key)
            if layer is not None:
                piece.outcome = "cached"
                return Made(settled=settled, layer=layer)
            try:
                layer, ours = build(settled, below, setting, event_id, site)
            except BuildError:
                piece.outcome = "failed"
                raise
            surprise = settle.surprise(wanted, settled.key, layer.diff_id)
            piece.detail = "; ".join(filter(None, [piece.detail, surprise]))
            piece.outcome = "built" if ours else "cached"
            return Made(settled=settled, layer=layer)


def _strangers(stack: Stack) -> Iterator[tuple[Made, Made]]:
    for index, upper in enumerate(stack.made):
        ground = {*upper.settled.node.below}
        yield from ((lower, upper) for lower in stack.made[:index] if lower.settled.node.id not in ground)


def _agree(stack: Stack, setting: Setting) -> None:
    """Raise BuildError where two layers of which neither stands on the other wrote one path differently."""
    for lower, upper in _strangers(stack):
        question: Mapping[str, str] = {"conflicts": lower.layer.key, "with": upper.layer.key}
        answer = memo.get(setting.store, dict(question))
        if answer is None:
            clash = canonical.conflicts(lower.layer.manifest, upper.layer.manifest)
            answer = {"paths": [*clash[:10]]}
            memo.put(setting.store, dict(question), answer)
        paths = answer["paths"]
        if paths:
            raise BuildError(
                f"layers `{lower.settled.node.spec.name}` and `{upper.settled.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither stands on the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.settled.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )

"""The stacks of many envs: each node is made once, whoever asks first; the others wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from envtool.errors import BuildError, EnvtoolError
from envtool.events import Finished, Outcome, Started
from envtool.plan.graph import Graph, Node
from envtool.plan.plan import Known
from envtool.realise import settle
from envtool.realise.build import build, stack_binds
from envtool.realise.setting import Setting
from envtool.realise.settle import Made
from envtool.realise.site import StackSite
from envtool.store import canonical, layers, memo

__all__ = ["Made", "Stack", "Stacks", "known", "stack_binds"]


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

    def stack(self, env: str) -> Stack:
        """The whole stack of an env, made where it was not. Raises MakeError, SpecError, Interrupted."""
        stack = Stack(made=tuple(self._node(node_id) for node_id in self._graph.stacks[env]))
        _agree(stack, self._setting)
        return stack

    def node(self, node_id: str) -> Made:
        """One node, made where it was not. Raises MakeError, SpecError, Interrupted."""
        return self._node(node_id)

    def made(self) -> tuple[Made, ...]:
        """Every node that stands so far."""
        with self._lock:
            futures = [*self._futures.values()]
        return tuple(future.result() for future in futures if future.done() and not future.exception())

    def _node(self, node_id: str) -> Made:
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
        below = [self._node(node_id) for node_id in node.below]
        setting.cancel.check()
        wanted = settle.wanted(node, settle.request_for(node, below, setting), below, setting)
        if wanted.known:
            settled = settle.settled(node, wanted.request, wanted.pins)
            layer = layers.find(setting.store, settled.key)
            if layer is not None:
                return Made(settled=settled, layer=layer)
        return self._work(node, wanted, below)

    def _work(self, node: Node, wanted: settle.Wanted, below: list[Made]) -> Made:
        setting = self._setting
        request, pins = wanted.request, wanted.pins
        began = time.time()
        event_id = f"{node.subject}:{node.id}"
        setting.emit(Started(id=event_id, subject=node.subject, name=node.spec.name, time=began))
        outcome: Outcome = "error"
        detail = ""
        try:
            site = StackSite(setting, request, below, event_id)
            if not wanted.known:
                pins = settle.resolve(node, request, setting, site, again=wanted.again)
            settled = settle.settled(node, request, pins)
            detail = node.kind.summary(request, pins)
            layer = layers.find(setting.store, settled.key)
            outcome = "cached"
            if layer is None:
                outcome = "error"
                layer, ours = build(settled, below, setting, event_id, site)
                outcome = "built" if ours else "cached"
                detail = "; ".join(filter(None, [detail, settle.surprise(wanted, settled.key, layer.diff_id)]))
            return Made(settled=settled, layer=layer)
        except BuildError:
            outcome = "failed"
            raise
        except EnvtoolError as error:
            outcome = "interrupted" if error.exit_status == 130 else "error"
            raise
        finally:
            now = time.time()
            setting.emit(
                Finished(
                    id=event_id,
                    subject=node.subject,
                    name=node.spec.name,
                    outcome=outcome,
                    time=now,
                    seconds=now - began,
                    detail=detail,
                )
            )


def known(graph: Graph, setting: Setting) -> dict[str, Known]:
    """What can be said of every node without asking or building anything: what `envtool plan` shows."""
    made: dict[str, Made] = {}
    states: dict[str, Known] = {}
    for node in graph.nodes.values():
        if any(node_id not in made for node_id in node.below):
            states[node.id] = Known(state="unknown")
            continue
        below = [made[node_id] for node_id in node.below]
        wanted = settle.wanted(node, settle.request_for(node, below, setting), below, setting)
        request, pins = wanted.request, wanted.pins
        if not wanted.known:
            states[node.id] = Known(state="unknown", summary="not resolved yet")
            continue
        settled = settle.settled(node, request, pins)
        layer = layers.find(setting.store, settled.key)
        summary = node.kind.summary(request, pins)
        states[node.id] = Known(state="cached" if layer else "build", key=settled.key, summary=summary)
        if layer is not None:
            made[node.id] = Made(settled=settled, layer=layer)
    return states


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

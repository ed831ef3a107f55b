"""Fetches the pinned files of a whole spec and builds only what it takes to know them.

A node that the lock answers needs no parent. A node that has to be resolved needs its parents, so those are built;
parents of no such node are not. A node whose kind has no pins is resolved on parents that are *assumed*: its files do
not depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from envtool.api import Fetch
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files, lease_blobs
from envtool.build.resolution import MadeLayer, ResolvedNode
from envtool.build.scheduler import Scheduler
from envtool.build.site import ContainerSite
from envtool.build.tracking import track_work
from envtool.errors import ResolveError
from envtool.plan.graph import Graph, Node
from envtool.store import blobs
from envtool.store.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """A pinned file and the nodes that need it: names as in "base bookworm", "layer deps", in the order of the spec."""

    fetch: Fetch
    names: tuple[str, ...]  # its names in builds; mostly one
    needed_by: tuple[str, ...]
    size: int = 0  # bytes in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredFiles:
    """All files of a spec, sorted by sha256; how many of them (and bytes) were not in the store before."""

    files: tuple[WantedFile, ...]
    fetched: int
    fetched_bytes: int


def fetch_all_files(graph: Graph, context: Context, *, jobs: int = 0) -> GatheredFiles:
    """Resolves every node and fetches its files into the store. Raises MakeError, SpecError, Interrupted."""
    stacks = Scheduler(graph, context)
    stacks.check(graph.stacks)
    graph = stacks.graph()
    stacks.check(graph.stacks)
    nodes = _resolve_all(graph, stacks, context, jobs)
    files_by_hash: dict[str, WantedFile] = {}
    for node in nodes:
        settled = node.settled
        name = f"{settled.node.subject} {settled.node.spec.name}"
        for fetch in settled.fetches:
            earlier = files_by_hash.get(fetch.sha256)
            files_by_hash[fetch.sha256] = WantedFile(
                fetch=earlier.fetch if earlier else fetch,
                names=_append_once(earlier.names if earlier else (), fetch.name),
                needed_by=_append_once(earlier.needed_by if earlier else (), name),
            )
    lease_blobs([item.fetch for item in files_by_hash.values()], context)
    missing = {
        sha256 for sha256, item in files_by_hash.items() if not blobs.has(context.store, sha256, item.fetch.size)
    }
    with ThreadPoolExecutor(2, thread_name_prefix="fetch") as pool:  # each fetches eight files at once
        [*pool.map(lambda node: _fetch_node_files(node, stacks, context), nodes)]
    files = tuple(
        WantedFile(fetch=item.fetch, names=item.names, needed_by=item.needed_by, size=_size(context, item.fetch))
        for _, item in sorted(files_by_hash.items())
    )
    new_files = [item for item in files if item.fetch.sha256 in missing]
    return GatheredFiles(files=files, fetched=len(new_files), fetched_bytes=sum(item.size for item in new_files))


def _append_once(known: tuple[str, ...], name: str) -> tuple[str, ...]:
    return known if name in known else (*known, name)


def _size(context: Context, fetch: Fetch) -> int:
    return os.stat(blobs.path(context.store, fetch.sha256)).st_size


# ---- resolving -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _AssumedLayer(MadeLayer):
    """A resolved node that may not be built, and its parents."""

    below: tuple[MadeLayer, ...]


def resolve_without_build(graph: Graph, context: Context) -> dict[str, ResolvedNode]:
    """Returns the nodes that are resolved without any build, by id: those that the lock answers, and those without pins
    on such nodes. A kind that pins this machine is asked at once."""
    found: dict[str, ResolvedNode] = {}
    for node in graph.nodes.values():
        below = [found[node_id] for node_id in node.below if node_id in found]
        if len(below) == len(node.below) and (settled := _resolve_without_build(node, below, context)) is not None:
            found[node.id] = settled
    return found


def _resolve_without_build(node: Node, below: Sequence[ResolvedNode], context: Context) -> ResolvedNode | None:
    request = resolution.request_from_resolved(node, below, (), context)
    if not resolution.needs_resolution(node.kind):
        return resolution.apply_pins(node, request, None)
    if not node.below and not node.kind.pinned:
        known, pins = resolution.find_cached_pins(node, request, context)
        if context.refresh or not known:
            pins = resolution.resolve_pins(
                node, request, context, ContainerSite(context, request, (), ""), again=context.refresh
            )
        return resolution.apply_pins(node, request, pins)
    question = resolution.question_for_lock(node, request, below)
    if context.refresh or question.id in context.moving:
        return None
    locked = resolution.find_locked_answer(node, request, question, context)
    return resolution.apply_pins(node, request, locked.pins) if locked is not None else None


def nodes_to_build(graph: Graph, known: Mapping[str, ResolvedNode]) -> frozenset[str]:
    """Returns the nodes that must be built before all pins are known, when those in `known` are."""
    return frozenset(
        below
        for node in graph.nodes.values()
        if node.id not in known and resolution.needs_resolution(node.kind)
        for below in node.below
    )


def _resolve_all(graph: Graph, stacks: Scheduler, context: Context, jobs: int) -> list[_AssumedLayer]:
    """Resolves every node, in the graph's order; in parallel where one does not need the other."""
    known = resolve_without_build(graph, context)
    needed = nodes_to_build(graph, known)
    futures: dict[str, Future[_AssumedLayer]] = {}

    def one(node: Node) -> _AssumedLayer:
        context.cancel.check()
        below = tuple(futures[node_id].result() for node_id in node.below)  # all were started before this one
        if node.id in needed:
            made = stacks.node(node.id)
            return _AssumedLayer(settled=made.settled, layer=made.layer, below=below)
        settled = known[node.id] if node.id in known else _resolve_one(node, below, context)
        return _AssumedLayer(settled=settled, layer=_unbuilt_layer(), below=below)

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="resolve") as pool:
        for node in graph.nodes.values():
            futures[node.id] = pool.submit(one, node)
        try:
            return [futures[node_id].result() for node_id in graph.nodes]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _resolve_one(node: Node, below: Sequence[MadeLayer], context: Context) -> ResolvedNode:
    wanted = resolution.find_resolution(node, resolution.request_for(node, below, context), below, context)
    if wanted.known:
        return resolution.apply_pins(node, wanted.request, wanted.pins)
    event_id = f"resolve:{node.id}"
    with track_work(context, event_id, "resolve", node.spec.name, on=node.on) as piece:
        site = ContainerSite(context, wanted.request, below, event_id)
        pins = resolution.resolve_pins(node, wanted.request, context, site, again=wanted.again)
        piece.detail = node.kind.summary(wanted.request, pins)
        piece.outcome = "done"
    return resolution.apply_pins(node, wanted.request, pins)


def _unbuilt_layer() -> Layer:
    """Takes the place of a layer that is not built: nodes on it ask nothing."""
    return Layer(key="", tree="", manifest="", diff_id="", size=0, entries=0, document={})


# ---- fetching --------------------------------------------------------------------------------------------------------


def _fetch_node_files(made: _AssumedLayer, stacks: Scheduler, context: Context) -> None:
    settled = made.settled
    missing = [fetch for fetch in settled.fetches if not blobs.has(context.store, fetch.sha256, fetch.size)]
    if not missing:
        return
    context.cancel.check()
    event_id = f"fetch:{settled.node.id}"
    total = sum(fetch.size for fetch in missing)
    with track_work(context, event_id, "fetch", settled.node.spec.name, total=total, on=settled.node.on) as piece:
        piece.detail = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"
        try:
            fetch_layer_files(settled, context, event_id, ContainerSite(context, settled.request, made.below, event_id))
        except ResolveError as error:
            if error.code != "no-stack":
                raise
            # only a container on the stack knows where the files are (npm's default registry): the stack is built
            below = [stacks.node(node_id) for node_id in settled.node.below]
            fetch_layer_files(settled, context, event_id, ContainerSite(context, settled.request, below, event_id))
        piece.outcome = "done"

"""Fetches the pinned files of a whole spec and builds only what it takes to know them.

A node that the lock answers needs no parent. A node that has to be resolved needs its parents, so those are built;
parents of no such node are not. A node whose kind has no pins is resolved on parents that are *assumed*: its files do
not depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from envtool.api import Fetch
from envtool.build import resolution
from envtool.build.assess import Sources, StateReader
from envtool.build.context import Context
from envtool.build.fetch_files import fetch_layer_files, lease_blobs
from envtool.build.scheduler import Scheduler, resolve
from envtool.build.site import ContainerSite
from envtool.build.stack import KnownLayer, ResolvedNode, UnstoredLayer
from envtool.errors import ResolveError
from envtool.lazy_dataclass import dataclass
from envtool.plan.graph import Graph, Node
from envtool.store import blobs
from envtool.tracking import track_work


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
    stored = blobs.list_digests(context.store)  # before anything is built: a build fetches the files of its layer
    stacks = Scheduler(graph, context)
    stacks.check(graph.stacks)
    graph = stacks.graph()
    stacks.check(graph.stacks)
    nodes = _resolve_all(graph, stacks, context, jobs)
    files_by_hash: dict[str, WantedFile] = {}
    for node in nodes:
        resolved = node.layer.resolved
        name = f"{resolved.node.subject} {resolved.node.spec.name}"
        for fetch in resolved.fetches:
            earlier = files_by_hash.get(fetch.sha256)
            files_by_hash[fetch.sha256] = WantedFile(
                fetch=earlier.fetch if earlier else fetch,
                names=_append_once(earlier.names if earlier else (), fetch.name),
                needed_by=_append_once(earlier.needed_by if earlier else (), name),
            )
    lease_blobs([item.fetch for item in files_by_hash.values()], context)
    missing = {
        sha256
        for sha256, item in files_by_hash.items()
        if sha256 not in stored or not blobs.has(context.store, sha256, item.fetch.size)
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
class _Gathered:
    """A resolved node and its parents, which need not be in the store."""

    layer: KnownLayer
    below: tuple[KnownLayer, ...]


def nodes_to_build(graph: Graph, known: Container[str]) -> frozenset[str]:
    """Returns the nodes that must be built before all pins are known, when those of `known` (ids) are."""
    return frozenset(
        below
        for node in graph.nodes.values()
        if node.id not in known and resolution.needs_resolution(node.kind)
        for below in node.below
    )


def _resolve_all(graph: Graph, stacks: Scheduler, context: Context, jobs: int) -> list[_Gathered]:
    """Resolves every node, in the graph's order; in parallel where one does not need the other."""
    of_machine = {node.id: _resolve_machine(node, context) for node in graph.nodes.values() if _is_machine_base(node)}
    states = StateReader(context, Sources(assume=True)).read(graph)
    known = {node_id: state.resolved for node_id, state in states.items() if state.resolved is not None} | of_machine
    needed = nodes_to_build(graph, known)
    futures: dict[str, Future[_Gathered]] = {}

    def gather(node: Node) -> _Gathered:
        context.cancel.check()
        below = tuple(futures[node_id].result().layer for node_id in node.below)  # all were started before this one
        if node.id in needed:
            return _Gathered(layer=stacks.node(node.id), below=below)
        if output := states[node.id].output:
            return _Gathered(layer=output, below=below)
        resolved = known[node.id] if node.id in known else _resolve_one(node, below, context)
        return _Gathered(layer=UnstoredLayer(resolved=resolved, diff_id="", where="absent"), below=below)

    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), thread_name_prefix="resolve") as pool:
        for node in graph.nodes.values():
            futures[node.id] = pool.submit(gather, node)
        try:
            return [futures[node_id].result() for node_id in graph.nodes]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _is_machine_base(node: Node) -> bool:
    return not node.below and not node.is_pinned and resolution.needs_resolution(node.kind)


def _resolve_machine(node: Node, context: Context) -> ResolvedNode:
    """Resolves a base that shows this machine: at once, since the pins of other nodes depend on it."""
    request = resolution.request_for(node, (), context)
    answer = resolution.find_resolution(node, request, (), context)
    if not answer.known:
        answer = resolution.resolve_pins(node, answer, context, ContainerSite(context, request, (), ""))
    return resolution.apply_pins(node, request, answer.pins)


def _resolve_one(node: Node, below: Sequence[KnownLayer], context: Context) -> ResolvedNode:
    parents = [layer.resolved for layer in below]
    answer = resolution.find_resolution(node, resolution.request_for(node, below, context), parents, context)
    if not answer.known:
        answer = resolve(node, answer, below, context)
    return resolution.apply_pins(node, answer.request, answer.pins)


# ---- fetching --------------------------------------------------------------------------------------------------------


def _fetch_node_files(node: _Gathered, stacks: Scheduler, context: Context) -> None:
    resolved = node.layer.resolved
    missing = [fetch for fetch in resolved.fetches if not blobs.has(context.store, fetch.sha256, fetch.size)]
    if not missing:
        return
    context.cancel.check()
    event_id = f"fetch:{resolved.node.id}"
    total = sum(fetch.size for fetch in missing)
    with track_work(context.emit, event_id, "fetch", resolved.node.spec.name, total=total, on=resolved.node.on) as work:
        work.detail = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"
        try:
            fetch_layer_files(
                resolved, context, event_id, ContainerSite(context, resolved.request, node.below, event_id)
            )
        except ResolveError as error:
            if error.code != "no-stack":
                raise
            # only a container on the stack knows where the files are (npm's default registry): the stack is built
            below = [stacks.node(node_id) for node_id in resolved.node.below]
            fetch_layer_files(resolved, context, event_id, ContainerSite(context, resolved.request, below, event_id))
        work.outcome = "done"

"""The pinned files of a whole spec, without building more than it takes to know them.

What the lock answers needs nothing to stand. A node whose pins have to be asked for is asked on what it stands on, so
that is built; what no such node stands on is not. A node whose kind asks nothing is settled on what is *supposed* to
lie below it: its files do not depend on that.
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
    """A pinned file and what it is for: names as in "base bookworm", "layer deps", in the order of the spec."""

    fetch: Fetch
    names: tuple[str, ...]  # what builds call it; mostly one
    needed_by: tuple[str, ...]
    size: int = 0  # bytes, as it lies in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredFiles:
    """All files of a spec, sorted by sha256; how many of them (and bytes) were not in the store before."""

    files: tuple[WantedFile, ...]
    fetched: int
    fetched_bytes: int


def fetch_all_files(graph: Graph, setting: Context, *, jobs: int = 0) -> GatheredFiles:
    """Know every node's files, and bring them into the store. Raises MakeError, SpecError, Interrupted."""
    stacks = Scheduler(graph, setting)
    stacks.check(graph.stacks)
    graph = stacks.graph()
    stacks.check(graph.stacks)
    nodes = _resolve_all(graph, stacks, setting, jobs)
    found: dict[str, WantedFile] = {}
    for made in nodes:
        settled = made.settled
        name = f"{settled.node.subject} {settled.node.spec.name}"
        for fetch in settled.fetches:
            known = found.get(fetch.sha256)
            found[fetch.sha256] = WantedFile(
                fetch=known.fetch if known else fetch,
                names=_append_once(known.names if known else (), fetch.name),
                needed_by=_append_once(known.needed_by if known else (), name),
            )
    lease_blobs([item.fetch for item in found.values()], setting)
    absent = {sha256 for sha256, item in found.items() if not blobs.has(setting.store, sha256, item.fetch.size)}
    with ThreadPoolExecutor(2, thread_name_prefix="bring") as pool:  # each brings eight files at once
        [*pool.map(lambda made: _fetch_node_files(made, stacks, setting), nodes)]
    files = tuple(
        WantedFile(fetch=item.fetch, names=item.names, needed_by=item.needed_by, size=_size(setting, item.fetch))
        for _, item in sorted(found.items())
    )
    new = [item for item in files if item.fetch.sha256 in absent]
    return GatheredFiles(files=files, fetched=len(new), fetched_bytes=sum(item.size for item in new))


def _append_once(known: tuple[str, ...], name: str) -> tuple[str, ...]:
    return known if name in known else (*known, name)


def _size(setting: Context, fetch: Fetch) -> int:
    return os.stat(blobs.path(setting.store, fetch.sha256)).st_size


# ---- knowing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _AssumedLayer(MadeLayer):
    """A node that is known and may not stand, and what it was settled on."""

    below: tuple[MadeLayer, ...]


def resolve_without_build(graph: Graph, setting: Context) -> dict[str, ResolvedNode]:
    """The nodes that are settled without anything standing, by id: those the lock answers, and those that ask nothing
    and stand on such. What is unpinned is this machine's, and asked at once."""
    found: dict[str, ResolvedNode] = {}
    for node in graph.nodes.values():
        below = [found[node_id] for node_id in node.below if node_id in found]
        if len(below) == len(node.below) and (settled := _resolve_without_build(node, below, setting)) is not None:
            found[node.id] = settled
    return found


def _resolve_without_build(node: Node, below: Sequence[ResolvedNode], setting: Context) -> ResolvedNode | None:
    request = resolution.request_from_resolved(node, below, (), setting)
    if not resolution.needs_resolution(node.kind):
        return resolution.settled(node, request, None)
    if not node.below and not node.kind.pinned:
        known, pins = resolution.find_cached_pins(node, request, setting)
        if setting.refresh or not known:
            pins = resolution.resolve_pins(
                node, request, setting, ContainerSite(setting, request, (), ""), again=setting.refresh
            )
        return resolution.settled(node, request, pins)
    question = resolution.question_for_lock(node, request, below)
    if setting.refresh or question.id in setting.moving:
        return None
    locked = resolution.find_locked_answer(node, request, question, setting)
    return resolution.settled(node, request, locked.pins) if locked is not None else None


def nodes_to_build(graph: Graph, known: Mapping[str, ResolvedNode]) -> frozenset[str]:
    """The nodes that have to stand before all pins can be known, when those `known` are."""
    return frozenset(
        below
        for node in graph.nodes.values()
        if node.id not in known and resolution.needs_resolution(node.kind)
        for below in node.below
    )


def _resolve_all(graph: Graph, stacks: Scheduler, setting: Context, jobs: int) -> list[_AssumedLayer]:
    """Every node settled, in the graph's order; side by side where one does not need the other."""
    known = resolve_without_build(graph, setting)
    needed = nodes_to_build(graph, known)
    futures: dict[str, Future[_AssumedLayer]] = {}

    def one(node: Node) -> _AssumedLayer:
        setting.cancel.check()
        below = tuple(futures[node_id].result() for node_id in node.below)  # all were started before this one
        if node.id in needed:
            made = stacks.node(node.id)
            return _AssumedLayer(settled=made.settled, layer=made.layer, below=below)
        settled = known[node.id] if node.id in known else _resolve_one(node, below, setting)
        return _AssumedLayer(settled=settled, layer=_unbuilt_layer(), below=below)

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="settle") as pool:
        for node in graph.nodes.values():
            futures[node.id] = pool.submit(one, node)
        try:
            return [futures[node_id].result() for node_id in graph.nodes]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _resolve_one(node: Node, below: Sequence[MadeLayer], setting: Context) -> ResolvedNode:
    wanted = resolution.find_resolution(node, resolution.request_for(node, below, setting), below, setting)
    if wanted.known:
        return resolution.settled(node, wanted.request, wanted.pins)
    event_id = f"resolve:{node.id}"
    with track_work(setting, event_id, "resolve", node.spec.name, on=node.on) as piece:
        site = ContainerSite(setting, wanted.request, below, event_id)
        pins = resolution.resolve_pins(node, wanted.request, setting, site, again=wanted.again)
        piece.detail = node.kind.summary(wanted.request, pins)
        piece.outcome = "done"
    return resolution.settled(node, wanted.request, pins)


def _unbuilt_layer() -> Layer:
    """Stands for a layer that is not built: whoever stands on it asks nothing."""
    return Layer(key="", tree="", manifest="", diff_id="", size=0, entries=0, document={})


# ---- bringing --------------------------------------------------------------------------------------------------------


def _fetch_node_files(made: _AssumedLayer, stacks: Scheduler, setting: Context) -> None:
    settled = made.settled
    missing = [fetch for fetch in settled.fetches if not blobs.has(setting.store, fetch.sha256, fetch.size)]
    if not missing:
        return
    setting.cancel.check()
    event_id = f"fetch:{settled.node.id}"
    total = sum(fetch.size for fetch in missing)
    with track_work(setting, event_id, "fetch", settled.node.spec.name, total=total, on=settled.node.on) as piece:
        piece.detail = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"
        try:
            fetch_layer_files(settled, setting, event_id, ContainerSite(setting, settled.request, made.below, event_id))
        except ResolveError as error:
            if error.code != "no-stack":
                raise
            # where the files are can only be asked in the stack itself (npm's own default registry): so it is made
            below = [stacks.node(node_id) for node_id in settled.node.below]
            fetch_layer_files(settled, setting, event_id, ContainerSite(setting, settled.request, below, event_id))
        piece.outcome = "done"

"""The pinned files of a whole spec, without building more than it takes to know them.

A node whose pins have to be asked for is asked on what it stands on, so that is built; what no such node stands on is
not. A node whose kind asks nothing is settled on what is *supposed* to lie below it: its files do not depend on that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from envtool.api import Fetch, Kind, Request
from envtool.errors import EnvtoolError
from envtool.events import Finished, Outcome, Started, Subject
from envtool.model import Json
from envtool.plan.graph import Graph, Node
from envtool.realise import settle
from envtool.realise.setting import Setting
from envtool.realise.settle import Made, Settled
from envtool.realise.site import StackSite
from envtool.realise.stacks import Stacks
from envtool.store import blobs, download, sources
from envtool.store.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A pinned file and what it is for: names as in "base bookworm", "layer deps", in the order of the spec."""

    fetch: Fetch
    names: tuple[str, ...]  # what builds call it; mostly one
    needed_by: tuple[str, ...]
    size: int = 0  # bytes, as it lies in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All files of a spec, sorted by sha256; how many of them (and bytes) were not in the store before."""

    files: tuple[Wanted, ...]
    fetched: int
    fetched_bytes: int


def standing(graph: Graph) -> frozenset[str]:
    """The nodes that have to stand before all pins can be known."""
    return frozenset(below for node in graph.nodes.values() if asks(node.kind) for below in node.below)


def asks(kind: Kind) -> bool:
    """Whether a kind settles something by asking."""
    return type(kind).resolve is not Kind.resolve


def gather(graph: Graph, setting: Setting, *, jobs: int = 0) -> Gathered:
    """Know every node's files, and bring them into the store. Raises MakeError, SpecError, Interrupted."""
    nodes = _settle(graph, setting, jobs)
    found: dict[str, Wanted] = {}
    for settled in nodes:
        name = f"{settled.node.subject} {settled.node.spec.name}"
        for fetch in settled.fetches:
            known = found.get(fetch.sha256)
            found[fetch.sha256] = Wanted(
                fetch=known.fetch if known else fetch,
                names=_with(known.names if known else (), fetch.name),
                needed_by=_with(known.needed_by if known else (), name),
            )
    missing = [
        item.fetch for item in found.values() if not blobs.has(setting.store, item.fetch.sha256, item.fetch.size)
    ]
    _bring([item.fetch for item in found.values()], missing, setting)
    files = tuple(
        Wanted(fetch=item.fetch, names=item.names, needed_by=item.needed_by, size=_size(setting, item.fetch))
        for _, item in sorted(found.items())
    )
    absent = {fetch.sha256 for fetch in missing}
    new = [item for item in files if item.fetch.sha256 in absent]
    return Gathered(files=files, fetched=len(new), fetched_bytes=sum(item.size for item in new))


def _with(known: tuple[str, ...], name: str) -> tuple[str, ...]:
    return known if name in known else (*known, name)


def _size(setting: Setting, fetch: Fetch) -> int:
    return os.stat(blobs.path(setting.store, fetch.sha256)).st_size


def _settle(graph: Graph, setting: Setting, jobs: int) -> list[Settled]:
    """Every node settled, in the graph's order; side by side where one does not need the other."""
    stacks = Stacks(graph, setting)
    needed = standing(graph)
    futures: dict[str, Future[Made]] = {}

    def one(node: Node) -> Made:
        setting.cancel.check()
        if node.id in needed:
            return stacks.node(node.id)
        below = [futures[node_id].result() for node_id in node.below]  # all were started before this one
        return Made(settled=_known(node, below, setting), layer=_supposed())

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="settle") as pool:
        for node in graph.nodes.values():
            futures[node.id] = pool.submit(one, node)
        try:
            return [futures[node_id].result().settled for node_id in graph.nodes]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _known(node: Node, below: Sequence[Made], setting: Setting) -> Settled:
    request = settle.request_for(node, below, setting)
    remembered, pins = settle.remembered(node, request, setting)
    if asks(node.kind) and (setting.refresh or not remembered):
        pins = _ask(node, request, below, setting)
    return settle.settled(node, request, pins)


def _ask(node: Node, request: Request, below: Sequence[Made], setting: Setting) -> Json:
    began = time.time()
    event_id = f"resolve:{node.id}"
    setting.emit(Started(id=event_id, subject="resolve", name=node.spec.name, time=began))
    outcome: Outcome = "error"
    detail = ""
    try:
        site = StackSite(setting, request, below, event_id)
        pins = settle.resolve(node, request, setting, site, again=setting.refresh)
        detail = node.kind.summary(request, pins)
        outcome = "done"
    except EnvtoolError as error:
        outcome = "interrupted" if error.exit_status == 130 else "error"
        raise
    finally:
        setting.emit(_finished(event_id, "resolve", node.spec.name, outcome, began, detail))
    return pins


def _supposed() -> Layer:
    """Stands for a layer that is not built: whoever stands on it asks nothing."""
    return Layer(key="", tree="", manifest="", diff_id="", size=0, entries=0, document={})


def _bring(fetches: Sequence[Fetch], missing: Sequence[Fetch], setting: Setting) -> None:
    began = time.time()
    detail = f"{len(missing)} of {len(fetches)}" if missing else f"{len(fetches)}, all here"
    total = sum(fetch.size for fetch in missing)
    setting.emit(Started(id="fetch", subject="fetch", name="files", time=began, detail=detail, total=total))
    outcome: Outcome = "error"
    try:
        download.download(
            fetches,
            setting.store,
            emit=setting.emit,
            event_id="fetch",
            cancel=setting.cancel.is_set,
            vendor=sources.vendored(setting.root),
        )
        outcome = "done" if missing else "cached"
    except EnvtoolError as error:
        outcome = "interrupted" if error.exit_status == 130 else "error"
        raise
    finally:
        setting.emit(_finished("fetch", "fetch", "files", outcome, began, detail))


def _finished(event_id: str, subject: Subject, name: str, outcome: Outcome, began: float, detail: str) -> Finished:
    now = time.time()
    return Finished(
        id=event_id,
        subject=subject,
        name=name,
        outcome=outcome,
        time=now,
        seconds=now - began,
        detail=detail,
    )

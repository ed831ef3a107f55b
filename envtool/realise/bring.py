"""The files of a layer -> the blob store: only what is missing, from where this machine is told that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from envtool.api import Fetch, Site
from envtool.errors import FetchError
from envtool.realise import settle
from envtool.realise.setting import Setting
from envtool.realise.settle import Settled
from envtool.store import blobs
from envtool.store import download as store


def bring(settled: Settled, setting: Setting, event_id: str, site: Site) -> None:
    """Have every file of a node in the store. What `resolve` saw is tried first; where that is gone, the kind is asked
    again. Raises FetchError, ResolveError, StoreError, Interrupted."""
    missing = _missing(settled.fetches, setting)
    if not missing:
        return
    if setting.offline:
        raise _offline(missing)
    kind, request, pins = settled.node.kind, settled.request, settled.pins
    seen = settle.seen(settled.node, request, setting)
    hinted = [replace(fetch, url=fetch.url or seen.get(fetch.sha256, "")) for fetch in missing]
    try:
        try:
            download(kind.locate(request, pins, hinted, site), setting, event_id)
        except FetchError:
            if hinted == missing:
                raise
            download(kind.locate(request, pins, _missing(settled.fetches, setting), site), setting, event_id)
    except FetchError as error:
        if not error.hint:
            name = request.base_name if kind.of_base else request.name
            error.hint = f"if it is gone for good, `envtool lock --upgrade {name}` moves to what there is now"
        raise


def download(fetches: Sequence[Fetch], setting: Setting, event_id: str) -> None:
    """Fetch exact files that say where they are. Raises FetchError (code offline, fetch-nowhere, …)."""
    missing = _missing(fetches, setting)
    if missing and setting.offline:
        raise _offline(missing)
    nowhere = [fetch.name for fetch in missing if not fetch.url]
    if nowhere:
        raise FetchError(f"{', '.join(nowhere[:5])}: no index of this machine has it", code="fetch-nowhere")
    store.download(missing, setting.store, emit=setting.emit, event_id=event_id, cancel=setting.cancel.is_set)


def _missing(fetches: Sequence[Fetch], setting: Setting) -> list[Fetch]:
    return [fetch for fetch in fetches if not blobs.has(setting.store, fetch.sha256, fetch.size)]


def _offline(missing: Sequence[Fetch]) -> FetchError:
    names = ", ".join(fetch.name for fetch in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return FetchError(
        f"{names}{more}: not in the store, and --offline fetches nothing",
        code="offline",
        hint="`envtool fetch`, with a network, brings everything that is pinned",
    )

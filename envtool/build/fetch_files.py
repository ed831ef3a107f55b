"""The files of a layer -> the blob store: only what is missing, from where this machine is told that it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Fetch, Site
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import ResolvedNode
from envtool.errors import FetchError, ResolveError
from envtool.store import blobs, disk_errors, fetch_sources
from envtool.store import download as store


def fetch_layer_files(settled: ResolvedNode, setting: Context, event_id: str, site: Site) -> None:
    """Have every file of a node in the store, with its content. Local folders are looked into first; then what
    `resolve` saw is tried; where that is gone, the kind is asked again. Raises FetchError, ResolveError, StoreError,
    Interrupted."""
    lease_blobs(settled.fetches, setting)
    for fetch in settled.fetches:  # what is damaged is put aside, and missing: a layer is made of what was pinned
        if blobs.has(setting.store, fetch.sha256, fetch.size):
            blobs.verify(setting.store, fetch.sha256)
    _copy_from_folders(settled.fetches, setting, event_id)
    missing = _missing(settled.fetches, setting)
    if not missing:
        return
    if setting.offline:
        raise _offline(missing)
    setting.make_room()
    request = settled.request
    seen = resolution.seen(settled.node, request, setting)
    hinted = [replace(fetch, url=fetch.url or seen.get(fetch.sha256, "")) for fetch in missing]
    try:
        try:
            download(_locate_files(settled, hinted, site), setting, event_id)
        except FetchError as error:
            if hinted == missing and error.code != "fetch-status":  # what let us in may have ended meanwhile
                raise
            download(_locate_files(settled, _missing(settled.fetches, setting), site), setting, event_id)
    except (FetchError, ResolveError) as error:
        place = f"{request.where.file}:{request.where.line}: {settled.node.subject} `{request.name}`"
        text = f"{place}: {error.message}"
        if isinstance(
            error, FetchError
        ):  # a new one: that it failed is remembered, and others have places of their own
            hint = _fetch_failure_hint(settled, setting, error)
            raise FetchError(text, code=error.code, hint=hint, found=error.found) from error
        raise ResolveError(text, code=error.code, hint=error.hint, output=error.output) from error


def _fetch_failure_hint(settled: ResolvedNode, setting: Context, error: FetchError) -> str:
    """What to do about a file that cannot be had, by who said which one it is: the spec itself, the lock, or what was
    asked last."""
    request = settled.request
    name = request.base_name if settled.node.kind.of_base else request.name
    own = any(fetch.sha256 in json.dumps(request.options).lower() for fetch in settled.fetches)
    locked = any(entry.question.name == name for entry in setting.lock.entries)
    if error.code == "fetch-hash" and error.found:
        if own:
            key = "--checksum=sha256:" if settled.node.of else "sha256: "
            return f"if the file is meant to be this one, write `{key}{error.found}`"
        again = f"`envtool lock --upgrade {name}`" if locked else "`--refresh`"
        return f"look at what it is: another file has this name now than was pinned. If it is right, {again} takes it"
    if error.code not in ("fetch-gone", "fetch-unreachable", "fetch-nowhere"):
        return error.hint
    if own:
        return error.hint if error.code == "fetch-unreachable" else "nothing is there (any more): is the URL right?"
    again = f"`envtool lock --upgrade {name}` moves" if locked else "`--refresh` settles it anew, and moves"
    gone = f"if it is gone for good, {again} to what there is now"
    return f"{error.hint}; {gone}" if error.code == "fetch-unreachable" and error.hint else gone


def download(fetches: Sequence[Fetch], setting: Context, event_id: str, *, phase: str = "fetching") -> None:
    """Fetch exact files that say where they are, or lie where ENVTOOL_BLOBS says; `phase` is what is read
    meanwhile. Raises FetchError (code offline, fetch-nowhere, …), StoreError, Interrupted."""
    lease_blobs(fetches, setting)
    _copy_from_folders(fetches, setting, event_id)
    missing = _missing(fetches, setting)
    if missing and setting.offline:
        raise _offline(missing)
    nowhere = [fetch.name for fetch in missing if not fetch.url]
    if nowhere and not fetch_sources.read_blobs_variable():
        raise FetchError(f"{', '.join(nowhere[:5])}: no index of this machine has it", code="fetch-nowhere")
    store.download(
        missing,
        setting.store,
        emit=setting.emit,
        event_id=event_id,
        cancel=setting.cancel.is_set,
        vendor=fetch_sources.vendor_folder(setting.root),
        files=setting.host_access().open_absolute,
        phase=phase,
        failed=setting.shared.get("fetches that failed", dict[Any, FetchError]),
    )


def lease_blobs(fetches: Sequence[Fetch], setting: Context) -> None:
    """Let no gc take these files, there or not, while the verb works. Raises StoreError."""
    try:
        setting.claims.lease_blobs(setting.store, [fetch.sha256 for fetch in fetches])
    except OSError as error:
        raise disk_errors.translate_os_error(setting.store.root, error) or error from error


def _copy_from_folders(fetches: Sequence[Fetch], setting: Context, event_id: str) -> None:
    """What lies beside the spec comes before all else; offline, so does what ENVTOOL_BLOBS has on this machine."""
    if not _missing(fetches, setting):
        return
    beside = fetch_sources.vendor_folder(setting.root)
    folders = fetch_sources.local_folders(setting.root) if setting.offline else [beside] if beside else []
    store.copy_local(
        fetches,
        setting.store,
        folders,
        emit=setting.emit,
        event_id=event_id,
        cancel=setting.cancel.is_set,
        files=setting.host_access().open_absolute,
    )


def _locate_files(settled: ResolvedNode, missing: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
    """The same files with their URLs; without, where nobody can be asked but ENVTOOL_BLOBS may have them."""
    try:
        return settled.node.kind.locate(settled.request, settled.pins, missing, site)
    except (FetchError, ResolveError):
        if not fetch_sources.read_blobs_variable():
            raise
        return missing


def _missing(fetches: Sequence[Fetch], setting: Context) -> list[Fetch]:
    return [fetch for fetch in fetches if not blobs.has(setting.store, fetch.sha256, fetch.size)]


def _offline(missing: Sequence[Fetch]) -> FetchError:
    names = ", ".join(fetch.name for fetch in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return FetchError(
        f"{names}{more}: not in the store, and --offline fetches nothing",
        code="offline",
        hint="`envtool fetch`, with a network, brings everything that is pinned",
    )

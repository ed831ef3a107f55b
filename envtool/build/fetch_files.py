"""Fetches the files of a layer into the blob store: only missing ones, from where this machine is configured to
look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Fetch, Site
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.stack import ResolvedNode
from envtool.errors import FetchError, ResolveError
from envtool.store import blobs, disk_errors, fetch_sources
from envtool.store import download as store


def fetch_layer_files(resolved: ResolvedNode, context: Context, event_id: str, site: Site) -> None:
    """Puts every file of a node into the store. Local folders come first, then the URLs that `resolve` saw; where those
    fail, the kind is asked again. Raises FetchError, ResolveError, StoreError, Interrupted."""
    lease_blobs(resolved.fetches, context)
    for (
        fetch
    ) in resolved.fetches:  # a damaged file is put aside and fetched again: a layer is built only from pinned content
        if blobs.has(context.store, fetch.sha256, fetch.size):
            blobs.verify(context.store, fetch.sha256)
    _copy_from_folders(resolved.fetches, context, event_id)
    missing = _missing(resolved.fetches, context)
    if not missing:
        return
    if context.offline:
        raise _offline_error(missing)
    context.make_room()
    request = resolved.request
    urls = resolution.seen_urls(resolved.node, request, context)
    with_urls = [replace(fetch, url=fetch.url or urls.get(fetch.sha256, "")) for fetch in missing]
    try:
        try:
            download(_locate_files(resolved, with_urls, site), context, event_id)
        except FetchError as error:
            if (
                with_urls == missing and error.code != "fetch-status"
            ):  # another error than a status is final; a status may mean that a token has expired
                raise
            download(_locate_files(resolved, _missing(resolved.fetches, context), site), context, event_id)
    except (FetchError, ResolveError) as error:
        where = f"{request.where}: {resolved.node.subject} `{request.name}`"
        text = f"{where}: {error.message}"
        if isinstance(error, FetchError):  # a new error: the failure is shared, and each node has its own place
            hint = _fetch_failure_hint(resolved, context, error)
            raise FetchError(text, code=error.code, hint=hint, found=error.found) from error
        raise ResolveError(text, code=error.code, hint=error.hint, output=error.output) from error


def _fetch_failure_hint(resolved: ResolvedNode, context: Context, error: FetchError) -> str:
    """Returns what to do about a file that cannot be fetched. It depends on where its hash comes from: the spec, the
    lock, or the last resolution."""
    request = resolved.request
    name = request.base_name if resolved.node.kind.of_base else request.name
    is_in_spec = any(fetch.sha256 in json.dumps(request.options).lower() for fetch in resolved.fetches)
    is_locked = any(entry.question.name == name for entry in context.lock.entries)
    if error.code == "fetch-hash" and error.found:
        if is_in_spec:
            key = "--checksum=sha256:" if resolved.node.of else "sha256: "
            return f"if the file is meant to be this one, write `{key}{error.found}`"
        command = f"`envtool lock --upgrade {name}`" if is_locked else "`--refresh`"
        return f"look at what it is: another file has this name now than was pinned. If it is right, {command} takes it"
    if error.code not in ("fetch-gone", "fetch-unreachable", "fetch-nowhere"):
        return error.hint
    if is_in_spec:
        return error.hint if error.code == "fetch-unreachable" else "nothing is there (any more): is the URL right?"
    command = f"`envtool lock --upgrade {name}` moves" if is_locked else "`--refresh` settles it anew, and moves"
    upgrade = f"if it is gone for good, {command} to what there is now"
    return f"{error.hint}; {upgrade}" if error.code == "fetch-unreachable" and error.hint else upgrade


def download(fetches: Sequence[Fetch], context: Context, event_id: str, *, phase: str = "fetching") -> None:
    """Fetches files that have a URL, or that lie where ENVTOOL_BLOBS says; `phase` is shown meanwhile. Raises
    FetchError (code offline, fetch-nowhere, …), StoreError, Interrupted."""
    lease_blobs(fetches, context)
    _copy_from_folders(fetches, context, event_id)
    missing = _missing(fetches, context)
    if missing and context.offline:
        raise _offline_error(missing)
    without_url = [fetch.name for fetch in missing if not fetch.url]
    if without_url and not fetch_sources.read_blobs_variable():
        raise FetchError(f"{', '.join(without_url[:5])}: no index of this machine has it", code="fetch-nowhere")
    store.download(
        missing,
        context.store,
        emit=context.emit,
        event_id=event_id,
        cancel=context.cancel.is_set,
        vendor=fetch_sources.vendor_folder(context.root),
        files=context.host_access().open_absolute,
        phase=phase,
        failed=context.shared.get("fetches that failed", dict[Any, FetchError]),
    )


def lease_blobs(fetches: Sequence[Fetch], context: Context) -> None:
    """Keeps these files, present or not, from any `gc` while the command runs. Raises StoreError."""
    try:
        context.leases.lease_blobs(context.store, [fetch.sha256 for fetch in fetches])
    except OSError as error:
        raise disk_errors.translate_os_error(context.store.root, error) or error from error


def _copy_from_folders(fetches: Sequence[Fetch], context: Context, event_id: str) -> None:
    """Copies files from the folder beside the spec; offline, also from the folders in ENVTOOL_BLOBS."""
    if not _missing(fetches, context):
        return
    vendor_folder = fetch_sources.vendor_folder(context.root)
    folders = fetch_sources.local_folders(context.root) if context.offline else [vendor_folder] if vendor_folder else []
    store.copy_local(
        fetches,
        context.store,
        folders,
        emit=context.emit,
        event_id=event_id,
        cancel=context.cancel.is_set,
        files=context.host_access().open_absolute,
    )


def _locate_files(resolved: ResolvedNode, missing: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
    """Returns the files with their URLs; without URLs where nobody can be asked and ENVTOOL_BLOBS may have them."""
    try:
        return resolved.node.kind.locate(resolved.request, resolved.pins, missing, site)
    except (FetchError, ResolveError):
        if not fetch_sources.read_blobs_variable():
            raise
        return missing


def _missing(fetches: Sequence[Fetch], context: Context) -> list[Fetch]:
    return [fetch for fetch in fetches if not blobs.has(context.store, fetch.sha256, fetch.size)]


def _offline_error(missing: Sequence[Fetch]) -> FetchError:
    names = ", ".join(fetch.name for fetch in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return FetchError(
        f"{names}{more}: not in the store, and --offline fetches nothing",
        code="offline",
        hint="`envtool fetch`, with a network, downloads all pinned files",
    )

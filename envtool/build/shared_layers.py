"""Pulls layers from the team cache into the store, and pushes them to it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from envtool.api import Cache, Secret
from envtool.build.context import Context
from envtool.build.stack import ResolvedNode
from envtool.errors import BuildError
from envtool.events import Progress
from envtool.fs.sizes import format_size
from envtool.model import Json
from envtool.store import canonical, layers

if TYPE_CHECKING:
    from envtool.teamcache.statement import Statement

PROGRESS_INTERVAL = 0.1  # seconds between two events


def is_shareable(resolved: ResolvedNode, base: ResolvedNode, context: Context) -> bool:
    """Whether a node may come from the team cache and go there. These may not: nodes on this machine's own system,
    builds that a network, a cache or a secret may have changed (unless the spec allows it), and layers of an image,
    which are in their own registry. `base` is the node's base, or itself."""
    client = context.share
    if client is None or not base.node.is_pinned or not resolved.node.is_pinned:
        return False
    recipe = resolved.node.kind.build(resolved.request, resolved.pins)
    is_impure = recipe.network or any(isinstance(mount, Cache | Secret) for mount in recipe.shown)
    return not (recipe.archive or recipe.mounts) and (client.network or not is_impure)


def find_statement(resolved: ResolvedNode, context: Context) -> Statement | None:
    """Returns what the team cache says of a node, or None; a statement that contradicts the lock is refused. Raises
    Interrupted."""
    client = context.share
    if client is None:
        return None
    from envtool.teamcache.statement import RefusedStatement

    name = f"{resolved.node.subject} {resolved.request.name}"
    statement = client.ask(resolved.key, name)
    locked_diff_id = _locked_diff_id(resolved, context)
    if statement is not None and locked_diff_id and statement.diff_id != locked_diff_id:
        client.refuse(
            resolved.key, name, RefusedStatement("locked", "it is not what the lock says that it came out as")
        )
        return None
    return statement


def _locked_diff_id(resolved: ResolvedNode, context: Context) -> str:
    """Returns the diff ID that the lock has for this key, empty where it has none."""
    return next((entry.diff_id for entry in context.lock.entries if entry.key == resolved.key), "")


def pulled_size(layer: layers.Layer) -> str:
    """Returns how much of a layer came from the team cache, as text; empty for a layer that was built."""
    origin = layer.built.get("pulled")
    size = origin.get("bytes") if isinstance(origin, dict) else None
    return format_size(size) if isinstance(size, int) else ""


def pull_layer(resolved: ResolvedNode, context: Context, draft: layers.NewLayer, event_id: str) -> layers.Layer | None:
    """Pulls a layer from the team cache and commits it as a build would; returns None where that fails. Raises
    StoreError, Interrupted."""
    client, statement = context.share, find_statement(resolved, context)
    if client is None or statement is None:
        return None
    name = f"{resolved.node.subject} {resolved.request.name}"
    blob = os.path.join(os.path.dirname(os.path.dirname(draft.upper)), "blob")
    done, last_event = 0, 0.0

    def progress(size: int) -> None:
        nonlocal done, last_event
        done += size
        now = time.monotonic()
        if now - last_event >= PROGRESS_INTERVAL:
            last_event = now
            context.emit(Progress(id=event_id, done=done, total=statement.blob_size, phase="pulling"))

    if not client.take(statement, blob, name, progress):
        return None
    try:
        captured = _unpack(blob, statement, draft, resolved, context, event_id)
    except BuildError as error:
        from envtool.teamcache.statement import RefusedStatement

        client.refuse(
            resolved.key, name, RefusedStatement("content", f"its content is not what was signed ({error.code})")
        )
        _empty(draft, context)
        return None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(blob)
    client.count_hit(statement)
    origin = client.origin(statement)
    return draft.commit(
        captured, resolved.document, {**build_record(resolved, context), "pulled": origin}, context.sync
    )


def _unpack(
    path: str, statement: Statement, draft: layers.NewLayer, resolved: ResolvedNode, context: Context, event_id: str
) -> canonical.CaptureResult:
    from envtool.build import unpack_image

    captured = unpack_image.unpack_image_layer(
        path, statement.diff_id, draft.upper, draft.manifest, resolved, context, event_id
    )
    if captured[1:] != (statement.size, statement.entries):
        raise BuildError("another size, or number of entries", code="unpack-size")
    context.runner.remove(draft.work)
    return captured


def _empty(draft: layers.NewLayer, context: Context) -> None:
    """Empties the directory of a refused layer: a build takes its place."""
    context.runner.remove(draft.upper)
    os.mkdir(draft.upper)
    os.chmod(draft.upper, 0o755)


def push_layer(resolved: ResolvedNode, base: ResolvedNode, layer: layers.Layer, context: Context) -> None:
    """Offers a layer that was built here to the team cache."""
    if context.share is not None and context.share.pushes and is_shareable(resolved, base, context):
        context.share.offer(layer)


def build_record(resolved: ResolvedNode, context: Context) -> dict[str, Json]:
    """Returns what `envtool why` reports of a build beside its key; later builds are compared by name and options."""
    request = resolved.request
    refused = context.share.refusal(resolved.key) if context.share else ""
    return {
        "name": request.name,
        "where": f"{request.where.file}:{request.where.line}",
        "project": context.root,
        "time": round(time.time(), 3),
        "options": request.options,
        **({"refused": refused} if refused else {}),
        # the key of an image's layer does not name its files: `gc` reports their size
        **({"files": [fetch.sha256 for fetch in resolved.fetches]} if not resolved.document["files"] else {}),
    }

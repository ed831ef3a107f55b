"""Layers from the team cache, and to it: what of a graph may be shared, and how what comes gets into the store."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from envtool.api import Cache, Secret
from envtool.build.context import Context
from envtool.build.resolution import ResolvedNode
from envtool.container import userns
from envtool.errors import BuildError
from envtool.events import Progress
from envtool.fs.sizes import format_size
from envtool.model import Json
from envtool.store import canonical, layers
from envtool.teamcache.statement import RefusedStatement, Statement

PROGRESS_INTERVAL = 0.1  # seconds between two events


def is_shareable(settled: ResolvedNode, base: ResolvedNode, setting: Context) -> bool:
    """Whether a node may come from the cache and go there: not what shows this machine's own system, not what a
    network, a cache or a secret may have decided (unless the spec says so), and not an image's layers, which their own
    registry has. `base` is what it stands on, or itself."""
    share = setting.share
    if share is None or not base.node.kind.pinned or not settled.node.kind.pinned:
        return False
    recipe = settled.node.kind.build(settled.request, settled.pins)
    outside = recipe.network or any(isinstance(each, Cache | Secret) for each in recipe.shown)
    return not (recipe.archive or recipe.mounts) and (share.network or not outside)


def find_statement(settled: ResolvedNode, setting: Context) -> Statement | None:
    """What the cache says of a node, if that may be used. Raises Interrupted."""
    share = setting.share
    if share is None:
        return None
    name = f"{settled.node.subject} {settled.request.name}"
    found = share.ask(settled.key, name)
    locked = _locked(settled, setting)
    if found is not None and locked and found.diff_id != locked:
        share.refuse(settled.key, name, RefusedStatement("locked", "it is not what the lock says that it came out as"))
        return None
    return found


def _locked(settled: ResolvedNode, setting: Context) -> str:
    """The diff ID that the lock has for exactly this key, empty where it has none."""
    return next((entry.diff_id for entry in setting.lock.entries if entry.key == settled.key), "")


def pulled_size(layer: layers.Layer) -> str:
    """How much of a layer came from the cache, in words; empty for one that did not."""
    origin = layer.built.get("pulled")
    size = origin.get("bytes") if isinstance(origin, dict) else None
    return format_size(size) if isinstance(size, int) else ""


def pull_layer(settled: ResolvedNode, setting: Context, draft: layers.NewLayer, event_id: str) -> layers.Layer | None:
    """The layer from the cache, put into the store as a build's would be; None where it cannot be had. Raises
    StoreError, Interrupted."""
    share, found = setting.share, find_statement(settled, setting)
    if share is None or found is None:
        return None
    name = f"{settled.node.subject} {settled.request.name}"
    path = os.path.join(os.path.dirname(os.path.dirname(draft.upper)), "blob")
    done, told = 0, 0.0

    def progress(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        if now - told >= PROGRESS_INTERVAL:
            told = now
            setting.emit(Progress(id=event_id, done=done, total=found.blob_size, phase="pulling"))

    if not share.take(found, path, name, progress):
        return None
    try:
        captured = _unpack(path, found, draft, settled, setting, event_id)
    except BuildError as error:
        share.refuse(
            settled.key, name, RefusedStatement("content", f"its content is not what was signed ({error.code})")
        )
        _empty(draft)
        return None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
    share.count_hit(found)
    origin = share.origin(found)
    return draft.commit(captured, settled.document, {**build_record(settled, setting), "pulled": origin}, setting.sync)


def _unpack(
    path: str, found: Statement, draft: layers.NewLayer, settled: ResolvedNode, setting: Context, event_id: str
) -> canonical.CaptureResult:
    from envtool.build import unpack_image

    captured = unpack_image.unpack_image_layer(
        path, found.diff_id, draft.upper, draft.manifest, settled, setting, event_id
    )
    if captured[1:] != (found.size, found.entries):
        raise BuildError("another size, or number of entries", code="unpack-size")
    userns.remove_as_root(draft.work)
    return captured


def _empty(draft: layers.NewLayer) -> None:
    """What was unpacked is gone: something is built in its place."""
    userns.remove_as_root(draft.upper)
    os.mkdir(draft.upper)
    os.chmod(draft.upper, 0o755)


def push_layer(settled: ResolvedNode, base: ResolvedNode, layer: layers.Layer, setting: Context) -> None:
    """Let the cache have a layer that was built here."""
    if setting.share is not None and setting.share.pushes and is_shareable(settled, base, setting):
        setting.share.offer(layer)


def build_record(settled: ResolvedNode, setting: Context) -> dict[str, Json]:
    """What `envtool why` tells of a build beside its key: later builds are compared with it by name and options."""
    request = settled.request
    refused = setting.share.refusal(settled.key) if setting.share else ""
    return {
        "name": request.name,
        "where": f"{request.where.file}:{request.where.line}",
        "project": setting.root,
        "time": round(time.time(), 3),
        "options": request.options,
        **({"refused": refused} if refused else {}),
        # of an image's layer, whose key does not have them: gc says what they cost
        **({"files": [fetch.sha256 for fetch in settled.fetches]} if not settled.document["files"] else {}),
    }

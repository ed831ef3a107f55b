"""Unpacks an image's archive into a layer: our own code does it, as container root and without a container."""

from __future__ import annotations

import os

from envtool import net
from envtool.build.context import Context
from envtool.build.stack import ResolvedNode
from envtool.errors import MakeError
from envtool.events import Progress
from envtool.store import canonical, unpack_layer

MAX_LISTED = 3  # members that were left out and are named


def unpack_image_layer(
    blob: str, diff_id: str, tree: str, manifest: str, resolved: ResolvedNode, context: Context, event_id: str
) -> canonical.CaptureResult:
    """Unpacks the archive `blob` into an empty directory and writes its manifest; `diff_id` is the digest that its tar
    must have. Raises BuildError (codes unpack-…), StoreError, Interrupted."""
    unpack_layer.prepare()
    context.runner.give_to_root(tree)
    context.emit(Progress(id=event_id, phase="unpacking"))
    # with one id no file can be given to another owner, as in a container of such a caller
    owners = not context.runner.single_id
    # container root may not reach the blob, the tree or the manifest by path
    tree_descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(blob, "rb") as source, open(manifest, "wb") as manifest_file:
            answer = context.runner.as_root(
                unpack_layer.try_unpack,
                source.fileno(),
                tree_descriptor,
                manifest_file.fileno(),
                diff_id,
                owners,
                context.cancel.reader,
            )
    finally:
        os.close(tree_descriptor)
    try:
        result = unpack_layer.unpack_result(answer, context.store.root)
    except MakeError as error:
        request = resolved.request
        where = str(request.where)
        error.message = f"{where}: {resolved.node.subject} `{request.name}`, layer {diff_id[:19]}: {error.message}"
        error.args = (error.message,)
        raise
    if result.left_out:
        listed = ", ".join(f"{name} ({why})" for name, why in result.left_out[:MAX_LISTED])
        more = result.left_out_count - min(MAX_LISTED, len(result.left_out))
        context.emit(net.note_event(event_id, f"left out: {listed}" + (f" and {more} more" if more else "")))
    return result.captured

"""A layer that is an image's archive as it is: unpacked by our own code as container root, and no container starts."""

from __future__ import annotations

import os

from envtool import net
from envtool.build.context import Context
from envtool.build.resolution import ResolvedNode
from envtool.container import userns
from envtool.errors import MakeError
from envtool.events import Progress
from envtool.store import canonical, unpack_layer

MAX_LISTED = 3  # of the members that were left out


def unpack_image_layer(
    blob: str, diff_id: str, tree: str, manifest: str, settled: ResolvedNode, setting: Context, event_id: str
) -> canonical.CaptureResult:
    """Unpack a file into an empty directory, and write its manifest; `diff_id` is what its tar has to be. Raises
    BuildError (codes unpack-…), StoreError, Interrupted."""
    unpack_layer.prepare()
    userns.give_to_root(tree)
    setting.emit(Progress(id=event_id, phase="unpacking"))
    owners = (
        userns.caller_ids().mode != "single"
    )  # one id cannot give anything away, as in a container of such a caller
    # container root may pass to none of the three by path
    place = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(blob, "rb") as source, open(manifest, "wb") as sheet:
            answer = userns.run_as_root(
                unpack_layer.try_unpack, source.fileno(), place, sheet.fileno(), diff_id, owners, setting.cancel.reader
            )
    finally:
        os.close(place)
    try:
        done = unpack_layer.unpack_result(answer, setting.store.root)
    except MakeError as error:
        request = settled.request
        where = f"{request.where.file}:{request.where.line}"
        error.message = f"{where}: {settled.node.subject} `{request.name}`, layer {diff_id[:19]}: {error.message}"
        error.args = (error.message,)
        raise
    if done.left_out:
        some = ", ".join(f"{name} ({why})" for name, why in done.left_out[:MAX_LISTED])
        more = done.left_out_count - min(MAX_LISTED, len(done.left_out))
        setting.emit(net.note_event(event_id, f"left out: {some}" + (f" and {more} more" if more else "")))
    return done.captured

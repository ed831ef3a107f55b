"""Unpacks an OCI layer tar (image spec, layer.md) into a layer's tree, with its manifest and diff ID, in one pass.

Runs as container root in the container's user namespace (`container.userns.run_as_root`), with open descriptors:
container root can enter neither the store nor its blobs. The tree is a lower directory of overlayfs: deletions are 0/0
character devices, opaque directories have `user.overlay.opaque=y`; owners, modes (with setuid, setgid and sticky),
times, holes, `security.capability` and `user.*` attributes are those of the archive. Left out, and reported: devices (a
container has its own /dev, and only root of the host may make any), other attributes, files of aufs. A directory that
no member names is 0755 root:root, and so is the root of every layer.

An archive is hostile until it was read to its end and has its diff ID: when this fails, the caller removes the tree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from envtool.errors import BuildError, Interrupted, StoreError
from envtool.lazy_dataclass import dataclass
from envtool.store import canonical, decompress, disk_errors
from envtool.store.extract import MAX_REPORTED, Extractor, ExtractRules
from envtool.store.packing import stop_check
from envtool.store.tar_read import TarReader, quote_name, raise_build_error, read_members

MIN_UNPACKED_LIMIT = 1 << 28  # bytes that any layer may unpack to


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackResult:
    """The unpacked layer. `left_out` are the first of `left_out_count` members that were left out: (member, why)."""

    captured: canonical.CaptureResult
    left_out: tuple[tuple[str, str], ...] = ()
    left_out_count: int = 0


def prepare() -> None:
    """Imports the modules that are imported late otherwise: container root may not be able to read them."""
    decompress.import_zstd()


def try_unpack(
    blob: int,
    tree: int,
    manifest: int,
    diff_id: str,
    owners: bool,
    cancel: int = -1,
) -> tuple[Any, ...]:
    """Unpacks the open file `blob` into the open, empty directory `tree`, and writes its manifest to the open file
    `manifest`. Returns plain values that can be sent between processes, for `unpack_result`.

    `diff_id` "sha256:<hex>" is that of the tar; `owners` False: all files belong to the user who unpacks (a caller with
    a single id); `cancel`: a descriptor that becomes readable when the unpacking is to stop.
    """
    try:
        captured, left_out = _unpack(blob, tree, manifest, diff_id, owners, stop_check(cancel))
    except BuildError as error:
        return ("refused", error.code, error.message)
    except Interrupted:
        return ("interrupted",)
    except OSError as error:
        name = quote_name(error.filename) if isinstance(error.filename, bytes) else ""
        return ("disk", error.errno or 0, os.strerror(error.errno or 0), name)
    named = tuple((quote_name(name)[1:-1], why) for name, why in left_out[:MAX_REPORTED])
    return ("done", captured, named, len(left_out))


def unpack_result(answer: tuple[Any, ...], root: str = "") -> UnpackResult:
    """Returns the result of `try_unpack`; `root` is the store's. Raises BuildError (codes unpack-…: the archive is
    wrong), StoreError (codes store-space, store-write), Interrupted."""
    kind, *values = answer
    if kind == "refused":
        raise BuildError(values[1], code=values[0])
    if kind == "interrupted":
        raise Interrupted
    if kind == "disk":
        number, text, name = values
        if number in disk_errors.DISK_FULL_ERRNOS:
            raise disk_errors.disk_full_error(root, number)
        raise StoreError(f"member {name} cannot be written here: {text}", code="store-write")
    captured, left_out, count = values
    return UnpackResult(captured=captured, left_out=left_out, left_out_count=count)


def _unpack(
    blob: int, top: int, manifest: int, diff_id: str, owners: bool, stopping: Callable[[], bool]
) -> tuple[canonical.CaptureResult, list[tuple[bytes, str]]]:
    digest = hashlib.sha256()
    unpacked = decompress.UnpackedSize(os.fstat(blob).st_size, MIN_UNPACKED_LIMIT)
    disk = os.statvfs(top)
    free = disk.f_bavail * disk.f_frsize
    ahead = decompress.ReadAhead(decompress.decompress_layer(blob))

    def pull() -> bytes:
        piece = ahead.next()
        unpacked.add(len(piece))
        if unpacked.size > free:
            raise_build_error("unpack-room", f"it unpacks to more than the {free} bytes that are free")
        if stopping():
            raise Interrupted
        digest.update(piece)
        return piece

    try:
        with Extractor(top, ExtractRules(is_layer=True, owners=owners)) as extractor:
            extractor.add_members(read_members(TarReader(pull)))
            actual = f"sha256:{digest.hexdigest()}"
            if actual != diff_id:
                raise_build_error("unpack-diff-id", f"its content is {actual}, and should be {diff_id}")
            records = extractor.records()
    finally:
        ahead.close()
    view = memoryview(b"".join(records))
    while view:
        view = view[os.write(manifest, view) :]
    return (actual, unpacked.size, len(records)), extractor.left_out

"""An OCI layer tar (image spec, layer.md) -> a layer's tree, its manifest and its diff ID, in one pass.

Runs as container root in the container's user namespace (`container.ids.inside`), with open descriptors: container root
can pass neither to the store nor to its blobs. The tree is what overlayfs wants below it: deletions are 0/0 character
devices, opaque directories carry `user.overlay.opaque=y`; owners, modes (setuid, setgid and sticky too), times, holes,
`security.capability` and `user.*` attributes are the archive's. Left out, and told: devices (a container brings its own
/dev, and only the host's root may make any), other attributes, aufs's own files. A directory that no member names is
0755 root:root; the root is that in every layer.

An archive is hostile until it was read to its end and has its diff ID: what stands in the tree until then is thrown
away by the caller when this fails.
"""

from __future__ import annotations

import hashlib
import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envtool.errors import BuildError, Interrupted, StoreError
from envtool.store import canonical, decompress, disk_errors
from envtool.store.tar_extract import ArchiveExtractor
from envtool.store.tar_read import TarReader, quote_name, raise_build_error

MAX_RATIO = (
    250  # a layer that unpacks to more than so many times its size is a bomb: deflate ends at 1032, zstd nowhere
)
MIN_UNPACKED_LIMIT = 1 << 28  # bytes that any layer may unpack to
MAX_REPORTED = 20  # of what was left out


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackResult:
    """What came of it. `left_out` are the first of `left_out_count`: (member, why)."""

    captured: canonical.CaptureResult
    left_out: tuple[tuple[str, str], ...] = ()
    left_out_count: int = 0


def prepare() -> None:
    """Import what unpacking imports late: as container root nothing may be readable any more."""
    decompress.import_zstd()


def try_unpack(
    blob: int,
    tree: int,
    manifest: int,
    diff_id: str,
    owners: bool,
    cancel: int = -1,
) -> tuple[Any, ...]:
    """Unpack an open file into an open, empty directory and write its manifest to a third: values that go between
    processes, for `result`.

    `diff_id` "sha256:<hex>" is what the tar must be; `owners` False: all belongs to who unpacks (a caller with a single
    id); `cancel`: a descriptor that becomes readable when it is to stop.
    """
    try:
        captured, left_out = _unpack(blob, tree, manifest, diff_id, owners, _stop_check(cancel))
    except BuildError as error:
        return ("refused", error.code, error.message)
    except Interrupted:
        return ("interrupted",)
    except OSError as error:
        name = quote_name(error.filename) if isinstance(error.filename, bytes) else ""
        return ("disk", error.errno or 0, os.strerror(error.errno or 0), name)
    told = tuple((quote_name(name)[1:-1], why) for name, why in left_out[:MAX_REPORTED])
    return ("done", captured, told, len(left_out))


def unpack_result(answer: tuple[Any, ...], root: str = "") -> UnpackResult:
    """What `attempt` answered; `root` is the store's. Raises BuildError (codes unpack-…: the archive is not what it
    should be), StoreError (code store-space, store-write), Interrupted."""
    kind, *rest = answer
    if kind == "refused":
        raise BuildError(rest[1], code=rest[0])
    if kind == "interrupted":
        raise Interrupted
    if kind == "disk":
        number, text, name = rest
        if number in disk_errors.DISK_FULL_ERRNOS:
            raise disk_errors.disk_full_error(root, number)
        raise StoreError(f"member {name} cannot be written here: {text}", code="store-write")
    captured, left_out, count = rest
    return UnpackResult(captured=captured, left_out=left_out, left_out_count=count)


def _unpack(
    blob: int, top: int, manifest: int, diff_id: str, owners: bool, stopping: Callable[[], bool]
) -> tuple[canonical.CaptureResult, list[tuple[bytes, str]]]:
    digest = hashlib.sha256()
    size = 0
    packed = os.fstat(blob).st_size
    disk = os.statvfs(top)
    room = disk.f_bavail * disk.f_frsize
    limit = max(MIN_UNPACKED_LIMIT, MAX_RATIO * packed)
    ahead = decompress.ReadAhead(decompress.decompress(blob))
    tree = ArchiveExtractor(top, owners=owners)

    def pull() -> bytes:
        nonlocal size
        piece = ahead.next()
        size += len(piece)
        if size > limit:
            raise_build_error("unpack-bomb", f"{packed} bytes unpack to more than {limit}: no layer does")
        if size > room:
            raise_build_error("unpack-room", f"it unpacks to more than the {room} bytes that are free")
        if stopping():
            raise Interrupted
        digest.update(piece)
        return piece

    try:
        reader = TarReader(pull)
        for member in reader:
            try:
                tree.add_member(member, reader.content())
            except OSError as error:
                error.filename = member.name
                raise
        found = f"sha256:{digest.hexdigest()}"
        if found != diff_id:
            raise_build_error("unpack-diff-id", f"its content is {found}, and should be {diff_id}")
        records = tree.finish()
    finally:
        tree.close()
        ahead.close()
    view = memoryview(b"".join(records))
    while view:
        view = view[os.write(manifest, view) :]
    return (found, size, len(records)), tree.left_out


def _stop_check(descriptor: int) -> Callable[[], bool]:
    if descriptor < 0:
        return lambda: False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))

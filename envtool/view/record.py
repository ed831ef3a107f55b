"""What was seen when a project was last hashed: a *short cut*, kept in the store for each path of a project.

The first file holds the names as git said them, and a row of numbers a name, to be compared as bytes; the second the
hashes. The two are written one after the other, and belong together when they have the same tag.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 2
HASH = 32  # bytes of a hash


def place(store: str, root: str) -> str:
    """Where the record of a project is kept; its content says whose it is."""
    import binascii

    return f"{store}/plans/{binascii.crc32(os.fsencode(root)):08x}.view"


def load(place: str, root: str) -> dict[str, Any]:
    """The record of a project; empty when there is none, or none that we can read."""
    try:
        with open(place, "rb") as file:
            record: dict[str, Any] = marshal.loads(file.read())  # noqa: S302 - our own file in our own 0700 store
        if (record["format"], record["root"]) != (FORMAT, root):
            return {}
        if "walked" in record:
            record["names"] = names(b"", record["walked"])
        else:
            both = zip(record["repositories"], record["listings"], strict=True)
            record["names"] = [name for prefix, listing in both for name in names(prefix, listing)]
    except (OSError, ValueError, EOFError, TypeError, KeyError):
        return {}
    return record


def hashes(place: str, record: dict[str, Any]) -> bytes:
    try:
        with open(f"{place}.hashes", "rb") as file:
            tag, hashes = file.read(8), file.read()
    except OSError:
        return b""
    return hashes if tag == record["tag"] else b""  # the two are written one after the other


def names(prefix: bytes, listing: bytes) -> list[bytes]:
    """Names that each end with a zero, below `prefix`."""
    found = listing.split(b"\0")[:-1]
    return [prefix + name for name in found] if prefix else found


def write(place: str, root: str, content: dict[str, Any], hashed: bytes) -> None:
    """Keep a record in place of the one before. Never raises: a full disk makes the next look slower, nothing else."""
    kept = {**content, "format": FORMAT, "root": root, "tag": os.urandom(8)}
    del kept["names"]
    for path, data in ((f"{place}.hashes", kept["tag"] + hashed), (place, marshal.dumps(kept))):
        mine = f"{path}.{os.urandom(4).hex()}"
        try:
            with open(mine, "wb") as file:
                file.write(data)
            os.replace(mine, path)
        except OSError:
            if os.path.exists(mine):
                os.unlink(mine)

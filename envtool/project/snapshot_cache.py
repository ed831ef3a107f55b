"""What was seen when a project was last hashed: a *short cut*, kept in the store for each path of a project.

The first file holds the names as git said them, and a row of numbers a name, to be compared as bytes; the second the
hashes. The two are written one after the other, by several at once, and belong together when they have the same tag,
which is made of the hashes: of two that saw the same, either file goes with the other.

In the first, names and rows stand behind the value that `stored.seal` sums: summing megabytes would cost the warm way
milliseconds, and they are compared with what git and the file system say now, so damage there is only a change.
"""

from __future__ import annotations

import os

from envtool.fs import store_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 3
HASH_SIZE = 32  # bytes of a hash
MAX_RECORD_SIZE = 1 << 30  # bytes of a record: some five million names


def cache_path(store: str, root: str) -> str:
    """Where the record of a project is kept; its content says whose it is."""
    import binascii

    return f"{store}/plans/{binascii.crc32(os.fsencode(root)):08x}.view"


def load_record(place: str, root: str) -> dict[str, Any]:
    """The record of a project; empty when there is none, or none that we can read."""
    try:
        record: dict[str, Any]
        record, bulk = store_files.decode_with_checksum(store_files.read_regular_file(place, most=MAX_RECORD_SIZE))
        if (record["format"], record["root"]) != (FORMAT, root) or sum(record["lengths"]) != len(bulk):
            return {}
        pieces, at = [], 0
        for length in record["lengths"]:
            pieces.append(bytes(bulk[at : at + length]))
            at += length
        record["stats"], *listings = pieces
        if "repositories" in record:
            record["listings"] = listings
            both = zip(record["repositories"], listings, strict=True)
            record["names"] = [name for prefix, listing in both for name in split_names(prefix, listing)]
        else:
            (record["walked"],) = listings
            record["names"] = split_names(b"", record["walked"])
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return {}
    return record


def load_hashes(place: str, record: dict[str, Any]) -> bytes:
    """The hashes of a record, HASH bytes a name; empty when they are not there, or not its own."""
    try:
        said, hashes = store_files.decode_with_checksum(
            store_files.read_regular_file(f"{place}.hashes", most=MAX_RECORD_SIZE)
        )[0]
    except (OSError, ValueError, EOFError, TypeError):
        return b""
    return hashes if said == record["tag"] else b""


def split_names(prefix: bytes, listing: bytes) -> list[bytes]:
    """Names that each end with a zero, below `prefix`."""
    found = listing.split(b"\0")[:-1]
    return [prefix + name for name in found] if prefix else found


def hashes_tag(hashed: bytes) -> bytes:
    """What says which hashes a record belongs to."""
    from hashlib import sha256

    return sha256(hashed).digest()[:16]


def write_record(place: str, root: str, content: dict[str, Any], hashed: bytes) -> None:
    """Keep a record in place of the one before. Never raises: a full disk makes the next look slower, nothing else."""
    pieces = [content["stats"], *([content["walked"]] if "walked" in content else content["listings"])]
    kept = {key: value for key, value in content.items() if key not in ("names", "stats", "walked", "listings")}
    kept |= {"format": FORMAT, "root": root, "tag": hashes_tag(hashed), "lengths": [len(piece) for piece in pieces]}
    store_files.replace_if_possible(f"{place}.hashes", store_files.encode_with_checksum((kept["tag"], hashed)))
    store_files.replace_if_possible(place, store_files.encode_with_checksum(kept, b"".join(pieces)))

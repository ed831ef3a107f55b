"""The stored record of the last snapshot of a project. It only saves time; the store has one for each path of a
project.

The first file holds the names as git listed them, and a row of numbers for each, which are compared as bytes; the
second file holds the hashes. The two are written one after the other, possibly by several processes at once, and belong
together if they have the same tag, which is computed from the hashes: if two processes saw the same files, the files of
either fit.

In the first file, names and rows come after the part with the checksum (`store_files.encode_with_checksum`): a checksum
of megabytes would cost the fast path milliseconds. They are compared with what git and the file system say now, so
damage there only looks like a change.
"""

from __future__ import annotations

import os

from envtool.fs import store_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 3
HASH_SIZE = 32  # bytes of a hash
MAX_RECORD_SIZE = 1 << 30  # bytes of a record: about five million names


def cache_path(store: str, root: str) -> str:
    """Returns the path of a project's record; the content says which project it belongs to."""
    import binascii

    return f"{store}/plans/{binascii.crc32(os.fsencode(root)):08x}.view"


def load_record(path: str, root: str) -> dict[str, Any]:
    """Returns the record of a project; empty if there is none that is valid."""
    try:
        record: dict[str, Any]
        record, bulk = store_files.decode_with_checksum(store_files.read_regular_file(path, most=MAX_RECORD_SIZE))
        if (record["format"], record["root"]) != (FORMAT, root) or sum(record["lengths"]) != len(bulk):
            return {}
        pieces, offset = [], 0
        for length in record["lengths"]:
            pieces.append(bytes(bulk[offset : offset + length]))
            offset += length
        record["stats"], *listings = pieces
        if "repositories" in record:
            record["listings"] = listings
            listings_by_prefix = zip(record["repositories"], listings, strict=True)
            record["names"] = [name for prefix, listing in listings_by_prefix for name in split_names(prefix, listing)]
        else:
            (record["walked"],) = listings
            record["names"] = split_names(b"", record["walked"])
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return {}
    return record


def load_hashes(path: str, record: dict[str, Any]) -> bytes:
    """Returns the hashes of a record, HASH_SIZE bytes for each name; empty if the file is missing or belongs to another
    record."""
    try:
        tag, hashes = store_files.decode_with_checksum(
            store_files.read_regular_file(f"{path}.hashes", most=MAX_RECORD_SIZE)
        )[0]
    except (OSError, ValueError, EOFError, TypeError):
        return b""
    return hashes if tag == record["tag"] else b""


def split_names(prefix: bytes, listing: bytes) -> list[bytes]:
    """Returns names that each end with a zero byte, with `prefix` before each."""
    names = listing.split(b"\0")[:-1]
    return [prefix + name for name in names] if prefix else names


def hashes_tag(hashed: bytes) -> bytes:
    """Returns the tag of a record with these hashes."""
    from hashlib import sha256

    return sha256(hashed).digest()[:16]


def write_record(path: str, root: str, content: dict[str, Any], hashed: bytes) -> None:
    """Replaces the record. Never raises: with a full disk the next snapshot is only slower."""
    pieces = [content["stats"], *([content["walked"]] if "walked" in content else content["listings"])]
    header = {key: value for key, value in content.items() if key not in ("names", "stats", "walked", "listings")}
    header |= {"format": FORMAT, "root": root, "tag": hashes_tag(hashed), "lengths": [len(piece) for piece in pieces]}
    store_files.replace_if_possible(f"{path}.hashes", store_files.encode_with_checksum((header["tag"], hashed)))
    store_files.replace_if_possible(path, store_files.encode_with_checksum(header, b"".join(pieces)))

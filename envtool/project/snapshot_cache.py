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
from envtool.project.git import split_names
from envtool.project.listing import Listing

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
    """Returns the record of a project, with its Listing as `listing`; empty if there is none that is valid."""
    try:
        record: dict[str, Any]
        record, bulk = store_files.decode_with_checksum(store_files.read_regular_file(path, most=MAX_RECORD_SIZE))
        if (record["format"], record["root"]) != (FORMAT, root) or sum(record["lengths"]) != len(bulk):
            return {}
        pieces, offset = [], 0
        for length in record["lengths"]:
            pieces.append(bytes(bulk[offset : offset + length]))
            offset += length
        stats, *outputs = pieces
        prefixes = record["repositories"]
        names = [name for pair in zip(prefixes or [b""], outputs, strict=True) for name in split_names(*pair)]
        record["listing"] = Listing(names, stats, outputs, prefixes, record["inner"], record["parents"])
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


def hashes_tag(hashed: bytes) -> bytes:
    """Returns the tag of a record with these hashes."""
    from hashlib import sha256

    return sha256(hashed).digest()[:16]


def write_record(path: str, root: str, listing: Listing, stats: bytes, digest: str, hashed: bytes) -> None:
    """Replaces the record. `stats` are the rows of the names, with such that are not to be trusted. Never raises: with
    a full disk the next snapshot is only slower."""
    pieces = [stats, *listing.outputs]
    header = {
        "format": FORMAT,
        "root": root,
        "tag": hashes_tag(hashed),
        "digest": digest,
        "repositories": listing.prefixes,
        "inner": listing.inner,
        "parents": listing.parents,
        "lengths": [len(piece) for piece in pieces],
    }
    store_files.replace_if_possible(f"{path}.hashes", store_files.encode_with_checksum((header["tag"], hashed)))
    store_files.replace_if_possible(path, store_files.encode_with_checksum(header, b"".join(pieces)))

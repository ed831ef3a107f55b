"""Reads and writes the store's JSON documents (layer.json, result.json, answers) with a checksum in each.

The caller that reads a document still checks its shape. A document without a checksum is one of an older envtool.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from envtool import keys
from envtool.fs import store_files
from envtool.model import Json

SUM = "sum"
MAX_SIZE = 64 << 20  # bytes
# A lone surrogate, which no file can be written with again; \udc80 to \udcff are bytes of file names
# (keys.canonical_json). An escaped backslash is two: `\u` after an odd number of further backslashes is text.
_LONE_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD](?:[89abABd-fD-F]|[cC][0-7])")


def dumps(document: Mapping[str, Json]) -> bytes:
    """Returns a document as JSON, with the digest of all other members as SUM. Raises ValueError for a value that JSON
    does not have."""
    return keys.canonical_json({**document, SUM: keys.digest(dict(document))})


def load(path: str, *, unseen: bool = False) -> dict[str, Any]:
    """Reads a document; returns it without its checksum. `unseen`: the file's time of last access stays. Raises OSError
    (see store_files.read_regular_file), ValueError where the file is damaged or no document."""
    return loads(store_files.read_regular_file(path, most=MAX_SIZE, unseen=unseen))


def loads(data: bytes) -> dict[str, Any]:
    """Parses a document; returns it without its checksum. Raises ValueError."""
    # the expression alone takes ten times as long
    if (b"\\ud" in data or b"\\uD" in data) and _LONE_SURROGATE.search(data):
        raise ValueError("it has half a character")
    try:
        document = json.loads(data, parse_constant=_refuse_constant, parse_float=_parse_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(document, dict) or not _has_valid_sum(data, document, document.pop(SUM, None)):
        raise ValueError("it is not what was written")
    return document


def _has_valid_sum(data: bytes, document: dict[str, Any], checksum: object) -> bool:
    """Whether a document's checksum is right, or missing."""
    return checksum is None or _is_as_written(data, checksum) or checksum == keys.digest(document)


def _is_as_written(data: bytes, checksum: object) -> bool:
    """Whether the text is as `dumps` wrote it, by the digest of its bytes: writing the document again would take longer
    than reading it, and `why` reads thousands."""
    member = b'"%s":"%s"' % (SUM.encode(), str(checksum).encode("utf-8", "replace"))
    before, separator, after = data.rpartition(member)
    without_sum = before[:-1] + after if before.endswith(b",") else before + after.removeprefix(b",")
    return bool(separator) and hashlib.sha256(without_sum).hexdigest() == checksum


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number


def is_count(value: object) -> bool:
    """Whether a value is a number of bytes or items: an integer >= 0 in 63 bits."""
    return type(value) is int and 0 <= value < 1 << 63


def is_time(value: object) -> bool:
    """Whether a value is a time or a duration that can be formatted: seconds, until the year 9999."""
    return type(value) in (int, float) and -1 < value < 253402300800  # type: ignore[operator]

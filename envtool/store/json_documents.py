"""JSON documents of the store (layer.json, result.json, memories): written with their own sum, read only if it fits.

Who reads one still checks its shape: it alone knows it. A document without a sum is one of an older envtool.
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
# Half a character, which no file can be written with again; \udc80 to \udcff are bytes of file names (keys.canonical).
# A backslash that stands for itself is two: what comes after an even number of them is text.
_LONE_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD](?:[89abABd-fD-F]|[cC][0-7])")


def dumps(document: Mapping[str, Json]) -> bytes:
    """Its text, with the digest of all the rest as SUM. Raises ValueError for what is no JSON."""
    return keys.canonical_json({**document, SUM: keys.digest(dict(document))})


def load(path: str, *, unseen: bool = False) -> dict[str, Any]:
    """A document without its sum. Raises OSError (see stored.read), ValueError for what is none, or damaged."""
    return loads(store_files.read_regular_file(path, most=MAX_SIZE, unseen=unseen))


def loads(data: bytes) -> dict[str, Any]:
    """The same of its text. Raises ValueError."""
    if (b"\\ud" in data or b"\\uD" in data) and _LONE_SURROGATE.search(
        data
    ):  # the expression alone takes ten times as long
        raise ValueError("it has half a character")
    try:
        document = json.loads(data, parse_constant=_refuse_constant, parse_float=_parse_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(document, dict) or not _has_valid_sum(data, document, document.pop(SUM, None)):
        raise ValueError("it is not what was written")
    return document


def _has_valid_sum(data: bytes, document: dict[str, Any], said: object) -> bool:
    """Whether a document has the sum that it says, or says none."""
    return said is None or _is_as_written(data, said) or said == keys.digest(document)


def _is_as_written(data: bytes, said: object) -> bool:
    """Whether a text is the one of `dumps`, told without writing it again: that takes longer than reading it, and
    `why` reads thousands."""
    member = b'"%s":"%s"' % (SUM.encode(), str(said).encode("utf-8", "replace"))
    before, found, after = data.rpartition(member)
    rest = before[:-1] + after if before.endswith(b",") else before + after.removeprefix(b",")
    return bool(found) and hashlib.sha256(rest).hexdigest() == said


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number


def is_count(value: object) -> bool:
    """Whether something is a number of bytes or things."""
    return type(value) is int and 0 <= value < 1 << 63


def is_time(value: object) -> bool:
    """Whether something is a moment or a time that can be shown: seconds, until the year 9999."""
    return type(value) in (int, float) and -1 < value < 253402300800  # type: ignore[operator]

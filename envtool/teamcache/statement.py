"""What is signed: "the layer of this key came out as this diff ID, and is this blob". Exact bytes, one form of them.

The key is the digest of all that determines a layer, so a statement binds what was asked to what came out; whoever
copies it to another key's tag has a statement about something else. The blob's digest is in it so that nothing reaches
a decoder that was not signed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from envtool import keys
from envtool.model import Json

FORMAT = 1
LAYER, RESULT = "layer", "result"
MAX_STATEMENT_SIZE = 1 << 16  # bytes
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class RefusedStatement(Exception):  # noqa: N818 - a reason, no error: what is refused is built
    """Something in the cache may not be used. `why` is for people, `code` for programs."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`ids`: the containers it was made in had one user id ("single") or a range of them ("range"): files of other
    owners come out otherwise."""

    sort: str  # LAYER, RESULT
    key: str
    ids: str
    diff_id: str  # of the tar: "sha256:…"
    size: int  # bytes of the tar
    entries: int
    blob: str  # digest of the compressed tar
    blob_size: int
    media_type: str

    def text(self) -> bytes:
        """The bytes that are signed."""
        return keys.canonical_json({"format": FORMAT, **asdict(self)})


def parse_statement(text: bytes, *, sort: str, key: str, ids: str) -> Statement:
    """A statement whose signature was verified, if it is about what was asked. Raises Refused."""
    stored = _parsed(text)
    if stored.get("format") != FORMAT:
        raise RefusedStatement("format", f"its format is {stored.get('format')!r:.20}, this envtool knows {FORMAT}")
    found = _validate(stored)
    if found is None or found.text() != text:
        raise RefusedStatement("statement", "its statement is not of the form that is signed")
    if found.sort != sort or found.key != key:
        raise RefusedStatement("replayed", f"its statement is of another {found.sort}, {found.key[:12]}")
    if found.ids != ids:
        raise RefusedStatement("ids", f"it was made with a {found.ids} of user ids, containers here have a {ids}")
    return found


def _parsed(text: bytes) -> dict[str, Json]:
    try:
        stored = json.loads(text) if len(text) <= MAX_STATEMENT_SIZE else None
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise RefusedStatement("statement", "its statement cannot be read")
    return stored


def _validate(stored: dict[str, Any]) -> Statement | None:
    fields = {name: value for name, value in stored.items() if name != "format"}
    try:
        found = Statement(**fields)
    except TypeError:
        return None
    numbers = (found.size, found.entries, found.blob_size)
    texts = (found.sort, found.key, found.ids, found.diff_id, found.blob, found.media_type)
    good = all(type(value) is int and 0 <= value < 1 << 53 for value in numbers)
    good = good and all(isinstance(value, str) for value in texts)
    good = good and found.sort in (LAYER, RESULT) and found.ids in ("single", "range")
    good = good and all(_DIGEST.fullmatch(text) for text in (found.diff_id, found.blob))
    return found if good and _HEX.fullmatch(found.key) else None

"""The signed statement: "the layer of this key has this diff ID, and is this blob", in one exact form of bytes.

The key is the digest of everything that determines a layer, so a statement binds the request to the output: copied to
the tag of another key, it is a statement about another layer. It has the blob's digest, so that no decoder reads a byte
that was not signed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from envtool import keys
from envtool.lazy_dataclass import dataclass
from envtool.model import Json

FORMAT = 1
LAYER, RESULT = "layer", "result"
MAX_STATEMENT_SIZE = 1 << 16  # bytes
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class RefusedStatement(Exception):  # noqa: N818 - no error of the user's: the layer is built here
    """A statement or blob in the cache may not be used. `why` is for people, `code` for programs."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement about a layer or a result. `ids` says whether the containers that made it had one user id ("single")
    or a range of them ("range"): with one id, files of other owners become its own."""

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
        """Returns the bytes that are signed."""
        return keys.canonical_json({"format": FORMAT, **asdict(self)})


def parse_statement(text: bytes, *, sort: str, key: str, ids: str) -> Statement:
    """Parses a statement whose signature was verified. Raises RefusedStatement where it is malformed, or about another
    sort, key or id mode."""
    document = _parsed(text)
    if document.get("format") != FORMAT:
        raise RefusedStatement("format", f"its format is {document.get('format')!r:.20}, this envtool knows {FORMAT}")
    statement = _validate(document)
    if statement is None or statement.text() != text:
        raise RefusedStatement("statement", "its statement is not of the form that is signed")
    if statement.sort != sort or statement.key != key:
        raise RefusedStatement("replayed", f"its statement is of another {statement.sort}, {statement.key[:12]}")
    if statement.ids != ids:
        raise RefusedStatement("ids", f"it was made with a {statement.ids} of user ids, containers here have a {ids}")
    return statement


def _parsed(text: bytes) -> dict[str, Json]:
    try:
        document = json.loads(text) if len(text) <= MAX_STATEMENT_SIZE else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RefusedStatement("statement", "its statement cannot be read")
    return document


def _validate(document: dict[str, Any]) -> Statement | None:
    fields = {name: value for name, value in document.items() if name != "format"}
    try:
        statement = Statement(**fields)
    except TypeError:
        return None
    numbers = (statement.size, statement.entries, statement.blob_size)
    texts = (statement.sort, statement.key, statement.ids, statement.diff_id, statement.blob, statement.media_type)
    is_valid = all(type(value) is int and 0 <= value < 1 << 53 for value in numbers)
    is_valid = is_valid and all(isinstance(value, str) for value in texts)
    is_valid = is_valid and statement.sort in (LAYER, RESULT) and statement.ids in ("single", "range")
    is_valid = is_valid and all(_DIGEST.fullmatch(text) for text in (statement.diff_id, statement.blob))
    return statement if is_valid and _HEX.fullmatch(statement.key) else None

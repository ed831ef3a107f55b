"""Subresource Integrity, as package managers write it into their lock files (W3C: "sha512-<base64>")."""

from __future__ import annotations

import base64
import binascii
import hashlib

from envtool.errors import FetchError


def integrity_digest(integrity: str) -> str:
    """The strongest hash of a Subresource Integrity value as "algorithm:hex"; empty for an empty value.

    Any algorithm of hashlib counts; the longest digest is the strongest. Raises FetchError (code fetch-integrity).
    """
    found: list[tuple[int, str]] = []
    for part in integrity.split():
        algorithm, _, rest = part.partition("-")
        try:
            value = base64.b64decode(rest.partition("?")[0], validate=True)
            if hashlib.new(algorithm, usedforsecurity=False).digest_size == len(value):
                found.append((len(value), f"{algorithm}:{value.hex()}"))
        except (ValueError, binascii.Error):
            continue  # one that this machine does not know: as the recommendation has it
    if integrity.strip() and not found:
        raise FetchError(f"{integrity[:200]!r} holds no hash that can be checked", code="fetch-integrity")
    return max(found, key=lambda pair: pair[0])[1] if found else ""

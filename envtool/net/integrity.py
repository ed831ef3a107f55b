"""Parses Subresource Integrity, the hashes in lock files of package managers (W3C: "sha512-<base64>")."""

from __future__ import annotations

import base64
import binascii
import hashlib

from envtool.errors import FetchError


def integrity_digest(integrity: str) -> str:
    """Returns the strongest hash of a Subresource Integrity value as "algorithm:hex"; "" for an empty value.

    Any algorithm of hashlib counts; the longest digest is the strongest. Raises FetchError (code fetch-integrity) if no
    hash can be checked.
    """
    digests: list[tuple[int, str]] = []
    for part in integrity.split():
        algorithm, _, encoded = part.partition("-")
        try:
            value = base64.b64decode(encoded.partition("?")[0], validate=True)
            if hashlib.new(algorithm, usedforsecurity=False).digest_size == len(value):
                digests.append((len(value), f"{algorithm}:{value.hex()}"))
        except (ValueError, binascii.Error):
            continue  # the recommendation says to ignore unknown algorithms
    if integrity.strip() and not digests:
        raise FetchError(f"{integrity[:200]!r} holds no hash that can be checked", code="fetch-integrity")
    return max(digests, key=lambda pair: pair[0])[1] if digests else ""

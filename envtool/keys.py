"""Canonical JSON and the only hashing of keys (DESIGN: a plugin contributes material, core alone hashes)."""

from __future__ import annotations

import hashlib
import json

from envtool.model import Json

FORMAT = 1  # raise it when the meaning of a layer changes: every key changes with it


def canonical(document: Json) -> bytes:
    """UTF-8 JSON with sorted keys and no white space (the subset of RFC 8785 that our documents use)."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(document: Json) -> str:
    """Lower-case hex sha256 of the canonical form."""
    return hashlib.sha256(canonical(document)).hexdigest()


def layer_document(
    *,
    kind: str,
    version: int,
    material: Json,
    files: list[Json],
    inputs: list[Json],
    variables: dict[str, Json],
    arch: str,
    epoch: int,
    below: list[Json],
) -> dict[str, Json]:
    """All that determines a layer: its key is the digest of this, and it is kept beside the layer.

    `files` are [name, sha256] of what is fetched, `inputs` [path, sha256, executable, link] of project files.
    `below` are the diff IDs it stands on, bottom first: not keys, so a layer that was rebuilt and came out the same
    leaves everything above it valid (early cutoff).
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "version": version,
        "material": material,
        "files": files,
        "inputs": inputs,
        "variables": variables,
        "arch": arch,
        "epoch": epoch,
        "below": below,
    }

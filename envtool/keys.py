"""Canonical JSON and the only hashing of keys (DESIGN: a plugin contributes material, core alone hashes)."""

from __future__ import annotations

import hashlib
import json

from envtool.model import Json

FORMAT = 1  # raise it when the meaning of a layer changes: every key changes with it


def canonical_json(document: Json) -> bytes:
    """UTF-8 JSON with sorted keys and no white space (the subset of RFC 8785 that our documents use). A byte of a file
    name that is no UTF-8, half a surrogate pair in Python's text, becomes JSON's escape of that, and is read as it was.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def digest(document: Json) -> str:
    """Lower-case hex sha256 of the canonical form."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


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
    beside: dict[str, Json] | None = None,
) -> dict[str, Json]:
    """All that determines a layer: its key is the digest of this, and it is kept beside the layer.

    `files` are [name, sha256] of what is fetched, `inputs` [path, sha256, executable, link] of project files.
    `below` are the diff IDs it stands on, bottom first: not keys, so a layer that was rebuilt and came out the same
    leaves everything above it valid (early cutoff). `beside` are those of other trees that its build sees, by name.
    """
    more: dict[str, Json] = {"beside": beside} if beside else {}
    return more | {
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


def archive_document(diff_id: str) -> dict[str, Json]:
    """All that determines a layer that is an image's, as it is: what its tar has to be. However it is compressed, and
    in whatever image it lies, it is one layer."""
    return layer_document(
        kind="archive",
        version=1,
        material={"diff_id": diff_id},
        files=[],
        inputs=[],
        variables={},
        arch="",
        epoch=0,
        below=[],
    )


def result_document(
    *,
    stack: list[Json],
    view: str,
    history: str,
    commands: list[Json],
    workdir: str,
    variables: dict[str, Json],
    passed: dict[str, Json],
    user: str,
    outputs: list[Json],
    repository: bool,
    kernel: str,
    network: bool,
    arch: str,
    services: list[Json],
) -> dict[str, Json]:
    """All that determines what a task comes to: a result's key is the digest of this, and it is kept beside it.

    `stack` are [diff ID, layer key] bottom first, the key only where a layer shows what is not in its tree (a base of
    this machine's system): like layers, results outlive layers that were rebuilt and came out the same. `view` is the
    project's digest, `commands` lists of words, `passed` the sha256 of each variable that `pass:` let through: their
    values may be secrets. `history` stands for git's commit and tags, for tasks with outputs (versions are made of
    them), else empty; `repository` says whether the task sees one. `kernel` is its release
    where the stack shows this machine's system, else empty. A timeout is no part of it.
    """
    return {
        "format": FORMAT,
        "stack": stack,
        "view": view,
        "history": history,
        "commands": commands,
        "workdir": workdir,
        "variables": variables,
        "passed": passed,
        "user": user,
        "outputs": outputs,
        "repository": repository,
        "kernel": kernel,
        "network": network,
        "arch": arch,
        "services": services,
    }

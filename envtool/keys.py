"""Canonical JSON, and the documents whose hashes are keys. Plugins contribute material; only this module hashes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from envtool.model import Json

# made once: json.dumps makes one for each call with options, which takes half the time of a small document
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
FORMAT = 1  # raise it if the meaning of a layer changes: every key changes with it


def canonical_json(document: Json) -> bytes:
    """Returns UTF-8 JSON with sorted keys and no white space (the subset of RFC 8785 that envtool's documents use). A
    byte of a file name that is not UTF-8 is half a surrogate pair in Python; JSON has it as an escape, so that reading
    the document restores the byte.
    """
    return _ENCODER.encode(document).encode("utf-8", "backslashreplace")


def digest(document: Json) -> str:
    """Returns the sha256 of the canonical JSON, in lower-case hex."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def digest_of_digests(digests: Iterable[str]) -> str:
    """As `digest` of a list of digests in lower-case hex, which need no escape. It takes a third of the time."""
    text = '","'.join(digests)
    return hashlib.sha256(f'["{text}"]'.encode() if text else b"[]").hexdigest()


def digest_if_json(document: Json) -> str:
    """As `digest`; empty for what has no canonical JSON: NaN, or values nested too deep."""
    try:
        return digest(document)
    except (ValueError, TypeError, RecursionError):
        return ""


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
    """Returns everything that determines a layer. The layer's key is the digest of this document, which is stored
    beside the layer.

    `files` are [name, sha256] of fetched files, `inputs` [path, sha256, executable, link] of project files. `below` are
    the diff IDs of the layers below, bottom first: not their keys, so that a layer that is rebuilt with the same
    content leaves everything above it valid (early cutoff). `beside` are the diff IDs of other trees that the build
    sees, by name.
    """
    document: dict[str, Json] = {
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
    if beside:
        document["beside"] = {**beside}
    return document


def archive_document(diff_id: str) -> dict[str, Json]:
    """Returns everything that determines a layer of an image: the diff ID of its tar. So a layer is the same in every
    image and with every compression."""
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
    artefacts: Json = None,
) -> dict[str, Json]:
    """Returns everything that determines the result of a task. The result's key is the digest of this document, which
    is stored beside the result.

    `stack` are [diff ID, layer key], bottom first; the key is set only if containers see files that are not in the
    layer's tree (a base that is this machine's system). So results, like layers, stay valid if a layer is rebuilt with
    the same content. `view` is the digest of the project's snapshot. `commands` are lists of words. `passed` has the
    sha256 of each variable that `pass:` admits: the values may be secrets. `history` stands for git's commit and tags
    if the task has outputs, whose versions may come from them; else it is empty. `repository` says whether the task
    sees a repository. `kernel` is the kernel's release if containers see this machine's system, else empty. A timeout
    is no part of the document. `artefacts` are what it sees of the tasks that it needs; a task without any has no
    such entry.
    """
    document: dict[str, Json] = {
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
    return document if artefacts is None else {**document, "artefacts": artefacts}

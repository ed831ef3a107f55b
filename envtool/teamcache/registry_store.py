"""Keeps statements and blobs under tags of one repository.

Each item is an OCI image manifest with one layer, so that any registry accepts it: the blob is the layer's tar, the
config has its diff ID, and two annotations hold the statement and its signature. The tag is made of the key. Only the
two annotations of a manifest are read, and the statement only once its signature is verified to be of a trusted key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, Protocol

from envtool import keys
from envtool.errors import FetchError
from envtool.model import Json
from envtool.net.oci.documents import OCI_CONFIG, OCI_MANIFEST, Descriptor, Document, sha256_digest
from envtool.net.oci.reference import Reference
from envtool.teamcache import signatures
from envtool.teamcache.statement import LAYER, RefusedStatement, Statement, parse_statement

STATEMENT, SIGNATURE = "envtool.statement", "envtool.signature"
WRONG = frozenset({
    "fetch-hash", "fetch-large", "fetch-size", "registry-digest", "registry-document", "registry-platform",
})  # fmt: skip
MISSING = frozenset({"fetch-gone", "registry-missing"})
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname -m -> GOARCH


class RegistryProtocol(Protocol):
    """The methods of oci.registry.RegistryClient that are used here."""

    def find(self, reference: Reference) -> Document | None:
        """Returns the manifest under a tag, None where there is none."""

    def pull_blob(
        self, reference: Reference, descriptor: Descriptor, path: str, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Downloads a blob into a file."""

    def push_blob(
        self,
        reference: Reference,
        digest: str,
        size: int,
        source: bytes | str,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Uploads a blob from a file (its path) or bytes."""

    def push_document(self, reference: Reference, body: bytes, media_type: str) -> str:
        """Uploads a manifest under its tag."""


def statement_tag(sort: str, key: str, ids: str) -> str:
    """Returns the tag of a key: l-<key> for a layer, r-<key> for a result, l1- and r1- for those of a single user
    id."""
    return f"{sort[0]}{'1' if ids == 'single' else ''}-{key}"


def find_statement(
    registry: RegistryProtocol, repository: Reference, *, sort: str, key: str, ids: str, trust: Collection[str]
) -> tuple[Statement, str] | None:
    """Returns the statement under the tag of a key, and the fingerprint of its signer; None where there is none.
    `trust` are public lines without comments. Raises RefusedStatement, and FetchError for failures of the registry."""
    try:
        document = registry.find(repository.with_tag(statement_tag(sort, key, ids)))
    except FetchError as error:
        if error.code in WRONG:
            raise RefusedStatement("manifest", "its manifest is none") from error
        raise
    if document is None:
        return None
    text, signer = verify_statement(document, trust)
    return parse_statement(text, sort=sort, key=key, ids=ids), signatures.fingerprint(signer)


def verify_statement(document: Document, trust: Collection[str]) -> tuple[bytes, str]:
    """Returns the text of a manifest's statement, and the trusted public line that signed it. Raises
    RefusedStatement."""
    text, signature = _annotations(document.body)
    try:
        signer = signatures.verify(text, signature)
    except signatures.BadSignature as error:
        raise RefusedStatement("signature", "its signature does not fit what it says") from error
    if signer not in trust:
        raise RefusedStatement(
            "untrusted", f"it is signed by {signatures.fingerprint(signer)}, which `trust:` does not list"
        )
    return text, signer


def _annotations(body: bytes) -> tuple[bytes, str]:
    try:
        manifest: Any = json.loads(body)
        annotations = manifest["annotations"]
        text, signature = annotations[STATEMENT], annotations[SIGNATURE]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedStatement("unsigned", "it is not signed") from error
    if not isinstance(text, str) or not isinstance(signature, str) or not text.isascii():
        raise RefusedStatement("unsigned", "it is not signed")
    return text.encode("ascii"), signature


def fetch_blob(
    registry: RegistryProtocol,
    repository: Reference,
    statement: Statement,
    path: str,
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Downloads the blob of a statement into a file, and checks its size and digest. Raises RefusedStatement, and
    FetchError for failures of the registry."""
    descriptor = Descriptor(media_type=statement.media_type, digest=statement.blob, size=statement.blob_size)
    try:
        registry.pull_blob(repository, descriptor, path, progress=progress)
    except FetchError as error:
        if error.code in WRONG:
            raise RefusedStatement("blob", "its blob is not what was signed") from error
        if error.code in MISSING:
            raise RefusedStatement("blob-missing", "its blob is gone") from error
        raise


def push_statement(
    registry: RegistryProtocol,
    repository: Reference,
    statement: Statement,
    path: str,
    signer: signatures.Signer,
    *,
    arch: str,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Uploads the blob in the file `path`, then its manifest under the tag: last, so that a tagged item is complete.
    Raises FetchError."""
    config = keys.canonical_json(_config(statement, arch))
    registry.push_blob(repository, sha256_digest(config), len(config), config)
    registry.push_blob(repository, statement.blob, statement.blob_size, path, progress=progress)
    body = keys.canonical_json(_manifest(statement, config, signer.sign(statement.text())))
    tag = repository.with_tag(statement_tag(statement.sort, statement.key, statement.ids))
    try:
        registry.push_document(tag, body, OCI_MANIFEST)
    except FetchError as error:
        if error.code != "registry-refused":
            raise
        registry.push_document(tag, body, OCI_MANIFEST)  # some registries refuse a few of many at once


def _config(statement: Statement, arch: str) -> dict[str, Json]:
    return {
        "architecture": ARCHITECTURES.get(arch, arch),
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [statement.diff_id]},
    }


def _manifest(statement: Statement, config: bytes, signature: str) -> dict[str, Json]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": sha256_digest(config), "size": len(config)},
        "layers": [{"mediaType": statement.media_type, "digest": statement.blob, "size": statement.blob_size}],
        "annotations": {STATEMENT: statement.text().decode("ascii"), SIGNATURE: signature},
    }


__all__ = [
    "LAYER",
    "RefusedStatement",
    "RegistryProtocol",
    "Statement",
    "fetch_blob",
    "find_statement",
    "push_statement",
    "statement_tag",
]

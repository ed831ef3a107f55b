from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from envtool.errors import FetchError
from envtool.net.oci.documents import OCI_LAYER_ZSTD, OCI_MANIFEST, Document, sha256_digest
from envtool.store.store import Store, open_store
from envtool.teamcache import signatures
from envtool.teamcache.statement import LAYER, Statement

PRIVATE, PUBLIC = signatures.generate("ci@example")
OTHER, OTHER_PUBLIC = signatures.generate("other@example")


class Memory:
    """A registry's client without a registry. `fails` raises for what it is told."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.fails: dict[str, FetchError] = {}
        self.lock = threading.Lock()

    def _ask(self, what: str, about: str) -> None:
        with self.lock:
            self.asked.append((what, about))
        if what in self.fails:
            raise self.fails[what]

    def find(self, reference):
        self._ask("find", reference.tag)
        body = self.tags.get(reference.tag)
        return Document(media_type=OCI_MANIFEST, digest=sha256_digest(body), body=body) if body is not None else None

    def pull_blob(self, reference, descriptor, path, *, progress=None):
        self._ask("pull", descriptor.digest)
        data = self.blobs.get(descriptor.digest)
        if data is None:
            raise FetchError("gone", code="fetch-gone")
        if sha256_digest(data) != descriptor.digest or len(data) != descriptor.size:
            raise FetchError("wrong", code="fetch-hash")
        with open(path, "wb") as file:
            file.write(data)
        if progress:
            progress(len(data))

    def push_blob(self, reference, digest, size, source, *, progress=None):
        self._ask("push", digest)
        if digest in self.blobs:
            return "present"
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        assert (sha256_digest(data), len(data)) == (digest, size)
        self.blobs[digest] = data
        return "sent"

    def push_document(self, reference, body, media_type):
        self._ask("put", reference.tag)
        document = json.loads(body)
        assert all(each["digest"] in self.blobs for each in (document["config"], *document["layers"]))
        self.tags[reference.tag] = body
        return sha256_digest(body)

    def manifest(self, tag: str) -> dict:
        return json.loads(self.tags[tag])


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


@pytest.fixture
def signer():
    return signatures.load_private_key(PRIVATE)


@pytest.fixture
def stranger():
    return signatures.load_private_key(OTHER)


@pytest.fixture
def trusted() -> str:
    return PUBLIC


def said(data: bytes, key: str = "a" * 64, **more) -> Statement:
    """A statement of a blob."""
    values = {
        "sort": LAYER,
        "key": key,
        "ids": "range",
        "diff_id": f"sha256:{hashlib.sha256(b'tar').hexdigest()}",
        "size": 3,
        "entries": 1,
        "blob": sha256_digest(data),
        "blob_size": len(data),
        "media_type": OCI_LAYER_ZSTD,
    }
    return Statement(**{**values, **more})


@pytest.fixture
def put(memory, signer, tmp_path):
    """Put a statement and its blob into the registry."""
    from envtool.net.oci import reference
    from envtool.teamcache import registry_store

    def put(data: bytes = b"blob", by=None, **more) -> Statement:
        path = tmp_path / os.urandom(4).hex()
        path.write_bytes(data)
        statement = said(data, **more)
        where = reference.parse_reference("reg.example/team/cache", tag="")
        registry_store.push_statement(memory, where, statement, str(path), by or signer, arch="x86_64")
        return statement

    return put

"""Reads directories in the OCI image layout (image-layout.md of the OCI image specification 1.1).

`directory` is the layout's name in messages. `read` opens a file by its name in the layout; nothing is read in another
way, so that a layout in a project is opened beneath the project (project/host_access.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import BinaryIO, TypeAlias

from envtool.errors import EnvtoolError, FetchError
from envtool.net.oci import documents
from envtool.net.oci.documents import Descriptor, Document, ImageIndex
from envtool.project import host_access

NAME_ANNOTATION = "org.opencontainers.image.ref.name"
VERSION = "1.0.0"


Read: TypeAlias = Callable[[str], BinaryIO]  # raises EnvtoolError, OSError


def directory_opener(directory: str) -> Read:
    """Returns a `Read` for a directory that belongs to the caller."""

    def read(name: str) -> BinaryIO:
        path = os.path.join(directory, name)
        return host_access.open_regular(os.open(path, os.O_PATH | os.O_CLOEXEC), path)

    return read


def read_index(directory: str, read: Read) -> ImageIndex:
    """Returns the index of a layout. Raises FetchError (codes registry-document, registry-missing) if the directory is
    no layout."""
    marker = _read_small(directory, "oci-layout", 1 << 16, read)
    try:
        version = json.loads(marker)["imageLayoutVersion"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None
    if version != VERSION:
        raise FetchError(f"{directory}/oci-layout: not of version {VERSION}", code="registry-document")
    body = _read_small(directory, "index.json", documents.DOCUMENT_LIMIT, read)
    return documents.read_index(body, documents.OCI_INDEX, f"{directory}/index.json")


def choose_image(index: ImageIndex, name: str, what: str) -> Descriptor:
    """Returns the entry with that name (its annotation org.opencontainers.image.ref.name); for the name "", the only
    entry. Raises FetchError (code registry-missing), with the names that exist as its hint."""
    named = [entry for entry in index.manifests if not name or entry.annotations.get(NAME_ANNOTATION) == name]
    unique = {entry.digest: entry for entry in named}
    if len(unique) == 1:
        return next(iter(unique.values()))
    known = sorted(
        {entry.annotations[NAME_ANNOTATION] for entry in index.manifests if NAME_ANNOTATION in entry.annotations}
    )
    hint = f"it has {', '.join(known[:12])}" if known else "none of its images has a name"
    why = f"no image {name!r} in it" if name else f"{len(unique)} images in it: name one"
    raise FetchError(f"{what}: {why}", code="registry-missing", hint=hint)


def read_document(directory: str, descriptor: Descriptor, read: Read) -> Document:
    """Returns a manifest or index of the layout; size and digest are checked."""
    body = read_blob(directory, descriptor, read, documents.DOCUMENT_LIMIT)
    return Document(media_type=descriptor.media_type, digest=descriptor.digest, body=body)


def read_blob(directory: str, descriptor: Descriptor, read: Read, limit: int = documents.CONFIG_LIMIT) -> bytes:
    """Returns a small blob of the layout; size and digest are checked."""
    if descriptor.size > limit:
        text = f"{directory}: {descriptor.digest} has {descriptor.size} bytes, too large to be read whole"
        raise FetchError(text, code="registry-document")
    body = _read_small(directory, blob_path("", descriptor.digest), descriptor.size, read)
    if len(body) != descriptor.size or documents.sha256_digest(body) != descriptor.digest:
        text = f"{directory}: the file of {descriptor.digest} is not what its name says"
        raise FetchError(text, code="registry-digest")
    return body


def blob_path(directory: str, digest: str) -> str:
    """Returns the path of a blob in a layout."""
    algorithm, _, value = digest.partition(":")
    return os.path.join(directory, "blobs", algorithm, value)


def _read_small(directory: str, name: str, limit: int, read: Read) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes."""
    path = os.path.join(directory, name)
    try:
        with read(name) as file:
            body = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchError(f"{path}: {error.strerror}", code="registry-missing", hint="is it an OCI layout?") from error
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}", code="registry-document") from error
    except EnvtoolError as error:
        code = "registry-missing" if error.code == "no-file" else "registry-document"
        raise FetchError(error.message, code=code, hint=error.hint or "is it an OCI layout?") from None
    if len(body) > limit:
        raise FetchError(f"{path}: more than {limit} bytes", code="registry-document")
    return body

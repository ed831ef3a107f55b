"""`h1:` hashes of modules, as go.sum has them (golang.org/x/mod/sumdb/dirhash, Hash1)."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

MAX_ARCHIVE = 500 << 20  # bytes of all files of a module, Go's own limit (golang.org/x/mod/zip)
_PIECE = 1 << 20


def hash_files(digests: Mapping[str, str]) -> str:
    """Returns the hash of files by the sha256 of each, in hexadecimal."""
    lines = "".join(
        f"{digest}  {name}\n" for name, digest in sorted(digests.items(), key=lambda item: item[0].encode())
    )
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


def hash_manifest(content: bytes) -> str:
    """Returns the hash of a go.mod."""
    return hash_files({"go.mod": hashlib.sha256(content).hexdigest()})


def hash_archive(file: BinaryIO) -> str:
    """Returns the hash of a module's zip. Raises ValueError for one that Go would not take."""
    digests: dict[str, str] = {}
    left = MAX_ARCHIVE
    try:
        with zipfile.ZipFile(file) as archive:
            for item in archive.infolist():
                if "\n" in item.filename or item.filename in digests:
                    raise ValueError("it has two files of one name, or a name with a line break")
                digest = hashlib.sha256()
                with archive.open(item) as member:
                    while piece := member.read(min(_PIECE, left + 1)):
                        left -= len(piece)
                        if left < 0:
                            raise ValueError(f"its files have more than {MAX_ARCHIVE >> 20} MB")
                        digest.update(piece)
                digests[item.filename] = digest.hexdigest()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"it is no zip: {str(error)[:100]}") from None
    return hash_files(digests)

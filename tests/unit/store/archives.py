"""Tars as tests need them, right and wrong, and a way to unpack them in this process."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

from envtool.store import unpack_layer


def member(name: str, content: bytes = b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mtime = 1000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **fields) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755} | fields)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return link(name, target, tarfile.LNKTYPE)


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def unpacked(
    top: Path, data: bytes, *, packed: bytes | None = None, diff_id: str = "", owners: bool | None = None, **more
) -> tuple[unpack_layer.UnpackResult, Path, list[bytes]]:
    """Unpack (`packed`, which is) a tar below `top`: what came of it, the tree, the records of the manifest."""
    top.mkdir(parents=True, exist_ok=True)
    blob, tree, manifest = top / "blob", top / "tree", top / "manifest"
    blob.write_bytes(data if packed is None else packed)
    tree.mkdir()
    unpack_layer.prepare()
    with open(blob, "rb") as source, open(manifest, "wb") as sheet:
        at = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            owners = os.geteuid() == 0 if owners is None else owners
            answer = unpack_layer.try_unpack(
                source.fileno(), at, sheet.fileno(), diff_id or digest(data), owners, **more
            )
        finally:
            os.close(at)
    return unpack_layer.unpack_result(answer), tree, manifest.read_bytes().split(b"\0")[:-1]


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)  # without the time: equal data gives equal bytes

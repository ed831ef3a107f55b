"""OCI layouts and docker archives, written by hand: right, and as wrong as a test wants them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from envtool.net.oci import documents

TYPES = {"": documents.OCI_LAYER, "gzip": documents.OCI_LAYER_GZIP, "zstd": documents.OCI_LAYER_ZSTD}


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dumps(value) -> bytes:
    return json.dumps(value).encode()


def config(diff_ids, *, architecture="amd64", created="2024-02-03T04:05:06.123456789Z", **run) -> bytes:
    return dumps({
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    })  # fmt: skip


class Layout:
    """A layout below `top`: `add` images, then `write` its index."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (top / "oci-layout").write_bytes(dumps({"imageLayoutVersion": "1.0.0"}))
        self.entries: list[dict] = []

    def blob(self, data: bytes) -> tuple[str, int]:
        name = digest(data)
        (self.top / "blobs/sha256" / name[7:]).write_bytes(data)
        return name, len(data)

    def document(self, value, media_type: str, **more) -> dict:
        name, size = self.blob(dumps(value))
        return {"mediaType": media_type, "digest": name, "size": size, **more}

    def image(self, *layers: bytes, packed=None, media_type=documents.OCI_LAYER, diff_ids=None, **about) -> dict:
        """The descriptor of an image of these tars; `packed` are the blobs that stand for them."""
        blobs = [self.blob(data) for data in (packed or layers)]
        body = config(diff_ids or [digest(data) for data in layers], **about)
        name, size = self.blob(body)
        manifest = {
            "schemaVersion": 2,
            "mediaType": documents.OCI_MANIFEST,
            "config": {"mediaType": documents.OCI_CONFIG, "digest": name, "size": size},
            "layers": [{"mediaType": media_type, "digest": blob, "size": length} for blob, length in blobs],
        }
        return self.document(manifest, documents.OCI_MANIFEST)

    def add(self, entry: dict, name: str = "", architecture: str = "") -> None:
        more: dict = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        if architecture:
            more["platform"] = {"os": "linux", "architecture": architecture}
        self.entries.append({**entry, **more})

    def index(self) -> dict:
        return {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": self.entries}

    def write(self) -> Path:
        (self.top / "index.json").write_bytes(dumps(self.index()))
        return self.top


def packed(top: Path, to: Path, mode: str = "w") -> Path:
    """A layout as one tar."""
    with tarfile.open(to, mode) as archive:
        archive.add(top, arcname=".")
    return to


def docker_archive(to: Path, images, *, mode: str = "w", linked=()) -> Path:
    """What `docker save` writes of [(tags, config, [(name, layer)])]; `linked` are (name, target) of symlinks."""
    with tarfile.open(to, mode) as archive:

        def put(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        listing = []
        for tags, body, layers in images:
            name = digest(body)[7:] + ".json"
            put(name, body)
            for place, data in layers:
                if data is not None:
                    put(place, data)
            listing.append({"Config": name, "RepoTags": tags, "Layers": [place for place, _ in layers]})
        for name, target in linked:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        put("manifest.json", dumps(listing))
    return to

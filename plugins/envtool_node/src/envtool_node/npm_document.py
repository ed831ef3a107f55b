"""What a build of the kind `npm` gets beside the tarballs, and the part of it that is in the layer's key. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from envtool import api
from envtool_node.lockfile import parse_lockfile
from envtool_node.places import join, manifest_texts, project_texts
from envtool_node.reduced_manifest import Packages, reduce_lock, reduce_manifests


def build_document(request: api.Request, pins: api.Json, root: str) -> dict[str, api.Json]:
    """Returns the document for building.prepare_install; `root` is the directory of package.json in the project. Raises
    WrongLockError."""
    assert isinstance(pins, dict)
    files: Any = pins["files"]
    links: Any = pins["links"]
    packages = _locked_packages(request, pins)
    reduced = reduce_manifests(manifest_texts(request), manager="npm", packages=packages)
    lock = join(api.PROJECT, str(pins["lockfile"])) if packages is None else reduce_lock(packages, root, reduced)
    manifests = [join(api.PROJECT, item.path) for item in request.inputs if item.path.endswith("package.json")]
    return {
        "blobs": api.BLOBS,
        "root": join(api.PROJECT, root),
        "lock": lock,
        "files": [_cache_entry(item) for item in files],
        "manifests": [*manifests],
        "reduced": {join(api.PROJECT, path): text for path, text in reduced.items()},
        "links": [join(api.PROJECT, str(path)) for path in links],
    }


def key_document(document: Mapping[str, api.Json], pins: api.Json) -> dict[str, api.Json]:
    """Returns a build document with a hash in place of a lock file of the project: it may have megabytes. Raises
    ResolveError."""
    assert isinstance(pins, dict)
    lock = document["lock"]
    if pins["lock"] is not None or isinstance(lock, str):
        return {**document}
    try:
        text = json.dumps(lock, sort_keys=True)
    except RecursionError:
        raise api.ResolveError(f"{pins['lockfile']} has lists or objects that are too deep", code="npm-lock") from None
    return {**document, "lock": {"sha256": hashlib.sha256(text.encode()).hexdigest()}}


def _locked_packages(request: api.Request, pins: Mapping[str, api.Json]) -> Packages | None:
    """Returns the packages of the lock file; None if the build sees that file itself. Raises WrongLockError."""
    if pins["lock"] is not None:
        return pins["lock"]  # type: ignore[return-value]
    path = str(pins["lockfile"])
    text = project_texts(request).get(path)
    return None if text is None else parse_lockfile(text, path)


def _cache_entry(item: Mapping[str, Any]) -> api.Json:
    """Returns a tarball's entry in the build document, by the hash of the lock file, else by its sha256."""
    digest = api.integrity_digest(item["integrity"]) or f"sha256:{item['sha256']}"
    algorithm, _, value = digest.partition(":")
    return {
        "name": item["file"],
        "digest": digest,
        "identity": item.get("path") or item["url"],
        "said": item["integrity"],
        "integrity": f"{algorithm}-{base64.b64encode(bytes.fromhex(value)).decode()}",
    }

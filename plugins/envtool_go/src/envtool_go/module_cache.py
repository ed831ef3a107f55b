"""The steps of a build that run in the container without exec (api.Call): they cannot import anything there.

They complete Go's module cache (https://go.dev/ref/mod#module-cache), whose modules envtool has unpacked.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from typing import Any

from envtool_go.module_hashes import hash_archive, hash_manifest

TOP = "/opt/go/mod"


def prepare() -> None:
    """Imports what zip files need, before the root changes."""
    assert zlib.MAX_WBITS


def finish_cache(document: dict[str, Any]) -> None:
    """Checks the archives and the go.mod files by their `h1:` hashes, and writes what Go reads beside them.

    `document`: "top" (the cache), "archives", "manifests": [[path of the file, path in the cache without an ending,
    version, "h1:…"]].
    """
    downloads = f"{document['top']}/cache/download"
    os.makedirs(downloads, exist_ok=True)
    for path, place, version, expected in document["archives"]:
        check_archive(path, expected)
        _write(f"{downloads}/{place}.ziphash", expected)
        _write(f"{downloads}/{place}.info", json.dumps({"Version": version}))
    for path, place, _, expected in document["manifests"]:
        with open(path, "rb") as file:
            actual = hash_manifest(file.read())
        if actual != expected:
            raise ValueError(f"{os.path.basename(path)} has the hash {actual}, and go.sum has {expected}")
        os.makedirs(os.path.dirname(f"{downloads}/{place}"), exist_ok=True)
        shutil.copyfile(path, f"{downloads}/{place}.mod")
    open_files(document["top"])


def check_archive(path: str, expected: str) -> None:
    """Raises ValueError if an archive has another `h1:` hash."""
    with open(path, "rb") as file:
        actual = hash_archive(file)
    if actual != expected:
        raise ValueError(f"{os.path.basename(path)} has the hash {actual}, and go.sum has {expected}")


def open_files(top: str) -> None:
    """Lets every user read a directory: Go's archives do not say who may."""
    for directory, _, files in os.walk(top):
        os.chmod(directory, 0o755)
        for name in files:
            path = f"{directory}/{name}"
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o111 else 0o644)


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def finish_toolchain(top: str) -> None:
    """Makes a release of Go below `top` from its module: archives of modules have no modes, and no go.mod in a
    directory, which is there as _go.mod (cmd/go/internal/toolchain, NewerToolchain and Exec)."""
    open_files(top)
    for directory, _, files in os.walk(top):
        is_program = directory in (f"{top}/bin", f"{top}/pkg/tool") or directory.startswith(f"{top}/pkg/tool/")
        for name in files:
            if is_program or (directory == f"{top}/lib/wasm" and name.endswith("_exec")):
                os.chmod(f"{directory}/{name}", 0o755)
            if name == "_go.mod":
                os.rename(f"{directory}/{name}", f"{directory}/go.mod")

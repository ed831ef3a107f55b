"""The steps of a build that run in the container without exec (api.Call): they cannot import anything there.

The unpacked crates become directory sources of cargo
(https://doc.rust-lang.org/cargo/reference/source-replacement.html#directory-sources).
"""

from __future__ import annotations

import json
import os
from typing import Any

TOP = "/opt/cargo"
GIT = f"{TOP}/git"
LOCK = f"{TOP}/lock"  # directory of the Cargo.lock that envtool resolved
CONFIG = "/.cargo/config.toml"  # cargo looks for it in every directory above a package
_CHECKSUMS = ".cargo-checksum.json"


def finish_sources(document: dict[str, Any]) -> None:
    """Makes directory sources of the unpacked crates, and writes cargo's settings.

    `document`: "crates": [[directory, sha256 of the crate's file]], "git": directory of packages from git or "",
    "directories": [paths], "config": text, "lock": text or "". Cargo checks `package` of the checksums against
    Cargo.lock. The hashes of single files are left out: envtool has checked the whole file of the crate.
    """
    for directory in document["directories"]:
        os.makedirs(directory, exist_ok=True)
    for directory, sha256 in document["crates"]:
        _replace(f"{directory}/{_CHECKSUMS}", json.dumps({"files": {}, "package": sha256}))
    if document["git"]:
        for name in sorted(os.listdir(document["git"])):
            _replace(f"{document['git']}/{name}/{_CHECKSUMS}", json.dumps({"files": {}}))
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    _replace(CONFIG, document["config"])
    if document["lock"]:
        os.makedirs(LOCK, exist_ok=True)
        _replace(f"{LOCK}/Cargo.lock", document["lock"])
    _open_to_all(TOP)


def open_sources(directory: str) -> None:
    """Lets every user read a directory: archives may say otherwise."""
    _open_to_all(directory)


def _open_to_all(top: str) -> None:
    for directory, _, files in os.walk(top):
        os.chmod(directory, 0o755)
        for name in files:
            path = f"{directory}/{name}"
            if not os.path.islink(path):
                executable = os.stat(path).st_mode & 0o111
                os.chmod(path, 0o755 if executable else 0o644)


def _replace(path: str, text: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def remove_installer(top: str) -> None:
    """Removes the list of files that the installer of Rust's archives reads: each archive has one."""
    if os.path.lexists(f"{top}/manifest.in"):
        os.remove(f"{top}/manifest.in")

"""The steps of a build that run in the container, as api.Call."""

from __future__ import annotations

import os
import shutil
from typing import Any

REPOSITORY = "/opt/maven/repository"


def lay_out_repository(blobs: str, files: list[list[Any]], metadata: list[list[Any]]) -> None:
    """Copies files into the repository: rows of [name below `blobs`, path in the repository]. `metadata` has a row
    [directory, text] for each maven-metadata-local.xml, by which Maven finds versions without a network. Tasks may
    write into all directories: what they write is gone with their container."""
    os.makedirs(REPOSITORY, exist_ok=True)
    for name, path in files:
        target = os.path.join(REPOSITORY, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(blobs, name), target)
        os.chmod(target, 0o644)
    for directory, text in metadata:
        os.makedirs(os.path.join(REPOSITORY, directory), exist_ok=True)
        with open(os.path.join(REPOSITORY, directory, "maven-metadata-local.xml"), "w", encoding="utf-8") as file:
            file.write(text)
    for directory, _, _ in os.walk(REPOSITORY):
        os.chmod(directory, 0o1777)

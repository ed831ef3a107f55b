"""Versions from tags, as far as only a container may do it. Like inside.py: standard library only, 3.8 and later."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import Match
    from typing import TypeAlias

    Document: TypeAlias = dict[str, Any]


def match(document: Document) -> Document:
    """What a regular expression of the project's takes for the version in each tag; here, as it may never end."""
    try:
        pattern = re.compile(document["regex"])
    except re.error:  # the build backend will say so
        return {"versions": {}}
    find = pattern.match if document["anchored"] else pattern.search
    return {"versions": {tag: version_in(found) for tag in document["tags"] for found in [find(tag)] if found}}


def version_in(found: Match[str]) -> str:
    """The version in a match: as setuptools-scm, pdm and versioningit name the group, or dunamai its parts."""
    named = {name: text or "" for name, text in found.groupdict().items()}
    if "version" in named:
        return named["version"]
    if "base" in named:
        epoch = named.get("epoch", "").rstrip("!")
        return (epoch + "!" if epoch else "") + named["base"] + named.get("stage", "") + named.get("revision", "")
    return (found.group(1) or "") if found.re.groups else found.group()


def tell_version(root: str, version: str) -> None:
    """Tell versioningit the version, for which it has no variable, as the one where it finds no history. It writes its
    file then too, which it does not where it takes the version from PKG-INFO."""
    path = os.path.join(root, "pyproject.toml")
    if not version or not os.path.isfile(path) or os.path.exists(os.path.join(root, "PKG-INFO")):
        return
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    if not any(line.split("#")[0].strip().startswith("[tool.versioningit") for line in lines):
        return
    lines = [line for line in lines if not line.strip().startswith("default-version")]
    header = next((at for at, line in enumerate(lines) if line.split("#")[0].strip() == "[tool.versioningit]"), -1)
    if header < 0:
        lines.append("[tool.versioningit]")
    lines.insert(header + 1 if header >= 0 else len(lines), "default-version = " + json.dumps(version))
    os.unlink(path)  # it may be a link
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))

"""What a stage does to its tree, as values: each becomes a layer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from envtool.kinds.dockerfile.run_mounts import Mount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAct:
    """RUN: a command in its own environment. `script` is a here-document with a `#!` of its own, (name, text)."""

    line: int
    title: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    user: str
    workdir: str
    network: bool
    mounts: tuple[Mount, ...] = ()
    script: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyAct:
    """COPY and ADD. `origin` is a stage, index or image; empty for the context. `target` is absolute, with a slash at
    its end where it was written with one."""

    line: int
    title: str
    target: str
    sources: tuple[str, ...] = ()
    documents: tuple[tuple[str, str], ...] = ()  # here-documents: name, text
    urls: tuple[str, ...] = ()
    origin: str = ""
    owner: str = ""
    mode: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    unpack: bool = False  # archives of the context are unpacked
    unpack_fetched: bool = False  # those behind URLs too
    checksum: str = ""  # of the one URL, sha256 in hex


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAct:
    """WORKDIR: a directory that is there afterwards, made as its user."""

    line: int
    title: str
    path: str
    user: str


Act: TypeAlias = RunAct | CopyAct | DirectoryAct

"""RUN, COPY, ADD and WORKDIR as values: each changes the tree of its stage and becomes a layer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from envtool.kinds.dockerfile.run_mounts import Mount
from envtool.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAct:
    """RUN: a command in its own environment. `script` is (name, text) of a here-document that begins with `#!`."""

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
    """COPY and ADD. `origin` is the name or index of a stage, or an image; empty for the context. `target` is absolute,
    with a slash at its end where it was written with one."""

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
    unpack_fetched: bool = False  # downloaded archives are unpacked
    checksum: str = ""  # sha256 in hex; there is only one URL then


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAct:
    """WORKDIR: makes a directory, which belongs to `user`, unless it exists."""

    line: int
    title: str
    path: str
    user: str


Act: TypeAlias = RunAct | CopyAct | DirectoryAct

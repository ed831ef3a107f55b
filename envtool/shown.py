"""What a build is shown beside its stack: values of a recipe, and part of the public API (api.Recipe.shown)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A directory that stays on this machine from one build to the next, writable at `target`; never part of a key or
    a layer. Its `id` names it in the whole store. `sharing`: "shared" by builds that run at once, "locked" by one after
    the other, "private" to each (who comes second gets another directory). Owner and mode are those it begins with."""

    id: str
    target: str
    sharing: str = "shared"
    readonly: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file that is only there while it is built, read-only."""

    target: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a build may read and nobody keeps: a read-only file at `target`, or the variable `env`, or both. `source` is
    "env:NAME" or "file:PATH" of whoever builds; with none, or where it is not there, the build does without it, unless
    it is `required`. Never part of a key, a layer or a message."""

    id: str
    source: str = ""
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An empty directory in memory. `size` is bytes, 0: half of the machine's."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """A file or directory of the inputs (below Recipe.project) or below BESIDE, shown at another place too. `source`
    may lead through symlinks, which stay inside that tree. What is written to it, where it is `writable`, is thrown
    away."""

    source: str
    target: str
    writable: bool = False


Shown: TypeAlias = Cache | Text | Secret | Memory | Peek

"""Which files of the project an instruction means: its sources in the build context, less what `.dockerignore` says.
Pure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from envtool.kinds.dockerfile.dockerignore import is_ignored, pattern_covers
from envtool.model import Json

_MAGIC = re.compile(r"[*?\[\\]")
_PATTERN = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """`directory` is relative to the spec's; `sources` to the context, as they were written."""

    directory: str
    sources: tuple[str, ...]
    ignore: tuple[str, ...]

    @classmethod
    def read(cls, options: Any, sources: Sequence[str]) -> BuildContext:
        """Of a part's options."""
        return cls(
            directory=options["context"],
            sources=tuple(clean_source(each) for each in sources),
            ignore=tuple(options["ignore"]),
        )

    def inputs(self, *, patterns: bool | None = None) -> tuple[str, ...]:
        """Files and directories that hold all of it, relative to the spec's directory. Where it makes a difference that
        patterns may match nothing: what they mean, or what all others do."""
        found = [
            posixpath.normpath(posixpath.join(self.directory, _search_root(each)))
            for each in self.sources
            if patterns in (None, is_pattern(each))
        ]
        return tuple(dict.fromkeys(found))

    def keeps(self, path: str) -> bool:
        """Whether a file (relative to the spec's directory) belongs to it. What lies below no source came by a link on
        the way to one, and `.dockerignore` alone says whether it is there."""
        if self.directory != ".":
            if not path.startswith(f"{self.directory}/"):
                return False
            path = path[len(self.directory) + 1 :]
        if is_ignored(path, self.ignore):
            return False
        beside = True
        for each in self.sources:
            if each == "." or pattern_covers(each, path):
                return True
            fixed = _search_root(each)
            beside = beside and fixed != "." and not path.startswith(f"{fixed}/")
        return beside

    def follows(self, link: str, path: str) -> bool:
        """Whether a file (relative to the spec's directory) that a link leads to belongs to it: of a source that is a
        link itself, or is a pattern in one, where the context has the file."""
        prefix = "" if self.directory == "." else f"{self.directory}/"
        if not (link.startswith(prefix) and path.startswith(prefix)) or is_ignored(path[len(prefix) :], self.ignore):
            return False
        name = link[len(prefix) :]
        depth = name.count("/")
        return any(
            name == _search_root(each) or (each.count("/") == depth and pattern_covers(each, name))
            for each in self.sources
        )


def clean_source(source: str) -> str:
    """A source relative to the context, which it cannot leave: without slashes at its ends; "." for all of it."""
    return posixpath.normpath("/" + source).lstrip("/") or "."


def context_options(directory: str, ignore: Sequence[str]) -> dict[str, Json]:
    """What `Context.read` reads."""
    return {"context": directory, "ignore": [*ignore]}


def is_pattern(source: str) -> bool:
    """Whether it has a `*`, `?` or `[` that no backslash takes the meaning of."""
    return _PATTERN.match(source) is not None


def _search_root(source: str) -> str:
    """What the project is searched for: the source, or the directories before its first part that is a pattern. A link
    on the way is followed in those alone, as BuildKit does."""
    parts = source.split("/")
    magic = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), None)
    return source if magic is None else "/".join(parts[:magic]) or "."

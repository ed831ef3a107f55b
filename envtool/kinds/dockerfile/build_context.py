"""Decides which files of the project an instruction reads: its sources in the build context, without those that
`.dockerignore` excludes. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Any

from envtool.api import Input, Json
from envtool.kinds.dockerfile.dockerignore import is_ignored, pattern_covers
from envtool.lazy_dataclass import dataclass

_MAGIC = re.compile(r"[*?\[\\]")
_PATTERN = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """The sources of one instruction. `directory` is relative to the spec's directory; `sources` are relative to the
    context, as they were written."""

    directory: str
    sources: tuple[str, ...]
    ignore: tuple[str, ...]

    @classmethod
    def read(cls, options: Any, sources: Sequence[str]) -> BuildContext:
        """Reads the options of a sublayer (see `context_options`)."""
        return cls(
            directory=options["context"],
            sources=tuple(clean_source(source) for source in sources),
            ignore=tuple(options["ignore"]),
        )

    def inputs(self, *, patterns_may_be_missing: bool = False) -> tuple[Input, ...]:
        """Returns the files and directories that contain all sources, limited to what the instruction reads."""
        keeps, follows = self.keeps, self.follows
        inputs: dict[Input, None] = {}
        for source in self.sources:
            path = posixpath.normpath(posixpath.join(self.directory, _search_root(source)))
            required = not (patterns_may_be_missing and is_pattern(source))
            inputs[Input(path, required=required, keeps=keeps, follows=follows)] = None
        return tuple(inputs)

    def keeps(self, path: str) -> bool:
        """Whether the instruction reads a file; `path` is relative to the spec's directory. A path that is below no
        source was reached by a link on the way to a source: only `.dockerignore` can exclude it."""
        if self.directory != ".":
            if not path.startswith(f"{self.directory}/"):
                return False
            path = path[len(self.directory) + 1 :]
        if is_ignored(path, self.ignore):
            return False
        outside = True
        for source in self.sources:
            if source == "." or pattern_covers(source, path):
                return True
            root = _search_root(source)
            outside = outside and root != "." and not path.startswith(f"{root}/")
        return outside

    def follows(self, link: str, path: str) -> bool:
        """Whether the instruction reads `path`, a file of the context that the link `link` leads to. True where the
        link is a source, the directory that a pattern is searched in, or a path that a pattern matches. Both paths are
        relative to the spec's directory."""
        prefix = "" if self.directory == "." else f"{self.directory}/"
        if not (link.startswith(prefix) and path.startswith(prefix)) or is_ignored(path[len(prefix) :], self.ignore):
            return False
        name = link[len(prefix) :]
        depth = name.count("/")
        return any(
            name == _search_root(source) or (source.count("/") == depth and pattern_covers(source, name))
            for source in self.sources
        )


def clean_source(source: str) -> str:
    """Returns a source as a path relative to the context, without slashes at its ends; "." for the whole context. `..`
    cannot leave the context."""
    return posixpath.normpath("/" + source).lstrip("/") or "."


def context_options(directory: str, ignore: Sequence[str]) -> dict[str, Json]:
    """Returns the options that `BuildContext.read` reads."""
    return {"context": directory, "ignore": [*ignore]}


def is_pattern(source: str) -> bool:
    """Whether a source has a `*`, `?` or `[` that no backslash escapes."""
    return _PATTERN.match(source) is not None


def _search_root(source: str) -> str:
    """Returns the path at which the project is searched: the source, or its directories before the first part that is a
    pattern. Only in those are links followed, as BuildKit does."""
    parts = source.split("/")
    first = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), None)
    return source if first is None else "/".join(parts[:first]) or "."

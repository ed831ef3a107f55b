"""The project's files as a layer may read them: a file that is none of the layer's inputs does not exist."""

from __future__ import annotations

import fnmatch
import posixpath
from typing import TYPE_CHECKING

from envtool import api
from envtool_python.decode import WrongFileError, decode_text
from envtool_python.editable import BUILD_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool_python.dependency_sources import WrongSource

MAX_FILE_SIZE = 8 << 20  # bytes of a requirements file
SPEC = "the spec"  # the file of what stands in the layer's own options


class UndeclaredInputError(LookupError):
    """A file exists, but is not among the inputs."""


class PipInputs:
    """The project's files as a layer may read them: what is not among its inputs does not exist."""

    def __init__(self, request: api.Request, site: api.Site, ahead: Iterable[str] | None = None) -> None:
        """`ahead`: before its inputs are known; these are their patterns, and of metadata files what is none of them
        does not exist."""
        self.ahead = ahead is not None
        self.where = request.where
        self.known = {item.path for item in request.inputs}
        if ahead is not None:
            self.known = {posixpath.normpath(posixpath.join(request.directory, each)) for each in ahead}
        self.site = site
        self.directory = request.directory
        self.depth = len([part for part in request.directory.split("/") if part not in ("", ".")])

    def read(self, path: str) -> str | None:
        """Text of an input; None when there is no such file. Raises UndeclaredInputError when it is no input."""
        whole = posixpath.normpath(posixpath.join(self.directory, path))
        try:
            with self.site.open(whole, limit=MAX_FILE_SIZE) as file:
                content = file.read()
        except api.ResolveError as error:
            if error.code == "no-file":
                return None
            raise
        if whole not in self.known:
            if posixpath.basename(path) in BUILD_FILES:
                return None
            if not self.reached(path):
                raise UndeclaredInputError(path)
        return decode_text(content, path)

    def has(self, path: str) -> str:
        """`file`, `directory`, or empty: what there is of that name in the project."""
        try:
            with self.site.open(posixpath.normpath(posixpath.join(self.directory, path)), limit=MAX_FILE_SIZE):
                return "file"
        except api.ResolveError as error:
            return {"no-file": "", "not-a-file": "directory"}.get(error.code, "file")

    def reached(self, path: str) -> bool:
        """Whether the layer depends on a file, or on one below a directory; ahead: whether it may, by the patterns."""
        whole = posixpath.normpath(posixpath.join(self.directory, path))
        if self.ahead:
            return any(_may_reach(pattern, whole) for pattern in self.known)
        return whole == "." or any(known == whole or known.startswith(f"{whole}/") for known in self.known)

    def problem(self, wrong: WrongSource) -> api.Problem:
        """The same at its place: of the layer's own options, where that stands in the spec."""
        where, text = self.where, ""
        if wrong.file != SPEC:
            whole = posixpath.normpath(posixpath.join(self.directory, wrong.file))
            where = api.Where(file=whole, line=wrong.line or 1, column=1)
            try:
                found = (self.read(wrong.file) or "").splitlines()[where.line - 1 : where.line]
            except (UndeclaredInputError, WrongFileError, api.ResolveError):
                found = []
            text = found[0] if found else ""
        return api.Problem(where=where, message=wrong.message, code=wrong.code, hint=wrong.hint, text=text, width=0)


def _may_reach(pattern: str, whole: str) -> bool:
    """Whether a pattern may mean a path, something above or below it: too often rather than not."""
    if "." in (pattern, whole):
        return True
    for wanted, part in zip(pattern.split("/"), whole.split("/"), strict=False):
        if wanted == "**":
            return True
        if not fnmatch.fnmatchcase(part, wanted):
            return False
    return True

"""The project's files as a layer may read them: only those that are inputs of the layer."""

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
SPEC = "the spec"  # the "file" of requirements in the layer's own options


class UndeclaredInputError(LookupError):
    """A file exists, but is not among the inputs."""


class PipInputs:
    """The project's files as a layer may read them: only its inputs exist, and metadata files that are no inputs do
    not."""

    def __init__(self, request: api.Request, site: api.Site, patterns: Iterable[str] | None = None) -> None:
        """`patterns` are the patterns of the layer's inputs, given while the inputs themselves are not known yet."""
        self._known_by_pattern = patterns is not None
        self.where = request.where
        self.known = {item.path for item in request.inputs}
        if patterns is not None:
            self.known = {posixpath.normpath(posixpath.join(request.directory, pattern)) for pattern in patterns}
        self.site = site
        self.directory = request.directory
        self.depth = len([part for part in request.directory.split("/") if part not in ("", ".")])

    def read(self, path: str) -> str | None:
        """Returns the text of an input, or None if the file does not exist. Raises UndeclaredInputError for a file that
        is no input, and ResolveError and WrongFileError for one that cannot be read."""
        project_path = posixpath.normpath(posixpath.join(self.directory, path))
        try:
            with self.site.open(project_path, limit=MAX_FILE_SIZE) as file:
                content = file.read()
        except api.ResolveError as error:
            if error.code == "no-file":
                return None
            raise
        if project_path not in self.known:
            if posixpath.basename(path) in BUILD_FILES:
                return None
            if not self.depends_on(path):
                raise UndeclaredInputError(path)
        return decode_text(content, path)

    def entry_type(self, path: str) -> str:
        """Returns what the project has at `path`: `file`, `directory`, or "" for nothing."""
        try:
            with self.site.open(posixpath.normpath(posixpath.join(self.directory, path)), limit=MAX_FILE_SIZE):
                return "file"
        except api.ResolveError as error:
            return {"no-file": "", "not-a-file": "directory"}.get(error.code, "file")

    def depends_on(self, path: str) -> bool:
        """Whether the layer depends on a file, or on one below a directory; with patterns alone, whether it may."""
        project_path = posixpath.normpath(posixpath.join(self.directory, path))
        if self._known_by_pattern:
            return any(_may_reach(pattern, project_path) for pattern in self.known)
        return project_path == "." or any(
            input_path == project_path or input_path.startswith(f"{project_path}/") for input_path in self.known
        )

    def problem(self, error: WrongSource) -> api.Problem:
        """Returns the error as a Problem at its file and line; an error of the layer's options is at the layer's place
        in the spec."""
        where, text = self.where, ""
        if error.file != SPEC:
            project_path = posixpath.normpath(posixpath.join(self.directory, error.file))
            where = api.Where(file=project_path, line=error.line or 1, column=1)
            try:
                lines = (self.read(error.file) or "").splitlines()[where.line - 1 : where.line]
            except (UndeclaredInputError, WrongFileError, api.ResolveError):
                lines = []
            text = lines[0] if lines else ""
        return api.Problem(where=where, message=error.message, code=error.code, hint=error.hint, text=text, width=0)


def _may_reach(pattern: str, path: str) -> bool:
    """Whether a pattern may match a path, or something above or below it. Says True in doubt."""
    if "." in (pattern, path):
        return True
    for glob, part in zip(pattern.split("/"), path.split("/"), strict=False):
        if glob == "**":
            return True
        if not fnmatch.fnmatchcase(part, glob):
            return False
    return True

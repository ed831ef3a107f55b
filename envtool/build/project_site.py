"""The part of `api.Site` that needs no other machine: it fetches and runs nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from envtool.build.context import Context
from envtool.errors import ResolveError, UsageError
from envtool.project import source_files
from envtool.project.host_access import MAX_FILE_SIZE
from envtool.store import fetch_sources

if TYPE_CHECKING:
    from pathlib import Path


class ProjectSite:
    """The part of `api.Site` that reads the project."""

    def __init__(self, context: Context) -> None:
        self.arch = context.arch
        self._context = context

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """See api.Site. Raises ResolveError."""
        try:
            return self._context.host_access().open(posixpath.normpath(path), limit=limit)
        except UsageError as error:
            raise ResolveError(error.message, code=error.code, hint=error.hint) from None
        except FileNotFoundError:
            raise ResolveError(f"there is no file `{path}`", code="no-file") from None
        except OSError as error:
            raise ResolveError(f"`{path}` cannot be read: {error.strerror}", code="not-a-file") from None

    def url(self, path: str) -> str:
        """See api.Site."""
        return fetch_sources.file_url(posixpath.join(self._context.host_access().root, path))

    def own(self, place: str) -> None:
        """See api.Site."""
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(place)
        if parts.scheme == "file" or place.startswith("/"):
            self._context.host_access().own(unquote(parts.path))

    @contextmanager
    def temporary_directory(self) -> Iterator[Path]:
        """See api.Site."""
        from pathlib import Path

        from envtool.store import temp_dirs

        with temp_dirs.temp_directory(self._context.store) as path:
            yield Path(path)

    def variable(self, name: str) -> str | None:
        """See api.Site."""
        try:
            return self._context.host_access().variable(name)
        except UsageError as error:
            raise ResolveError(error.message, code=error.code, hint=error.hint) from None

    def tags(self, directory: str = "") -> tuple[str, ...]:
        """See api.Site."""
        return source_files.list_tags(self._context.root, directory)

    def described(self, directory: str, names: Collection[str]) -> str:
        """See api.Site."""
        return source_files.nearest_tag(self._context.root, directory, names)

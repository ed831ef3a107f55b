"""The one rule for files that a caller names for an output: missing directories on the way are made, and what cannot be
written is an error before anything is run or built."""

from __future__ import annotations

from collections.abc import Iterable

from envtool.errors import UsageError
from envtool.fs import caller_paths


def check(paths: Iterable[str], project: str) -> None:
    """Raises UsageError for a path that cannot be written. `project`: see caller_paths.open_directory."""
    for path in paths:
        try:
            caller_paths.check_writable(path, project)
        except OSError as error:
            raise UsageError(
                f"`{path}` cannot be written: {error.strerror or error}",
                code="usage.output",
                hint="name another file: missing directories are made",
            ) from error

"""Parses durations, sizes, paths and names. Each function returns the value, or None if the text is not one."""

from __future__ import annotations

import posixpath
import re

from envtool.fs import sizes

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of envs, layers, bases, tasks
AXIS = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"  # of a matrix: templates have it as `matrix.NAME`
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
PASSED_PATTERN = r"^[A-Za-z_*?][A-Za-z0-9_*?]*$"  # a variable's name, with globs
PASSED_WORDS = "the name of a variable, perhaps with `*` or `?`, as in NPM_TOKEN or CI_*"

_DURATION = re.compile(r"(?:([0-9]+(?:\.[0-9]+)?)h)?(?:([0-9]+(?:\.[0-9]+)?)m)?(?:([0-9]+(?:\.[0-9]+)?)s?)?\Z")
MAX_DURATION = 366 * 86400.0


def parse_duration(text: str | float) -> float | None:
    """Returns the seconds of `30s`, `5m`, `1h30m`, `0.5s`, or of a bare number of seconds. None: not a duration, zero,
    or more than a year.
    """
    if isinstance(text, str):
        match = _DURATION.match(text.strip())
        if not text.strip() or match is None:
            return None
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        total = hours * 3600 + minutes * 60 + seconds
    else:
        total = text if isinstance(text, float) else float(min(max(text, -1), 1 << 62))
    return total if 0 < total <= MAX_DURATION else None


def parse_size(text: str | int) -> int | None:
    """Returns the bytes of `2GiB`, `500 MB`, `1.5g`, or of a bare number of bytes. None: not a size, zero, or more than
    an EiB."""
    number = sizes.parse_size(text) if isinstance(text, str) else text
    return number if number is not None and 0 < number <= sizes.MAX_SIZE else None


def resolve_project_path(path: str, directory: str = ".") -> str | None:
    """Returns `path`, which is relative to `directory`, as a project-relative path without `.` and `..`. None: it is
    empty or absolute, begins with `~`, has a newline or NUL, or leads out of the project. `path` may be a pattern.
    """
    if not path or path.startswith(("/", "~")) or "\0" in path or "\n" in path:
        return None
    joined = posixpath.normpath(posixpath.join(directory, path))
    return None if joined == ".." or joined.startswith("../") else joined


def label(value: str) -> str:
    """Returns a matrix value as part of an env's name: without blanks, slashes, commas and brackets."""
    return re.sub(r"[^A-Za-z0-9._:+@=-]+", "-", value) or "-"

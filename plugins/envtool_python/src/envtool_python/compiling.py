""".py files of what was installed, and their .pyc files. Runs in containers, like inside.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


def python_files(record: TextIO, directory: str) -> Iterator[str]:
    """Absolute paths of the .py files of a RECORD."""
    import csv

    for row in csv.reader(record):
        if row and row[0].endswith(".py"):
            yield os.path.normpath(os.path.join(directory, row[0]))


def compile_list(document: dict[str, Any]) -> dict[str, Any]:
    """Compile each listed file; one that is no Python of this version (a template) is left alone."""
    import py_compile

    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with open(document["list"], encoding="utf-8") as file:
        paths = file.read().splitlines()
    for path in paths:
        try:
            py_compile.compile(path, doraise=True, invalidation_mode=mode)
        except (py_compile.PyCompileError, SyntaxError, ValueError, OSError):
            continue
    return {}

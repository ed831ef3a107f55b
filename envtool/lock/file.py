"""Reads and writes `envtool.lock`, beside the spec and named like it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from envtool import keys
from envtool.api import pin_schemas
from envtool.errors import Problem, SpecError, UsageError
from envtool.fs.directory import OpenDirectory
from envtool.lock import text_format
from envtool.lock.lock import Lock
from envtool.plugins import PluginRegistry
from envtool.project.source_files import ProjectFiles

if TYPE_CHECKING:
    from envtool.model import Json
    from envtool.spec.load import KnownDocuments


def lock_file_name(spec: str) -> str:
    """Returns the lock's file name for a spec's: envtool.yaml has envtool.lock, ci.yaml has ci.lock."""
    return os.path.splitext(spec)[0] + ".lock"


def read_lock(
    files: ProjectFiles, spec: str, kinds: PluginRegistry, known: KnownDocuments | None = None
) -> Lock | None:
    """Returns the lock of a spec (its name in the project), or None where there is none. `kinds` check the pins. A lock
    in `known` is not checked against schemas again. Raises SpecError, UsageError.
    """
    file = lock_file_name(spec)
    content = files.read(file)
    if content is None:
        return None
    pins: dict[str, Json] = {f"base {name}": kind.pins for name, kind in kinds.bases.items()}
    pins |= {f"layer {name}": kind.pins for name, kind in kinds.layers.items()}
    digest = keys.digest_if_json([content, text_format.SCHEMA, pins])
    if known is not None and digest and known.holds(digest):
        return text_format.loads(content, file=file, is_known=True)
    lock = text_format.loads(content, file=file)
    problems: list[Problem] = []
    for entry in lock.entries:
        kind = (kinds.bases if entry.question.subject == "base" else kinds.layers).get(entry.question.kind)
        # checked before anybody reads the pins; without its plugin nobody does
        if kind is not None and (reason := pin_schemas.fault(entry.pins, kind.pins)):
            problems += text_format.wrong_pins_error(entry, reason).problems
    if problems:
        raise SpecError(tuple(problems))
    if known is not None and digest:
        known.add(digest)
    return lock


def lock_line_finder(files: ProjectFiles, spec: str) -> Callable[[str, str], str]:
    """Returns a function from (name, version) of a pinned item to its line in the lock (`envtool.lock:118`), or ""."""
    file = lock_file_name(spec)
    content = files.read(file) or ""

    def line(item: str, version: str) -> str:
        number = text_format.line_of(content, item, version)
        return f"{file}:{number}" if number else ""

    return line


def write_lock(root: str, spec: str, lock: Lock) -> bool:
    """Replace the lock by one rename. Returns whether its text changed. Raises UsageError if it cannot be written."""
    file = lock_file_name(spec)
    content = text_format.dumps(lock).encode()
    try:
        with OpenDirectory.open(root) as project:
            if _holds(project, file, content):
                return False
            with project.atomic_write(file) as out:
                out.write(content)
    except OSError as error:
        raise UsageError(
            f"{os.path.join(root, file)} cannot be written: {error.strerror}", code="lock-write"
        ) from error
    return True


def _holds(project: OpenDirectory, file: str, content: bytes) -> bool:
    try:
        with project.read(file) as stored:
            return stored.read(len(content) + 1) == content
    except OSError:  # there is no file, or something else
        return False

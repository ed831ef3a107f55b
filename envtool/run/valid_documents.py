"""Remembers which specs and locks fit their schemas, so that an unchanged one is not checked again.

What is remembered is a digest of the values of a document and of its schema with what plugins add (spec/load.py,
lock/file.py), beside the version of the code that checks. Importing and compiling a JSON Schema takes a tenth of
`envtool plan` of a small project.
"""

from __future__ import annotations

import binascii
import importlib.util
import os

from envtool.fs import store_files
from envtool.run import fast_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
MAX_KEPT = 16  # of one path: with several words after `--`, or in several checkouts
_CHECKING = ("envtool.spec.validate", "envtool.spec.template", "jsonschema_rs")


class ValidDocuments:
    """The digests of the documents at one path that are known to be valid, in one file of the store. Without a store,
    or with a damaged one, there are none."""

    def __init__(self, store: str, path: str) -> None:
        """`store` is the directory of the store, "" if there is none; `path` the absolute path of the document."""
        name = binascii.crc32(f"{os.geteuid()}\0{path}".encode("utf-8", "surrogateescape"))
        self._path = f"{store}/plans/{name:08x}.valid" if store else ""
        self._version = (FORMAT, *fast_exec.plan_version(), tuple(_checking_code()))
        self._digests = self._read()

    def holds(self, digest: str) -> bool:
        """Returns whether a document is known to be valid."""
        return digest in self._digests

    def add(self, digest: str) -> None:
        """Remembers a document, in place of the one that was added first. Never raises OSError."""
        self._digests = [digest, *self._digests][:MAX_KEPT]
        if self._path:
            kept = {"version": self._version, "digests": self._digests}
            store_files.replace_if_possible(self._path, store_files.encode_with_checksum(kept))

    def _read(self) -> list[str]:
        try:
            kept = store_files.decode_with_checksum(store_files.read_regular_file(self._path))[0]
            return [*kept["digests"]] if kept["version"] == self._version else []
        except (OSError, ValueError, EOFError, TypeError, LookupError):
            return []


def _checking_code() -> Iterator[tuple[int, ...]]:
    """Yields the stat signatures of the code that decides whether a value fits a schema."""
    for name in _CHECKING:
        found = importlib.util.find_spec(name)
        yield fast_exec.stat_signature(found.origin) if found is not None and found.origin else ()

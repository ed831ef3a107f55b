"""Looks for secrets in a captured tree: in the content of files, in names, targets of links and attributes."""

from __future__ import annotations

import io
import os
import stat

from envtool.fs.masking import SecretForms
from envtool.fs.tree_walk import walk_tree
from envtool.store import canonical

_CHUNK = 1 << 20  # bytes


class _SecretSearch(io.RawIOBase):
    """A file that only looks at what is written to it."""

    def __init__(self, forms: SecretForms) -> None:
        self.masker = forms.masker()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.masker.feed(bytes(data))
        return len(data)


def find_secret(tree: str, values: tuple[bytes, ...]) -> str:
    """Returns the path of an entry that contains one of some secrets, in a form that masking.py knows; "an entry" if
    its name does; empty if there is none. Raises OSError, StoreError."""
    forms = SecretForms(values)
    search = _SecretSearch(forms)
    canonical.write_tar(tree, search)  # type: ignore[arg-type]  # all that is in the layer, once
    search.masker.finish()
    if not search.masker.found:
        return ""
    for directory, _, names in walk_tree(tree):
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode) and _is_in_file(path, forms):
                shown = f"/{os.path.relpath(path, tree)}"
                return "an entry" if forms.are_in(os.fsencode(shown)) else shown
    return "an entry"


def _is_in_file(path: str, forms: SecretForms) -> bool:
    masker = forms.masker()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while not masker.found and (data := file.read(_CHUNK)):
            masker.feed(data)
    masker.finish()
    return masker.found

"""Lists the differences between two trees, in what their canonical tars would hold: there is none if and only if their
diff IDs are the same.

Runs as container root (`container.userns.run_as_root`) where the trees belong to its ids, and returns plain values.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from typing import TypeAlias

from envtool.store import canonical
from envtool.store.canonical import DEVICE, DIRECTORY, FILE, SYMLINK, WHITEOUT, TreeEntry

# path in the tree (from /), the kinds of difference, and a few lines as an excerpt (may be empty)
Difference: TypeAlias = tuple[str, list[str], str]

KINDS = (
    "only in the first", "only in the second", "type", "content", "link target", "hard link", "mode", "owner", "time",
    "xattr",
)  # fmt: skip
_TYPES = {FILE: "file", DIRECTORY: "directory", SYMLINK: "symlink", WHITEOUT: "deletion"}
MAX_EXCERPTS = 40  # files with an excerpt; all files are named
TEXT = 1 << 20  # bytes of a file that are searched for a difference
LINES = 12  # lines of an excerpt
CHUNK = 1 << 20


def compare_trees(first: str | int, second: str | int, ignored: Collection[str] = ()) -> list[Difference]:
    """Returns the entries that differ, in order of their paths. A tree is a path or an open descriptor; differences of
    the `ignored` kinds are left out. Raises OSError."""
    first_tree, second_tree = _ComparedTree(first), _ComparedTree(second)
    differences: list[Difference] = []
    for name in sorted({*first_tree.entries, *second_tree.entries}):
        left, right = first_tree.entries.get(name), second_tree.entries.get(name)
        kinds: list[str] = []
        lines: list[str] = []
        if left is None or right is None:
            kinds = [KINDS[0] if left else KINDS[1]]
        else:
            for kind, text in _compare_entries(
                first_tree, left, second_tree, right, with_excerpt=len(differences) < MAX_EXCERPTS
            ):
                kinds.append(kind)
                lines += text
        kinds = [kind for kind in kinds if kind not in ignored]
        if kinds:
            differences.append(("/" + name.decode(errors="replace"), kinds, "\n".join(lines)))
    return differences


class _ComparedTree:
    """A tree's entries by name; for each further name of a hard-linked file, the name of the entry with its content."""

    def __init__(self, tree: str | int) -> None:
        entries = canonical.list_entries(tree)
        self.entries = {entry.name: entry for entry in entries}
        self.linked: dict[bytes, bytes] = {}
        first_names: dict[tuple[int, int], bytes] = {}
        for entry in entries:
            if entry.kind == FILE and entry.info.st_nlink > 1:
                name = first_names.setdefault((entry.info.st_dev, entry.info.st_ino), entry.name)
                if name != entry.name:
                    self.linked[entry.name] = name


def _compare_entries(
    first_tree: _ComparedTree, left: TreeEntry, second_tree: _ComparedTree, right: TreeEntry, *, with_excerpt: bool
) -> list[tuple[str, list[str]]]:
    differences: list[tuple[str, list[str]]] = []

    def differ(kind: str, before: object, after: object) -> None:
        if before != after:
            differences.append((kind, [f"{kind} {before}, then {after}"]))

    if _type(left) != _type(right):
        differ("type", _type(left), _type(right))
        return differences
    if left.kind == WHITEOUT:
        return differences
    if left.kind == FILE:
        links = first_tree.linked.get(left.name), second_tree.linked.get(right.name)
        if links[0] != links[1]:
            differ("hard link", *(f"to /{os.fsdecode(link)}" if link else "none" for link in links))
        if not _same_content(left, right):
            differences.append(("content", diff_files(left.path, right.path) if with_excerpt else []))
    elif left.kind == SYMLINK:
        differ("link target", *(os.fsdecode(os.readlink(entry.path)) for entry in (left, right)))
    if left.kind != SYMLINK:
        differ("mode", *(f"{stat.S_IMODE(entry.info.st_mode):04o}" for entry in (left, right)))
    differ("owner", *(f"{entry.info.st_uid}:{entry.info.st_gid}" for entry in (left, right)))
    differ("time", left.mtime, right.mtime)
    if left.xattrs != right.xattrs:
        names = sorted({os.fsdecode(key) for key, _ in left.xattrs.items() ^ right.xattrs.items()})
        differences.append(("xattr", [f"xattr {', '.join(names)}"]))
    return differences


def _type(entry: TreeEntry) -> str:
    if entry.kind == DEVICE:
        word = "block device" if stat.S_ISBLK(entry.info.st_mode) else "character device"
        return f"{word} {os.major(entry.info.st_rdev)}:{os.minor(entry.info.st_rdev)}"
    if entry.opaque:
        return "directory that hides what is below"
    return _TYPES.get(entry.kind, "fifo")


def _same_content(first: TreeEntry, second: TreeEntry) -> bool:
    if first.info.st_size != second.info.st_size:
        return False
    with open(first.path, "rb", buffering=0) as left, open(second.path, "rb", buffering=0) as right:
        while True:
            piece = left.read(CHUNK)
            if piece != right.read(CHUNK):
                return False
            if not piece:
                return True


def diff_files(first: str | bytes, second: str | bytes) -> list[str]:
    """Returns an excerpt of how two files differ: their first differing lines, or bytes where they are not text."""
    texts = []
    for path in (first, second):
        with open(path, "rb") as file:
            texts.append(file.read(TEXT))
    return diff_contents(texts[0], texts[1])


def diff_contents(left: bytes, right: bytes) -> list[str]:
    """Returns an excerpt of how two contents differ: their first differing lines, or bytes where they are not text."""
    if b"\0" not in left + right:
        try:
            return _diff_lines(left.decode().split("\n"), right.decode().split("\n"))
        except UnicodeDecodeError:
            pass
    at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    sizes = f"{len(left)} and {len(right)} bytes, " if len(left) != len(right) else ""
    return [f"{sizes}differ from byte {at} on: {left[at : at + 8].hex(' ')} / {right[at : at + 8].hex(' ')}"]


def _diff_lines(left: list[str], right: list[str]) -> list[str]:
    # without the common lines at both ends, so that a long file costs little
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    half = LINES // 2
    removed, added = left[start : len(left) - end], right[start : len(right) - end]
    excerpt = [f"line {start + 1}:"]
    for sign, lines in (("-", removed), ("+", added)):
        excerpt += [f"{sign} {line[:200]}" for line in lines[:half]]
        if len(lines) > half:
            hidden = len(lines) - half
            excerpt.append(f"{sign} … {hidden} more line{'s' if hidden != 1 else ''}")
    return excerpt

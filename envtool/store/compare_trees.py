"""Where two trees differ, in what a canonical tar of them would hold: nothing differs if and only if their diff IDs are
the same.

Runs as container root (`container.ids.inside`) where the trees belong to its ids; the answer is plain values.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from typing import TypeAlias

from envtool.store import canonical
from envtool.store.canonical import DEVICE, DIRECTORY, FILE, SYMLINK, WHITEOUT, TreeEntry

# path in the tree (from /), the kinds of difference, and a few lines that show it (may be empty)
Difference: TypeAlias = tuple[str, list[str], str]

KINDS = (
    "only in the first", "only in the second", "type", "content", "link target", "hard link", "mode", "owner", "time",
    "xattr",
)  # fmt: skip
_TYPES = {FILE: "file", DIRECTORY: "directory", SYMLINK: "symlink", WHITEOUT: "deletion"}
MAX_EXCERPTS = 40  # files whose difference is shown; all are named
TEXT = 1 << 20  # bytes of a file that are looked at for text
LINES = 12
CHUNK = 1 << 20


def compare_trees(first: str | int, second: str | int, ignored: Collection[str] = ()) -> list[Difference]:
    """All entries that differ, by path. Trees are paths or open descriptors; `ignored` are kinds that do not count.
    Raises OSError."""
    one, two = _ComparedTree(first), _ComparedTree(second)
    found: list[Difference] = []
    for name in sorted({*one.entries, *two.entries}):
        mine, other = one.entries.get(name), two.entries.get(name)
        kinds: list[str] = []
        lines: list[str] = []
        if mine is None or other is None:
            kinds = [KINDS[0] if mine else KINDS[1]]
        else:
            for kind, text in _compare_entries(one, mine, two, other, shown=len(found) < MAX_EXCERPTS):
                kinds.append(kind)
                lines += text
        kinds = [kind for kind in kinds if kind not in ignored]
        if kinds:
            found.append(("/" + name.decode(errors="replace"), kinds, "\n".join(lines)))
    return found


class _ComparedTree:
    """A tree's entries by name, and for a further name of a file the name that its content has in the tar."""

    def __init__(self, tree: str | int) -> None:
        listed = canonical.list_entries(tree)
        self.entries = {entry.name: entry for entry in listed}
        self.linked: dict[bytes, bytes] = {}
        seen: dict[tuple[int, int], bytes] = {}
        for entry in listed:
            if entry.kind == FILE and entry.info.st_nlink > 1:
                name = seen.setdefault((entry.info.st_dev, entry.info.st_ino), entry.name)
                if name != entry.name:
                    self.linked[entry.name] = name


def _compare_entries(
    one: _ComparedTree, mine: TreeEntry, two: _ComparedTree, other: TreeEntry, *, shown: bool
) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []

    def differ(kind: str, left: object, right: object) -> None:
        if left != right:
            found.append((kind, [f"{kind} {left}, then {right}"]))

    if _type(mine) != _type(other):
        differ("type", _type(mine), _type(other))
        return found
    if mine.kind == WHITEOUT:
        return found
    if mine.kind == FILE:
        links = one.linked.get(mine.name), two.linked.get(other.name)
        if links[0] != links[1]:
            differ("hard link", *(f"to /{os.fsdecode(link)}" if link else "none" for link in links))
        if not _same_content(mine, other):
            found.append(("content", diff_files(mine.path, other.path) if shown else []))
    elif mine.kind == SYMLINK:
        differ("link target", *(os.fsdecode(os.readlink(entry.path)) for entry in (mine, other)))
    if mine.kind != SYMLINK:
        differ("mode", *(f"{stat.S_IMODE(entry.info.st_mode):04o}" for entry in (mine, other)))
    differ("owner", *(f"{entry.info.st_uid}:{entry.info.st_gid}" for entry in (mine, other)))
    differ("time", mine.mtime, other.mtime)
    if mine.xattrs != other.xattrs:
        names = sorted({os.fsdecode(key) for key, _ in mine.xattrs.items() ^ other.xattrs.items()})
        found.append(("xattr", [f"xattr {', '.join(names)}"]))
    return found


def _type(entry: TreeEntry) -> str:
    if entry.kind == DEVICE:
        word = "block device" if stat.S_ISBLK(entry.info.st_mode) else "character device"
        return f"{word} {os.major(entry.info.st_rdev)}:{os.minor(entry.info.st_rdev)}"
    if entry.opaque:
        return "directory that hides what is below"
    return _TYPES.get(entry.kind, "fifo")


def _same_content(mine: TreeEntry, other: TreeEntry) -> bool:
    if mine.info.st_size != other.info.st_size:
        return False
    with open(mine.path, "rb", buffering=0) as left, open(other.path, "rb", buffering=0) as right:
        while True:
            piece = left.read(CHUNK)
            if piece != right.read(CHUNK):
                return False
            if not piece:
                return True


def diff_files(first: str | bytes, second: str | bytes) -> list[str]:
    """A few lines that show how two files differ: their first differing lines, or bytes where they are no text."""
    texts = []
    for path in (first, second):
        with open(path, "rb") as file:
            texts.append(file.read(TEXT))
    return diff_contents(texts[0], texts[1])


def diff_contents(left: bytes, right: bytes) -> list[str]:
    """The same for contents."""
    if b"\0" not in left + right:
        try:
            return _diff_lines(left.decode().split("\n"), right.decode().split("\n"))
        except UnicodeDecodeError:
            pass
    at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    sizes = f"{len(left)} and {len(right)} bytes, " if len(left) != len(right) else ""
    return [f"{sizes}differ from byte {at} on: {left[at : at + 8].hex(' ')} / {right[at : at + 8].hex(' ')}"]


def _diff_lines(left: list[str], right: list[str]) -> list[str]:
    # only what the two do not share at their ends, so that a long file costs nothing
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    half = LINES // 2
    removed, added = left[start : len(left) - end], right[start : len(right) - end]
    shown = [f"line {start + 1}:"]
    for sign, lines in (("-", removed), ("+", added)):
        shown += [f"{sign} {line[:200]}" for line in lines[:half]]
        if len(lines) > half:
            shown.append(f"{sign} … {len(lines) - half} more lines")
    return shown

"""The files of a stack as its containers see them, by the layers' manifests alone: no mount, nothing is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

DIRECTORIES = b"do"
Entries: TypeAlias = Iterable[tuple[bytes, bytes]]  # (path, fields) of each entry of a manifest, canonical.records


class OverlayEntry(NamedTuple):
    """The fields of one entry of a manifest. `letter` is d (o: opaque), f, l, w (a deletion), p, b or c; `mark` of a
    file is size:crc[:crc of xattrs], of a symlink the sha256 of its target, of a device its numbers."""

    letter: str
    mode: int
    uid: int
    gid: int
    mark: str

    @property
    def size(self) -> int:
        """Bytes of a file's content."""
        return int(self.mark.partition(":")[0]) if self.letter == "f" else 0


def parse_record(fields: bytes) -> OverlayEntry:
    """Raises ValueError for what is no entry of a manifest."""
    letter, mode, uid, gid, mark = fields.split(b" ")
    return OverlayEntry(letter.decode(), int(mode, 8), int(uid), int(gid), mark.decode())


def merge_layers(layers: Sequence[Entries]) -> dict[bytes, tuple[bytes, int]]:
    """Path -> fields and the layer (index, bottom first) of each entry that is seen. Overlayfs's own rules: a deletion,
    an opaque directory, and anything that is no directory hide what is below them."""
    seen: dict[bytes, tuple[bytes, int]] = {}
    for index, entries in enumerate(layers):
        listed = list(entries)
        hiding = {path for path, fields in listed if fields[:1] != b"d"}
        hiding &= {path for path, (fields, _) in seen.items() if fields[:1] in DIRECTORIES}
        hiding |= {path for path, fields in listed if fields[:1] == b"w"}
        if hiding:
            seen = {path: value for path, value in seen.items() if not _is_hidden(path, hiding)}
        for path, fields in listed:
            if fields[:1] != b"w":
                seen[path] = (fields, index)
    return seen


def _is_hidden(path: bytes, hiding: set[bytes]) -> bool:
    if path in hiding:
        return True
    end = path.rfind(b"/")
    while end > 0:
        if path[:end] in hiding:
            return True
        end = path.rfind(b"/", 0, end)
    return False


def path_history(path: bytes, layers: Sequence[Entries]) -> list[tuple[int, bytes, bool]]:
    """What each layer says of one path, bottom first: (index, fields, whether it is part of what is seen). An ancestor
    that hides it counts as a deletion ("w")."""
    ancestors = [path[:end] for end in range(1, len(path)) if path[end : end + 1] == b"/"]
    found: list[tuple[int, bytes, bool]] = []
    for index, entries in enumerate(layers):
        own = b""
        above = dict.fromkeys(ancestors, b"")
        for name, fields in entries:
            if name == path:
                own = fields
            elif name in above:
                above[name] = fields
        hidden = any(fields and fields[:1] != b"d" for fields in above.values())
        if own and own[:1] != b"w":
            # a directory is made of those below it, as long as there is nothing else between them
            merges = own[:1] == b"d" and not hidden and bool(found) and found[-1][1][:1] in DIRECTORIES
            found = [(at, fields, seen and merges) for at, fields, seen in found]
            found.append((index, own, True))
        elif own or hidden:
            found = [(at, fields, False) for at, fields, _ in found]
            if found:
                found.append((index, own or b"w 0 0 0 -", False))
    return found

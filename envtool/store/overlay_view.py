"""Computes the files of a stack as its containers see them from the layers' manifests alone, without a mount."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

DIRECTORIES = b"do"
Entries: TypeAlias = Iterable[tuple[bytes, bytes]]  # (path, fields) of each entry: canonical.read_manifest


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
    """Parses the fields of a manifest's record. Raises ValueError where they are malformed."""
    letter, mode, uid, gid, mark = fields.split(b" ")
    return OverlayEntry(letter.decode(), int(mode, 8), int(uid), int(gid), mark.decode())


def merge_layers(layers: Sequence[Entries]) -> dict[bytes, tuple[bytes, int]]:
    """Returns, by path, the fields and the layer (index, bottom first) of each visible entry. The rules are overlayfs's
    own: a deletion, an opaque directory, and any file hide the entries of lower layers at and below their path."""
    visible: dict[bytes, tuple[bytes, int]] = {}
    for index, entries in enumerate(layers):
        records = list(entries)
        hiding = {path for path, fields in records if fields[:1] != b"d"}
        hiding &= {path for path, (fields, _) in visible.items() if fields[:1] in DIRECTORIES}
        hiding |= {path for path, fields in records if fields[:1] == b"w"}
        if hiding:
            visible = {path: value for path, value in visible.items() if not _is_hidden(path, hiding)}
        for path, fields in records:
            if fields[:1] != b"w":
                visible[path] = (fields, index)
    return visible


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
    """Returns what each layer has at one path, bottom first: (index, fields, whether it is visible). An ancestor that
    hides the path counts as a deletion ("w")."""
    ancestors = [path[:end] for end in range(1, len(path)) if path[end : end + 1] == b"/"]
    history: list[tuple[int, bytes, bool]] = []
    for index, entries in enumerate(layers):
        own = b""
        above_fields = dict.fromkeys(ancestors, b"")
        for name, fields in entries:
            if name == path:
                own = fields
            elif name in above_fields:
                above_fields[name] = fields
        hidden = any(fields and fields[:1] != b"d" for fields in above_fields.values())
        if own and own[:1] != b"w":
            # a directory is merged with those of lower layers, as long as nothing hides them
            merges = own[:1] == b"d" and not hidden and bool(history) and history[-1][1][:1] in DIRECTORIES
            history = [(layer, fields, visible and merges) for layer, fields, visible in history]
            history.append((index, own, True))
        elif own or hidden:
            history = [(layer, fields, False) for layer, fields, _ in history]
            if history:
                history.append((index, own or b"w 0 0 0 -", False))
    return history

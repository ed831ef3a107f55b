"""deb, tar and compressions, read from memory: only what a Debian package may contain, and nothing hostile.

Formats: deb(5), tar(5) (ustar, GNU long names, pax paths). Runs inside containers: everything is imported here.
Python's tarfile takes three times as long over a minimal system, most of it in objects that nobody looks at.
"""

from __future__ import annotations

import lzma
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import zstandard
except ImportError:  # Python 3.14 has its own
    zstandard = None  # type: ignore[assignment]

REGULAR, HARDLINK, SYMLINK, DIRECTORY = "0", "1", "2", "5"
_KINDS = {b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"1": HARDLINK, b"2": SYMLINK, b"5": DIRECTORY}


class ArchiveError(ValueError):
    """An archive is damaged, or holds what it must not."""


class Member(NamedTuple):
    """One member: `path` relative without `./` (empty for the top), `kind` one of the constants above, `mtime` in
    seconds, data at `start`:`start + size` of the archive.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    link: str  # as written for a symlink, normalised like `path` for a hard link
    start: int
    size: int


def parts(path: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """The (name, content still compressed) of control.tar and data.tar of a deb. Raises ArchiveError, OSError."""
    control = data = None
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while head := file.read(60):
            if len(head) < 60 or head[58:] != b"`\n":
                raise ArchiveError(f"{path} is damaged or cut short")
            name, size = head[:16].rstrip().rstrip(b"/").decode(), int(head[48:58])
            content = file.read(size)
            if len(content) < size:
                raise ArchiveError(f"{path} is cut short")
            file.read(size & 1)
            if name.startswith("control.tar"):
                control = name, content
            elif name.startswith("data.tar"):
                data = name, content
    if control is None or data is None:
        raise ArchiveError(f"{path} lacks a control or data archive")
    return control, data


def control_text(path: str) -> str:
    """The control file of a deb; its data is not read. Raises ArchiveError, OSError."""
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while len(head := file.read(60)) == 60:
            name, size = head[:16].rstrip().rstrip(b"/").decode(), int(head[48:58])
            if not name.startswith("control.tar"):
                file.seek(size + (size & 1), 1)
                continue
            data = decompress(name, file.read(size))
            for item in members(data):
                if item.path == "control":
                    return data[item.start : item.start + item.size].decode("utf-8", "surrogateescape")
    raise ArchiveError(f"{path} has no control file")


def decompress(name: str, content: bytes) -> bytes:
    """The tar in a member; its name tells the compression. Raises ArchiveError."""
    ending = name.rpartition(".")[2]
    try:
        match ending:
            case "xz":
                return lzma.decompress(content)
            case "gz":
                return zlib.decompress(content, wbits=31)
            case "zst":
                return _zstd(content)
            case "tar":
                return content
    except (lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"{name} is damaged: {error}") from error
    raise ArchiveError(f"{name} is compressed in a way that is not known here")


def _zstd(content: bytes) -> bytes:
    if zstandard is None:
        from compression import zstd  # type: ignore[import-not-found]

        return bytes(zstd.decompress(content))
    return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(content))


def members(data: bytes) -> Iterator[Member]:
    """The members of a tar. Raises ArchiveError for `..`, devices, and whatever does not add up."""
    at, long_name, long_link = 0, "", ""
    while at + 512 <= len(data):
        head = data[at : at + 512]
        if head[0] == 0 and not head.strip(b"\0"):
            return
        _checksum(head)
        size, start = _number(head[124:136]), at + 512
        if size < 0 or start + size > len(data):
            raise ArchiveError("a tar is cut short")
        at = start + (size + 511) // 512 * 512
        flag = head[156:157]
        if flag in (b"L", b"K"):
            text = data[start : start + size].rstrip(b"\0").decode("utf-8", "surrogateescape")
            long_name, long_link = (text, long_link) if flag == b"L" else (long_name, text)
            continue
        if flag == b"x":
            extended = _pax(data[start : start + size])
            long_name, long_link = extended.get("path", long_name), extended.get("linkpath", long_link)
            continue
        if flag == b"g":
            continue
        name = long_name or _text(head[:100])
        if not long_name and head[257:263] == b"ustar\0" and head[345]:
            name = f"{_text(head[345:500])}/{name}"
        link = long_link or _text(head[157:257])
        long_name = long_link = ""
        kind = _KINDS.get(flag)
        if kind is None:
            raise ArchiveError(f"`{name}` is a device or something else that a package may not bring")
        yield Member(
            path=normal(name),
            kind=kind,
            mode=_number(head[100:108]) & 0o7777,
            uid=_number(head[108:116]),
            gid=_number(head[116:124]),
            mtime=_number(head[136:148]),
            link=normal(link) if kind == HARDLINK else link,
            start=start,
            size=size if kind == REGULAR else 0,
        )


def normal(path: str) -> str:
    """A member's name without `./` and double slashes; absolute names lose their slash. `..` is refused."""
    if ".." not in path and path.startswith("./") and "//" not in path and not path.endswith("/") and "/./" not in path:
        return path[2:]
    pieces = [piece for piece in path.split("/") if piece not in ("", ".")]
    if ".." in pieces:
        raise ArchiveError(f"`{path}` leaves the place it is unpacked to")
    return "/".join(pieces)


def _checksum(head: bytes) -> None:
    if sum(head) - sum(head[148:156]) + 8 * 32 != _number(head[148:156]):
        raise ArchiveError("a tar is damaged: a header's checksum is wrong")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: big-endian binary
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise ArchiveError("a tar is damaged: a number is not one") from error


def _pax(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        try:
            length = int(data[at:space])
        except ValueError as error:
            raise ArchiveError("a tar is damaged: an extended header is not one") from error
        if space < 0 or length <= space - at:
            raise ArchiveError("a tar is damaged: an extended header is not one")
        name, _, value = data[space + 1 : at + length - 1].partition(b"=")
        found[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found

"""deb, tar and compressions, read from memory: only what a Debian package may contain, and nothing hostile.

Formats: deb(5), tar(5) (ustar, GNU long names, pax paths). Runs inside containers: everything is imported here.
Python's tarfile takes three times as long over a minimal system, most of it in objects that nobody looks at.
"""

from __future__ import annotations

import lzma
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool.fs.sizes import natural

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import zstandard
except ImportError:  # Python 3.14 has its own
    zstandard = None  # type: ignore[assignment]

REGULAR, HARDLINK, SYMLINK, DIRECTORY = "0", "1", "2", "5"
_KINDS = {b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"1": HARDLINK, b"2": SYMLINK, b"5": DIRECTORY}


MAX_SIZE = 8 << 30  # bytes of a deb's tar
CHUNK_SIZE = 1 << 13  # bytes: of zstd they may become 256 MiB
_MAX_NUMBER = 1 << 36  # of any number in one: sizes, seconds until the year 4147


class ArchiveError(ValueError):
    """An archive is damaged, or holds what it must not."""

    @property
    def message(self) -> str:
        """What is said of it, and nothing of where in our code."""
        return str(self)


class DebMember(NamedTuple):
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


def read_deb_parts(path: str) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """The (name, content still compressed) of control.tar and data.tar of a deb. Raises ArchiveError, OSError."""
    control = data = None
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while head := file.read(60):
            if len(head) < 60 or head[58:] != b"`\n":
                raise ArchiveError(f"{path} is damaged or cut short")
            name, size = _parse_ar_header(path, head)
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


def _parse_ar_header(path: str, head: bytes) -> tuple[str, int]:
    """Name and size in bytes of a member of an ar. Raises ArchiveError."""
    size = natural(head[48:58].strip())
    if size is None:
        raise ArchiveError(f"{path} is damaged: a size is not one")
    return head[:16].rstrip().rstrip(b"/").decode("utf-8", "replace"), size


def read_control(path: str) -> str:
    """The control file of a deb; its data is not read. Raises ArchiveError, OSError."""
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while len(head := file.read(60)) == 60:
            name, size = _parse_ar_header(path, head)
            if not name.startswith("control.tar"):
                file.seek(size + (size & 1), 1)
                continue
            data = decompress(name, file.read(size))
            for item in iter_members(data):
                if item.path == "control":
                    return data[item.start : item.start + item.size].decode("utf-8", "surrogateescape")
    raise ArchiveError(f"{path} has no control file")


def decompress(name: str, content: bytes) -> bytes:
    """The tar in a member; its name tells the compression. Raises ArchiveError."""
    ending = name.rpartition(".")[2]
    if ending == "tar":
        return content
    if ending not in ("xz", "gz", "zst"):
        raise ArchiveError(f"{name} is compressed in a way that is not known here")
    try:
        plain = decompress_limited(ending, content, MAX_SIZE)
    except (lzma.LZMAError, zlib.error, EOFError, _zstd_error()) as error:
        raise ArchiveError(f"{name} is damaged: {error}") from error
    if plain is None:
        raise ArchiveError(f"{name} unpacks to more than {MAX_SIZE >> 30} GiB")
    return plain


def decompress_limited(form: str, content: bytes, limit: int) -> bytes | None:
    """What is in an "xz", "gz" or "zst"; None where that is more than `limit` bytes, of which no more are held. Raises
    what the libraries raise, EOFError for what is cut short."""
    found = bytearray()
    # Several streams may follow one another, as in what parallel compressors write.
    while content:
        decoder: Any = lzma.LZMADecompressor() if form == "xz" else _Gunzip() if form == "gz" else _zstd()
        try:
            found += decoder.decompress(content, limit + 1 - len(found))
        except (lzma.LZMAError, zlib.error, _zstd_error()):
            if not found:
                raise
            break  # what follows is none
        while not decoder.eof and len(found) <= limit:
            more = decoder.decompress(b"", limit + 1 - len(found))
            if not more and not decoder.eof:
                raise EOFError("it is cut short")
            found += more
        if len(found) > limit:
            return None
        content = decoder.unused_data.lstrip(b"\0")
    return bytes(found)


class _Gunzip:
    """zlib's decompressor with the face of lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(1, most))

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Unzstd:
    """zstandard's decompressor with the face of lzma's, as Python 3.14's own has it."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._waiting = memoryview(b"")

    def decompress(self, data: bytes, most: int) -> bytes:
        """At least `most` bytes, and not many more: it gives all that its input holds, so it gets that piecemeal."""
        self._waiting = self._waiting or memoryview(data)
        found = bytearray()
        while self._waiting and not self.eof and len(found) < most:
            found += self._inner.decompress(self._waiting[:CHUNK_SIZE])
            self._waiting = self._waiting[CHUNK_SIZE:]
        return bytes(found)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + bytes(self._waiting)


def _zstd() -> Any:
    if zstandard is not None:
        return _Unzstd()
    from compression import zstd  # type: ignore[import-not-found]

    return zstd.ZstdDecompressor()


def _zstd_error() -> type[Exception]:
    if zstandard is None:
        from compression import zstd

        return zstd.ZstdError
    return zstandard.ZstdError


def iter_members(data: bytes) -> Iterator[DebMember]:
    """The members of a tar. Raises ArchiveError for `..`, devices, and whatever does not add up."""
    at, long_name, long_link = 0, "", ""
    while at + 512 <= len(data):
        head = data[at : at + 512]
        if head[0] == 0 and not head.strip(b"\0"):
            return
        _checksum(head)
        size, start = _number(head[124:136]), at + 512
        if start + size > len(data):
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
        yield DebMember(
            path=normalize_path(name),
            kind=kind,
            mode=_number(head[100:108]) & 0o7777,
            uid=_number(head[108:116]),
            gid=_number(head[116:124]),
            mtime=_number(head[136:148]),
            link=normalize_path(link) if kind == HARDLINK else link,
            start=start,
            size=size if kind == REGULAR else 0,
        )


def normalize_path(path: str) -> str:
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
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if number > _MAX_NUMBER:
            raise ArchiveError("a tar is damaged: a number is past all bounds")
        return number
    text = field.strip(b" \0") or b"0"
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise ArchiveError("a tar is damaged: a number is not one")
    return int(text, 8)


def _pax(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        length = natural(data[at:space]) or 0
        if space < 0 or length <= space - at or at + length > len(data):
            raise ArchiveError("a tar is damaged: an extended header is not one")
        name, _, value = data[space + 1 : at + length - 1].partition(b"=")
        found[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return found

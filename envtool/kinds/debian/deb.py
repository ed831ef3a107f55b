"""Reads debs: ar, tar and the compressions, from memory. Refuses everything that a Debian package may not contain.

Formats: deb(5), tar(5) (ustar, GNU long names, pax paths). Runs inside containers: everything is imported here.
Python's tarfile takes three times as long for a minimal system, most of it for objects that are not used."""

from __future__ import annotations

import lzma
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool.api.untrusted_text import natural

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import zstandard
except ImportError:  # Python 3.14 has a module of its own
    zstandard = None  # type: ignore[assignment]

REGULAR, HARDLINK, SYMLINK, DIRECTORY = "0", "1", "2", "5"
_KINDS = {b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"1": HARDLINK, b"2": SYMLINK, b"5": DIRECTORY}


MAX_SIZE = 8 << 30  # bytes of a deb's tar
CHUNK_SIZE = 1 << 13  # bytes of zstd that are unpacked at once: they may become 256 MiB
_MAX_NUMBER = 1 << 36  # of a number in a header: a size in bytes, or a time in seconds (until the year 4147)


class ArchiveError(ValueError):
    """An archive is damaged, or has content that it may not have."""

    @property
    def message(self) -> str:
        """The message, without the position in the code."""
        return str(self)


class DebMember(NamedTuple):
    """One member of a tar. `path` is relative without `./` (empty for the top directory), `kind` is one of the
    constants above, `mtime` is in seconds, the data is at `start`:`start + size` of the archive."""

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
    """Returns (name, compressed content) of control.tar and data.tar of a deb. Raises ArchiveError, OSError."""
    control = data = None
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while header := file.read(60):
            if len(header) < 60 or header[58:] != b"`\n":
                raise ArchiveError(f"{path} is damaged or cut short")
            name, size = _parse_ar_header(path, header)
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


def _parse_ar_header(path: str, header: bytes) -> tuple[str, int]:
    """Returns name and size in bytes of a member of an ar. Raises ArchiveError."""
    size = natural(header[48:58].strip())
    if size is None:
        raise ArchiveError(f"{path} is damaged: a size is not valid")
    return header[:16].rstrip().rstrip(b"/").decode("utf-8", "replace"), size


def read_control(path: str) -> str:
    """Returns the control file of a deb. Does not read its data. Raises ArchiveError, OSError."""
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ArchiveError(f"{path} is not a deb")
        while len(header := file.read(60)) == 60:
            name, size = _parse_ar_header(path, header)
            if not name.startswith("control.tar"):
                file.seek(size + (size & 1), 1)
                continue
            data = decompress(name, file.read(size))
            for member in iter_members(data):
                if member.path == "control":
                    return data[member.start : member.start + member.size].decode("utf-8", "surrogateescape")
    raise ArchiveError(f"{path} has no control file")


def decompress(name: str, content: bytes) -> bytes:
    """Returns the tar in a member; the member's name says how it is compressed. Raises ArchiveError."""
    form = name.rpartition(".")[2]
    if form == "tar":
        return content
    if form not in ("xz", "gz", "zst"):
        raise ArchiveError(f"{name} has an unknown compression")
    try:
        unpacked = decompress_limited(form, content, MAX_SIZE)
    except (lzma.LZMAError, zlib.error, EOFError, _zstd_error()) as error:
        raise ArchiveError(f"{name} is damaged: {error}") from error
    if unpacked is None:
        raise ArchiveError(f"{name} unpacks to more than {MAX_SIZE >> 30} GiB")
    return unpacked


def decompress_limited(form: str, content: bytes, limit: int) -> bytes | None:
    """Returns the content of an "xz", "gz" or "zst"; None if it has more than `limit` bytes, without holding more of
    it. Raises the errors of the libraries, and EOFError if the data is cut short."""
    unpacked = bytearray()
    # There may be several streams, one after the other: parallel compressors write so.
    while content:
        decoder: Any = lzma.LZMADecompressor() if form == "xz" else _Gunzip() if form == "gz" else _zstd()
        try:
            unpacked += decoder.decompress(content, limit + 1 - len(unpacked))
        except (lzma.LZMAError, zlib.error, _zstd_error()):
            if not unpacked:
                raise
            break  # the data after the last stream is not a stream
        while not decoder.eof and len(unpacked) <= limit:
            next_part = decoder.decompress(b"", limit + 1 - len(unpacked))
            if not next_part and not decoder.eof:
                raise EOFError("it is cut short")
            unpacked += next_part
        if len(unpacked) > limit:
            return None
        content = decoder.unused_data.lstrip(b"\0")
    return bytes(unpacked)


class _Gunzip:
    """zlib's decompressor with the interface of lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(1, limit))

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Unzstd:
    """zstandard's decompressor with the interface of lzma's, which Python 3.14's own also has."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._waiting = memoryview(b"")

    def decompress(self, data: bytes, limit: int) -> bytes:
        """Returns at least `limit` bytes, if there are as many, and not many more. The inner decompressor unpacks all
        its input at once, so it gets the input in chunks."""
        self._waiting = self._waiting or memoryview(data)
        unpacked = bytearray()
        while self._waiting and not self.eof and len(unpacked) < limit:
            unpacked += self._inner.decompress(self._waiting[:CHUNK_SIZE])
            self._waiting = self._waiting[CHUNK_SIZE:]
        return bytes(unpacked)

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
    """Yields the members of a tar. Raises ArchiveError for `..`, devices, and headers that are not consistent."""
    offset, long_name, long_link = 0, "", ""
    while offset + 512 <= len(data):
        header = data[offset : offset + 512]
        if header[0] == 0 and not header.strip(b"\0"):
            return
        _checksum(header)
        size, start = _number(header[124:136]), offset + 512
        if start + size > len(data):
            raise ArchiveError("a tar is cut short")
        offset = start + (size + 511) // 512 * 512
        type_flag = header[156:157]
        if type_flag in (b"L", b"K"):
            text = data[start : start + size].rstrip(b"\0").decode("utf-8", "surrogateescape")
            long_name, long_link = (text, long_link) if type_flag == b"L" else (long_name, text)
            continue
        if type_flag == b"x":
            extended = _pax(data[start : start + size])
            long_name, long_link = extended.get("path", long_name), extended.get("linkpath", long_link)
            continue
        if type_flag == b"g":
            continue
        name = long_name or _text(header[:100])
        if not long_name and header[257:263] == b"ustar\0" and header[345]:
            name = f"{_text(header[345:500])}/{name}"
        link = long_link or _text(header[157:257])
        long_name = long_link = ""
        kind = _KINDS.get(type_flag)
        if kind is None:
            raise ArchiveError(f"`{name}` is a device or something else that a package may not contain")
        yield DebMember(
            path=normalize_path(name),
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_number(header[108:116]),
            gid=_number(header[116:124]),
            mtime=_number(header[136:148]),
            link=normalize_path(link) if kind == HARDLINK else link,
            start=start,
            size=size if kind == REGULAR else 0,
        )


def normalize_path(path: str) -> str:
    """Returns a member's name without `./` and double slashes; an absolute name becomes relative. Raises ArchiveError
    for `..`."""
    if ".." not in path and path.startswith("./") and "//" not in path and not path.endswith("/") and "/./" not in path:
        return path[2:]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(f"`{path}` leaves the directory it is unpacked to")
    return "/".join(parts)


def _checksum(header: bytes) -> None:
    if sum(header) - sum(header[148:156]) + 8 * 32 != _number(header[148:156]):
        raise ArchiveError("a tar is damaged: a header's checksum is wrong")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: big-endian binary
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if number > _MAX_NUMBER:
            raise ArchiveError("a tar is damaged: a number is too large")
        return number
    text = field.strip(b" \0") or b"0"
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise ArchiveError("a tar is damaged: a header has a number that is not valid")
    return int(text, 8)


def _pax(data: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    offset = 0
    while offset < len(data):
        space = data.find(b" ", offset)
        length = natural(data[offset:space]) or 0
        if space < 0 or length <= space - offset or offset + length > len(data):
            raise ArchiveError("a tar is damaged: an extended header is not valid")
        name, _, value = data[space + 1 : offset + length - 1].partition(b"=")
        records[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        offset += length
    return records

"""Reads a tar stream member by member, as Go's archive/tar does, which every image tool uses: ustar, PAX (POSIX.1-2017,
pax), GNU's and V7's headers, sparse files of GNU (old, and PAX 0.0, 0.1, 1.0).

Python's tarfile is not used: it takes longer to read a member than envtool takes to write it, and accepts tars that
must not be layers: with a wrong checksum in the middle, a wrong size, truncated records. This module touches no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn, TypeAlias

from envtool.errors import BuildError

BLOCK = 512
LIMIT = 1 << 20  # bytes of a PAX header or a long name
EXTENTS = 1 << 18  # of one sparse file
MAX_SPARSE_SIZE = 1 << 43  # bytes: the largest size that a sparse file may have (8 TiB)
_ZERO = bytes(BLOCK)
_XATTR = b"SCHILY.xattr."
_HEADER_ONLY = b"123456"
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
Extents: TypeAlias = "list[tuple[int, int]]"  # offset and length of each part that is not a hole, in order


class TarMember:
    """One member. `name` and `link` are as written in the archive, `size` is that of the file in bytes, `mtime` in
    nanoseconds, `extents` None for a file without holes. Plain and slotted: there are a hundred thousand of them."""

    __slots__ = ("extents", "gid", "kind", "link", "mode", "mtime", "name", "size", "uid", "xattrs")

    def __init__(self, name: bytes, kind: bytes) -> None:
        self.name = name
        self.kind = kind
        self.link = b""
        self.mode = self.uid = self.gid = self.size = self.mtime = 0
        self.xattrs: dict[bytes, bytes] = {}
        self.extents: Extents | None = None


def quote_name(name: bytes) -> str:
    """Returns a name quoted for a message: in one line, and cut after 200 characters."""
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 200 else text[:197] + "...")


def raise_build_error(code: str, what: str, name: bytes | None = None) -> NoReturn:
    """Raises the BuildError that names the member `name`."""
    raise BuildError(f"member {quote_name(name)} {what}" if name is not None else what, code=code)


def looks_like_tar(block: bytes) -> bool:
    """Whether the first block of a file may be that of a tar: a header with the right checksum, or a block of zeros."""
    if len(block) != BLOCK:
        return False
    try:
        if block != _ZERO:
            _verify_checksum(block)
    except BuildError:
        return False
    return True


class TarReader:
    """Iterates over the members of a tar, in order. `content` reads the last member, once, before the next is read.

    `pull` returns the tar in pieces, b"" at its end. Raises BuildError (codes unpack-truncated, unpack-header (no
    header, or a wrong checksum), unpack-number, unpack-pax, unpack-sparse, unpack-kind), and what `pull` raises."""

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._piece = memoryview(b"")
        self._at = 0
        self._left = 0  # stored bytes of the last member that were not read yet
        self._padding = 0
        self._name: bytes | None = None
        self._ended = False

    def __iter__(self) -> Iterator[TarMember]:
        while (member := self._next()) is not None:
            yield member

    # ---- bytes ----

    def _refill(self) -> bool:
        piece = b"" if self._ended else self._pull()
        if not piece:
            self._ended = True
            return False
        self._piece = memoryview(piece)
        self._at = 0
        return True

    def _read_up_to(self, count: int) -> bytes:
        """Returns `count` bytes, or fewer at the end of the stream."""
        at = self._at
        if at + count <= len(self._piece):
            self._at = at + count
            return bytes(self._piece[at : at + count])
        parts = []
        while count:
            part = self._piece[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(bytes(part))
            if count and self._at == len(self._piece) and not self._refill():
                break
        return b"".join(parts)

    def _read_exactly(self, count: int) -> bytes:
        data = self._read_up_to(count)
        if len(data) != count:
            self._raise_truncated()
        return data

    def _raise_truncated(self) -> NoReturn:
        raise_build_error(
            "unpack-truncated", "ends too early" if self._name is not None else "the tar ends too early", self._name
        )

    def content(self) -> Iterator[memoryview]:
        """Yields the stored bytes of the last member, in pieces."""
        while self._left:
            if self._at == len(self._piece) and not self._refill():
                self._raise_truncated()
            piece = self._piece[self._at : self._at + self._left]
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def _skip(self) -> None:
        for _ in self.content():
            pass
        if self._padding:
            self._read_exactly(self._padding)
            self._padding = 0

    # ---- headers ----

    def _next(self) -> TarMember | None:
        self._skip()
        self._name = None
        records: dict[bytes, list[bytes]] = {}
        long: dict[bytes, bytes] = {}
        while True:
            block = self._read_up_to(BLOCK)
            if not block or block == _ZERO:
                if records or long:
                    raise_build_error("unpack-truncated", "the tar ends after a header that belongs to a next member")
                if block:
                    self._read_end()
                return None
            if len(block) != BLOCK:
                self._raise_truncated()
            _verify_checksum(block)
            kind = block[156:157]
            if kind in b"xgLKX" and kind != b"\0":
                size = _number(block[124:136], "size")
                if size > LIMIT:
                    raise_build_error("unpack-pax", f"a header of {size} bytes: more than {LIMIT}")
                body = self._read_exactly(size)
                self._read_exactly(-size % BLOCK)
                if kind in b"xX":
                    records = _parse_pax(body)
                elif kind in b"LK":
                    long[kind] = body.partition(b"\0")[0]
                continue  # "g", a header for all members that follow, is ignored by everybody who reads images
            return self._member(block, kind, records, long)

    def _read_end(self) -> None:
        block = self._read_up_to(BLOCK)
        if block and block != _ZERO[: len(block)]:
            raise_build_error("unpack-header", "one block of zeros in the middle of the tar")
        while self._refill():  # the rest means nothing (POSIX.1-2017, pax), but is part of the tar's hash
            pass

    def _member(
        self, block: bytes, kind: bytes, records: dict[bytes, list[bytes]], long: dict[bytes, bytes]
    ) -> TarMember:
        name = _text(block[0:100])
        magic = block[257:265]
        if magic == b"ustar\x0000" and block[345]:
            prefix = block[345:476] if block[508:512] == b"tar\0" else block[345:500]
            name = _text(prefix) + b"/" + name
        self._name = long.get(b"L", name)
        member = TarMember(name, kind)
        member.mode = _number(block[100:108], "mode") & 0o7777
        member.uid, member.gid = _number(block[108:116], "uid"), _number(block[116:124], "gid")
        stored = _number(block[124:136], "size")
        member.mtime = _signed(block[136:148], "mtime") * 1_000_000_000
        member.link = _text(block[157:257])
        if records:
            stored = _apply_pax(member, records, stored)
        member.name, member.link = long.get(b"L", member.name), long.get(b"K", member.link)
        self._name = member.name
        if kind in b"\x007S":
            member.kind = DIRECTORY if kind == b"\0" and member.name.endswith(b"/") else REGULAR
        elif kind not in b"0123456":
            raise_build_error("unpack-kind", f"is of a kind that no layer has: {kind!r}", member.name)
        if member.kind in _HEADER_ONLY:
            stored = 0  # whatever the header says, no content follows
        self._left, self._padding, member.size = stored, -stored % BLOCK, stored
        if member.kind == REGULAR:
            self._sparse(member, block, kind, records)
        return member

    # ---- sparse files ----

    def _sparse(self, member: TarMember, block: bytes, kind: bytes, records: dict[bytes, list[bytes]]) -> None:
        """Reads the map of a sparse file (GNU tar's manual, "Storing Sparse Files")."""
        if kind == b"S":
            size, extents = self._old_extents(block)
        elif b"GNU.sparse.major" in records:
            if (records[b"GNU.sparse.major"][-1], records.get(b"GNU.sparse.minor", [b""])[-1]) != (b"1", b"0"):
                raise_build_error("unpack-sparse", "has holes in a format that nobody knows", member.name)
            size, extents = _decimal(records, b"GNU.sparse.realsize"), self._inline_extents()
        elif b"GNU.sparse.size" in records:
            size = _decimal(records, b"GNU.sparse.size")
            if b"GNU.sparse.map" in records:
                numbers = records[b"GNU.sparse.map"][-1].split(b",") if records[b"GNU.sparse.map"][-1] else []
            else:
                offsets, lengths = records.get(b"GNU.sparse.offset", []), records.get(b"GNU.sparse.numbytes", [])
                numbers = [number for pair in zip(offsets, lengths, strict=False) for number in pair]
                if len(offsets) != len(lengths):
                    numbers.append(b"")
            extents = _pairs([_digits(number, "sparse map") for number in numbers])
        else:
            return
        end = total = 0
        for offset, length in extents:
            if offset < end:
                raise_build_error("unpack-sparse", "has a map of holes that overlap", member.name)
            end = offset + length
            total += length
        if end > size or size > MAX_SPARSE_SIZE or total != self._left:
            raise_build_error("unpack-sparse", "has a map of holes that does not fit its size", member.name)
        member.size, member.extents = size, extents

    def _old_extents(self, block: bytes) -> tuple[int, Extents]:
        size = _number(block[483:495], "size")
        extents, map_size, extended = _old_map(block[386:482]), len(block[386:482]), block[482]
        while extended:
            if map_size > EXTENTS * 24:
                raise_build_error("unpack-sparse", "has more holes than any file", self._name)
            extension = self._read_exactly(BLOCK)
            extents += _old_map(extension[:504])
            map_size += 504
            extended = extension[504]
        return size, extents

    def _inline_extents(self) -> Extents:
        """Reads a map of version 1.0: decimal lines before the content, to the end of a block."""
        numbers: list[int] = []
        partial_line = b""
        expected = 1
        while len(numbers) < expected:
            if self._left < BLOCK or len(partial_line) > 24:
                raise_build_error("unpack-sparse", "has a map of holes that is cut short", self._name)
            self._left -= BLOCK
            *lines, partial_line = (partial_line + self._read_exactly(BLOCK)).split(b"\n")
            for line in lines:
                if len(numbers) < expected:
                    numbers.append(_digits(line, "sparse map"))
                if len(numbers) == 1:
                    expected = 1 + 2 * numbers[0]
                if expected > 2 * EXTENTS:
                    raise_build_error("unpack-sparse", "has more holes than any file", self._name)
        return _pairs(numbers[1:])


def read_members(reader: TarReader) -> Iterator[tuple[TarMember, Iterator[memoryview]]]:
    """Yields each member of a tar with its content, which is valid until the next member is read."""
    for member in reader:
        yield member, reader.content()


def _old_map(field: bytes) -> Extents:
    extents = []
    for at in range(0, len(field), 24):
        entry = field[at : at + 24]
        if not entry[0]:
            break
        extents.append((_number(entry[:12], "offset"), _number(entry[12:], "length")))
    return extents


def _pairs(numbers: list[int]) -> Extents:
    if len(numbers) % 2:
        raise_build_error("unpack-sparse", "a map of holes with an offset that has no length")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _verify_checksum(block: bytes) -> None:
    field = block[148:156]
    actual = sum(block) - sum(field) + 256
    checksum = _number(field, "checksum")
    if actual == checksum:
        return
    signed = actual - 256 * sum(1 for byte in block[:148] + block[156:] if byte > 127)  # as some old tars summed
    if signed != checksum:
        raise_build_error("unpack-header", f"a header of the tar fails its checksum: {checksum}, not {actual}")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes, what: str) -> int:
    value = _signed(field, what)
    if value < 0:
        raise_build_error("unpack-number", f"a header of the tar has a negative {what}")
    return value


def _signed(field: bytes, what: str) -> int:
    """Parses an octal number, or GNU's binary one (with the first bit set)."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return (
            value if -(1 << 63) < value < 1 << 63 else raise_build_error("unpack-number", f"a {what} past all bounds")
        )
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise_build_error("unpack-number", f"a header of the tar has no number as {what}: {text!r}")
    return int(text, 8)


def _digits(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > 19:
        raise_build_error("unpack-number", f"no number as {what}: {text[:30]!r}")
    return int(text)


def _decimal(records: dict[bytes, list[bytes]], key: bytes) -> int:
    return _digits(records.get(key, [b""])[-1], key.decode())


def _parse_pax(body: bytes) -> dict[bytes, list[bytes]]:
    """Parses the records of a PAX header: lines "LENGTH KEY=VALUE". An empty value removes earlier ones of its key."""
    records: dict[bytes, list[bytes]] = {}
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + 20)
        if blank < 0 or not body[at:blank].isdigit():
            if not body[at:].strip(b"\0"):
                break
            raise_build_error("unpack-pax", "a PAX header that is none")
        end = at + int(body[at:blank])
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= blank + 2 or body[end - 1] != 0x0A or not equals or not key:
            raise_build_error("unpack-pax", "a PAX header with a record that is cut, or none")
        if not key.startswith(_XATTR) and b"\0" in value:
            raise_build_error("unpack-pax", f"a PAX header with a zero byte in {key[:40].decode('ascii', 'replace')}")
        if value:
            records.setdefault(key, []).append(value)
        elif not key.startswith(_XATTR):
            records.pop(key, None)
        else:
            records[key] = [b""]
        at = end
    return records


def _apply_pax(member: TarMember, records: dict[bytes, list[bytes]], stored: int) -> int:
    """Applies PAX records to a member; returns the size of its stored content."""
    for key, values in records.items():
        value = values[-1]
        if key == b"path":
            member.name = value
        elif key == b"linkpath":
            member.link = value
        elif key == b"uid":
            member.uid = _digits(value, "uid")
        elif key == b"gid":
            member.gid = _digits(value, "gid")
        elif key == b"size":
            stored = _digits(value, "size")
        elif key == b"mtime":
            member.mtime = _parse_mtime(value)
        elif key.startswith(_XATTR):
            member.xattrs[key[len(_XATTR) :]] = value
    if b"GNU.sparse.name" in records:
        member.name = records[b"GNU.sparse.name"][-1]
    return stored


def _parse_mtime(text: bytes) -> int:
    """Returns the nanoseconds of "SECONDS[.FRACTION]"."""
    seconds_text, _, fraction = text.partition(b".")
    sign = -1 if seconds_text.startswith(b"-") else 1
    seconds = _digits(seconds_text.lstrip(b"-") or b"0", "mtime")
    return sign * (seconds * 1_000_000_000 + _digits((fraction + b"000000000")[:9], "mtime"))

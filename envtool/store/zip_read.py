"""Reads a zip file member by member, in the form of tar_read. Python's zipfile reads the file, and its errors become
BuildErrors. A zip has no owners: everything belongs to root."""

from __future__ import annotations

import calendar
import contextlib
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from envtool.errors import BuildError
from envtool.store.canonical import MAX_PATH
from envtool.store.decompress import UnpackedSize
from envtool.store.extract import Members
from envtool.store.tar_read import DIRECTORY, REGULAR, SYMLINK, TarMember, raise_build_error

PIECE = 1 << 20
_ENCRYPTED = 1
_DAMAGED = (
    ArithmeticError,  # OverflowError: numbers that no system call takes
    AssertionError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,  # and UnicodeError
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def prepare() -> None:
    """Imports the module that is imported late otherwise: the codec of old names."""
    import encodings.cp437  # noqa: F401 - codecs are found by name when they are first used


def read_members(file: IO[bytes], unpacked: UnpackedSize) -> Members:
    """Yields the members of a zip, each with its content, which is valid until the next member is read. `unpacked`
    counts the bytes of all members. Raises BuildError (codes unpack-damaged, unpack-format, unpack-bomb), OSError."""

    def content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[memoryview]:
        with _translate_errors(), archive.open(info) as data:
            while piece := data.read(PIECE):
                unpacked.add(len(piece))
                yield memoryview(piece)

    with _translate_errors(), zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            member = _member(info)
            if info.flag_bits & _ENCRYPTED:
                raise_build_error("unpack-format", "is encrypted", member.name)
            if member.kind == SYMLINK:
                member.link, member.size = _link(archive, info), 0
            yield member, content(archive, info) if member.kind == REGULAR else iter(())


def _member(info: zipfile.ZipInfo) -> TarMember:
    mode = info.external_attr >> 16
    kind = DIRECTORY if info.is_dir() else SYMLINK if stat.S_ISLNK(mode) else REGULAR
    member = TarMember(info.filename.encode("utf-8", "surrogateescape"), kind)
    member.mode = 0o755 if kind == DIRECTORY else stat.S_IMODE(mode) | 0o644
    member.size = info.file_size if kind == REGULAR else 0
    member.mtime = _to_seconds(info.date_time) * 1_000_000_000
    return member


def _link(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as data:
        return data.read(MAX_PATH + 1)


def _to_seconds(date_time: tuple[int, int, int, int, int, int]) -> int:
    """Returns seconds since the epoch. A value out of range becomes the nearest one: zips without times have month 0
    and day 0."""
    year, month, day, *clock = date_time
    return max(0, calendar.timegm((year, min(max(month, 1), 12), max(day, 1), *clock, 0, 0, 0)))


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:  # a compression method that zipfile does not know
        raise BuildError(str(error), code="unpack-format") from error
    except _DAMAGED as error:
        raise BuildError(f"damaged: {error}", code="unpack-damaged") from error
    except OSError as error:
        if error.errno:
            raise
        raise BuildError(f"damaged: {error}", code="unpack-damaged") from error  # bz2's

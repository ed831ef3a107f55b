"""Steps that run inside a build's container, after the root change: nothing can be imported any more then.

Archives are hostile until shown otherwise: no member may be written outside of the target, by `..`, by an absolute
name, or by a symlink on the way.
"""

from __future__ import annotations

import bz2
import calendar
import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from typing import IO, Any, cast

from envtool.errors import BuildError
from envtool.users import lacking

CHUNK = 1 << 20
RATIO = 250  # an archive that unpacks to more than so many times its size is a bomb, as in store/unpack.py
FREELY = 1 << 30  # bytes that any archive may unpack to
DEPTH = 256  # directories in each other
IDS = (1 << 32) - 2
LATEST = float(1 << 34)  # seconds since the epoch: what ext4 can say


def prepare() -> None:
    """Import what is imported late: codecs of archives, and of names in them."""
    import encodings.cp437
    import encodings.idna
    import encodings.latin_1
    import encodings.utf_8  # noqa: F401 - all four: codecs are found by name when they are first used

    _zstandard()


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # since 3.14 Python's own

        return zstd
    return zstandard


# ---- unpack ---------------------------------------------------------------------------------------------------------


def unpack(archive: str, target: str, strip: int = 0, owners: bool = False) -> None:
    """Unpack a tar (plain, gz, xz, bz2, zst) or zip into `target`, made where it is not.

    `strip`: leading components dropped (members with fewer are left out). Without `owners` all belongs to root, nobody
    else can write it, and setuid bits go; with them ids, modes and extended attributes are kept as they are. Times are
    the archive's. Raises BuildError (codes unpack-member, unpack-damaged, unpack-format,
    unpack-write).
    """
    try:
        _make_parents(target)
        tree = _Tree(target, owners=owners, room=max(FREELY, RATIO * os.path.getsize(archive)))
        with open(archive, "rb") as file:
            magic = file.read(262)
            file.seek(0)
            if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                _unzip(file, tree, strip)
            else:
                _untar(_decompressed(file, magic), tree, strip)
        tree.finish()
    except BuildError as error:
        raise BuildError(f"{os.path.basename(archive)}: {error.message}", code=error.code, hint=error.hint) from error
    except (
        EOFError,
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        gzip.BadGzipFile,
        zlib.error,
        ValueError,  # and UnicodeError: numbers and names that are none
        OverflowError,  # numbers that no system call takes
        RecursionError,
        struct.error,
        _zstandard_error(),
    ) as error:
        raise BuildError(f"{os.path.basename(archive)}: damaged: {error}", code="unpack-damaged") from error
    except NotImplementedError as error:
        raise BuildError(f"{os.path.basename(archive)}: {error}", code="unpack-format") from error
    except OSError as error:
        text = f"{os.path.basename(archive)}: {os.fsdecode(error.filename or target)}: {error.strerror or error}"
        raise BuildError(text, code="unpack-write") from error
    except (ArithmeticError, AssertionError, LookupError, RuntimeError) as error:
        # what the standard library says of archives that nobody should have made
        raise BuildError(f"{os.path.basename(archive)}: damaged: {error}", code="unpack-damaged") from error


def _zstandard_error() -> type[Exception]:
    return cast("type[Exception]", _zstandard().ZstdError)


def _decompressed(file: IO[bytes], magic: bytes) -> IO[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"\xfd7zXZ\0") or magic[:3] == b"\x5d\0\0":
        return cast("IO[bytes]", lzma.LZMAFile(file))
    if magic.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.BZ2File(file))
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        module = _zstandard()
        if hasattr(module, "ZstdDecompressor") and hasattr(module.ZstdDecompressor, "stream_reader"):
            return cast("IO[bytes]", module.ZstdDecompressor().stream_reader(file, read_across_frames=True))
        return cast("IO[bytes]", module.ZstdFile(file))
    if magic[257:262] == b"ustar" or not magic.strip(b"\0") or tarfile.is_tarfile(file):
        file.seek(0)
        return file
    raise BuildError("neither a tar (gz, xz, bz2, zst) nor a zip archive", code="unpack-format")


class _Tree:
    """A directory that members are written into, and never out of."""

    def __init__(self, target: str, *, owners: bool, room: int) -> None:
        self.target = target
        self.owners = owners
        self.limit = self._room = room  # bytes of all files, holes and all
        self._real = os.path.realpath(target)
        self._safe = {""}  # parents that were checked; forgotten when a symlink appears
        self._directories: dict[str, tuple[int, float]] = {}

    def place(self, name: str, strip: int, *, original: str = "") -> str | None:
        """The path of a member in the tree, its parent made; None for one that `strip` drops. Raises BuildError."""
        shown = original or name
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise BuildError(f"member {shown[:200]!r} leads out of the archive's directory", code="unpack-member")
        if any(part.startswith(".wh.") for part in parts):
            raise BuildError(
                f"member {shown[:200]!r} is how a layer of an image says that something below is deleted: nothing is"
                " below",
                code="unpack-member",
                hint="an image is a base of kind `image`: its layers are put together there",
            )
        if len(parts) > DEPTH:
            raise BuildError(f"member {shown[:200]!r} is more than {DEPTH} directories deep", code="unpack-member")
        parts = parts[strip:]
        if not parts:
            return None
        self._parent(parts[:-1], shown)
        return os.path.join(self.target, *parts)

    def _parent(self, parts: list[str], shown: str) -> None:
        key = "/".join(parts)
        if key in self._safe:
            return
        self._parent(parts[:-1], shown)
        path = os.path.join(self.target, *parts)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            os.mkdir(path, 0o755)
        else:
            if stat.S_ISLNK(mode):
                real = os.path.realpath(path)
                inside = real == self._real or real.startswith(self._real.rstrip("/") + "/")
                if not inside or not os.path.isdir(real):
                    raise BuildError(f"member {shown!r} leads out through a symlink", code="unpack-member")
            elif not stat.S_ISDIR(mode):
                raise BuildError(f"member {shown!r} lies below one that is no directory", code="unpack-member")
        self._safe.add(key)

    def directory(self, path: str, mode: int, mtime: float) -> None:
        """A directory; its mode and time are set at the end, so that it can be written until then."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            kept = os.lstat(path).st_mode
            if stat.S_ISLNK(kept) and os.path.isdir(path):
                self._parent(os.path.relpath(path, self.target).split("/"), path)  # checked like any way through it
                return
            if not stat.S_ISDIR(kept):
                os.unlink(path)
                self._safe = {""}
                os.mkdir(path, 0o700)
        self._directories[path] = (mode, mtime)

    def clear(self, path: str) -> None:
        """Make room for something that is not a directory."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.EPERM):
                raise
            shutil.rmtree(path)
        gone = [known for known in self._directories if known == path or known.startswith(path + "/")]
        for known in gone:  # or their modes would be set on what comes in their place
            del self._directories[known]
        self._safe = {""}

    def take(self, count: int) -> None:
        """So many bytes more are there. Raises BuildError for what no archive has."""
        self._room -= count
        if self._room < 0:
            raise BuildError(
                f"it unpacks to more than {self.limit} bytes: no archive of its size does", code="unpack-bomb"
            )

    def own(self, path: str, member: tarfile.TarInfo) -> None:
        """Give it to whom the archive says. Raises BuildError."""
        if not (0 <= member.uid <= IDS and 0 <= member.gid <= IDS):
            raise BuildError(f"member {member.name[:200]!r} belongs to nobody who can be", code="unpack-owner")
        try:
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
        except OSError as error:
            reason = lacking(member.uid, member.gid) if error.errno == errno.EINVAL else ""
            if not reason:
                raise
            text = f"member {member.name[:200]!r} belongs to {member.uid}:{member.gid}: {reason}"
            raise BuildError(text, code="unpack-owner") from error

    def mode(self, mode: int) -> int:
        """The permission bits that are kept."""
        return mode & (0o7777 if self.owners else 0o755)

    def finish(self) -> None:
        """Set what is set last, innermost first."""
        for path, (mode, mtime) in sorted(self._directories.items(), reverse=True):
            os.chmod(path, mode)
            os.utime(path, (mtime, mtime))


def _untar(stream: IO[bytes], tree: _Tree, strip: int) -> None:
    with stream, tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK, encoding="utf-8") as archive:
        for member in archive:
            # tarfile takes the slashes off at the ends only; absolute names must be seen as such
            path = tree.place(member.name, strip)
            if path is not None:
                _member(archive, member, path, tree, strip)
            archive.members = []  # type: ignore[attr-defined]  # a million of them need not be remembered: links are made on disk


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, tree: _Tree, strip: int) -> None:
    mode, mtime = tree.mode(member.mode), min(max(0.0, float(member.mtime)), LATEST)  # also of what is no number
    if member.isdir():
        tree.directory(path, mode if tree.owners else mode | 0o755, mtime)
        if tree.owners:
            tree.own(path, member)
        return
    tree.clear(path)
    if member.islnk():
        source = tree.place(member.linkname, strip, original=member.name)
        if source is None or not os.path.lexists(source):
            raise BuildError(f"member {member.name!r} is a hard link to {member.linkname!r}, which is not there",
                             code="unpack-member")  # fmt: skip
        os.link(source, path, follow_symlinks=False)
        return
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.isreg():
        tree.take(member.size)
        _content(archive, member, path)
    elif member.isfifo():
        os.mkfifo(path)
    elif tree.owners:
        return  # device nodes: a container brings its own /dev, and may make none
    else:
        raise BuildError(f"member {member.name!r} is a device", code="unpack-member")
    if tree.owners:
        tree.own(path, member)
        _attributes(member, path)
    if not member.issym():
        os.chmod(path, mode)
    os.utime(path, (mtime, mtime), follow_symlinks=False)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    data = archive.extractfile(member)
    assert data is not None
    with open(path, "xb", buffering=0) as out:
        done = 0
        while piece := data.read(CHUNK):
            done += len(piece)
            if member.sparse is not None and not piece.strip(b"\0"):
                out.seek(len(piece), os.SEEK_CUR)
            else:
                _write(out.fileno(), piece)
        if done != member.size:
            raise BuildError(f"damaged: member {member.name!r} is cut short", code="unpack-damaged")
        out.truncate(done)


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _attributes(member: tarfile.TarInfo, path: str) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        if name != key and (name == "security.capability" or name.startswith("user.")) and not member.issym():
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)


def _unzip(file: IO[bytes], tree: _Tree, strip: int) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            path = tree.place(member.filename, strip)
            if path is None:
                continue
            if member.flag_bits & 1:
                raise BuildError(f"member {member.filename!r} is encrypted", code="unpack-format")
            unix = member.external_attr >> 16
            mtime = _zip_time(member.date_time)
            if member.is_dir():
                tree.directory(path, 0o755, mtime)
                continue
            tree.clear(path)
            with archive.open(member) as data:
                if stat.S_ISLNK(unix):
                    os.symlink(os.fsdecode(data.read(1 << 16)), path)
                    continue
                with open(path, "xb") as out:
                    while piece := data.read(CHUNK):
                        tree.take(len(piece))
                        out.write(piece)
            os.chmod(path, tree.mode(stat.S_IMODE(unix)) | 0o644 if unix else 0o644)
            os.utime(path, (mtime, mtime))


def _zip_time(said: tuple[int, int, int, int, int, int]) -> float:
    """Seconds since the epoch. A field that cannot be is its nearest: zips without times have month 0 and day 0."""
    year, month, day, *clock = said
    return float(max(0, calendar.timegm((year, min(max(month, 1), 12), max(day, 1), *clock, 0, 0, 0))))


# ---- place ----------------------------------------------------------------------------------------------------------


def place(source: str, target: str, mode: int | None = None) -> None:
    """Copy a file, symlink or directory (with all in it) to `target`; parents are made. `mode` is for files; None
    keeps the executable bit only (0755 or 0644). Everything belongs to root. Raises BuildError (code place)."""
    try:
        _make_parents(os.path.dirname(target.rstrip("/")) or "/")
        _place(source, target.rstrip("/") or "/", mode)
    except OSError as error:
        raise BuildError(f"{source} could not be copied to {target}: {error.strerror}", code="place") from error


def _place(source: str, target: str, mode: int | None) -> None:
    info = os.lstat(source)
    if stat.S_ISDIR(info.st_mode):
        if not os.path.isdir(target):
            os.mkdir(target)
            os.chmod(target, 0o755)  # whatever the umask
        for name in sorted(os.listdir(source)):
            _place(os.path.join(source, name), os.path.join(target, name), mode)
        return
    if os.path.lexists(target):
        os.unlink(target)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
        return
    shutil.copyfile(source, target)
    os.chmod(target, mode if mode is not None else 0o755 if info.st_mode & 0o111 else 0o644)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))


def _make_parents(path: str) -> None:
    if not os.path.isdir(path):
        _make_parents(os.path.dirname(path.rstrip("/")) or "/")
        os.mkdir(path)
        os.chmod(path, 0o755)

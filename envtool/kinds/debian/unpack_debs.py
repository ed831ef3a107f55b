"""Unpacks debs and writes dpkg's database, as `dpkg --unpack` would, but at once and on every processor.

Runs inside the container, forked without exec: everything it needs is imported here. dpkg's database: the layout of
dpkg's own `lib/dpkg/` (status, info/*, triggers/*), see deb-triggers(5), dpkg(1)."""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import re
from typing import TYPE_CHECKING, TypeVar

from envtool.api import BLOBS
from envtool.kinds.debian.deb import (
    DIRECTORY,
    HARDLINK,
    SYMLINK,
    ArchiveError,
    DebMember,
    decompress,
    iter_members,
    read_deb_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
MERGED = ("bin", "sbin", "lib", "lib64")
_SAME = re.compile(r"^Multi-Arch: *same *$", re.MULTILINE)
_FIELD = re.compile(r"^(Package|Architecture): *(\S+)", re.MULTILINE)

_Result = TypeVar("_Result")

# One deb's entries for the database: its control files as name -> (content, mtime), the paths it owns, and the md5 of
# each conffile. Only built-in types, because it is marshalled through a pipe.
Unpacked = tuple[dict[str, tuple[bytes, int]], list[str], dict[str, str]]


def unpack(names: list[str], merged: bool, count: Callable[[int], None]) -> None:
    """Unpacks debs of BLOBS (the largest first in `names`) into `/` and writes dpkg's database for them.

    `merged`: /bin, /sbin and /lib are links into /usr. `count` is called with the index of each deb that is unpacked.
    Raises ArchiveError, OSError."""
    os.umask(0o022)
    if merged:
        for name in MERGED:
            os.makedirs(f"/usr/{name}", 0o755, exist_ok=True)
            if not os.path.lexists(f"/{name}"):
                os.symlink(f"usr/{name}", f"/{name}")
    write_database([_DpkgRecord(result) for result in extract_in_parallel(names, count)])


def extract_in_parallel(names: list[str], count: Callable[[int], None], workers: int = 0) -> list[Unpacked]:
    """Extracts debs in several processes, each of which takes the next index from a pipe. Returns the results in the
    order of the names. Raises ArchiveError."""
    queue, queue_writer = os.pipe()
    os.write(queue_writer, b"".join(index.to_bytes(2, "little") for index in range(len(names))))
    os.close(queue_writer)
    workers_readers = []
    for _ in range(min(workers or len(os.sched_getaffinity(0)), len(names))):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _work(names, queue, writer, count)
        os.close(writer)
        workers_readers.append((pid, reader))
    os.close(queue)
    results: dict[int, Unpacked] = {}
    errors = []
    for pid, reader in workers_readers:  # a worker whose pipe is full waits here, after it has done all its work
        with open(reader, "rb") as file:
            data = file.read()
        os.waitpid(pid, 0)  # marshal is safe here: the data is from a child process
        worker_results, error = marshal.loads(data) if data else ({}, "a worker was killed")  # noqa: S302
        results.update(worker_results)
        errors += [error] if error else []
    if errors:
        raise ArchiveError(errors[0])
    return [results[index] for index in range(len(names))]


def _work(names: list[str], queue: int, writer: int, count: Callable[[int], None]) -> None:
    results: dict[int, Unpacked] = {}
    error = ""
    try:
        while item := os.read(queue, 2):
            index = int.from_bytes(item, "little")
            error = names[index]
            results[index] = extract_deb(f"{BLOBS}/{names[index]}", "")
            count(index)
        error = ""
    except BaseException as reason:
        error = f"{error}: {_describe_failure(reason)}"
    with open(writer, "wb") as file:
        file.write(marshal.dumps((results, error)))
    os._exit(0)


def _describe_failure(reason: BaseException) -> str:
    """Returns the message for a deb that could not be unpacked: for a failed system call with the path, and with
    advice."""
    if not isinstance(reason, OSError) or not reason.strerror:
        return str(reason) or type(reason).__name__
    path = f"{os.fsdecode(reason.filename)}: " if isinstance(reason.filename, str | bytes) else ""
    advice = ""
    if reason.errno in (errno.EISDIR, errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY, errno.ELOOP):
        advice = " (another package, or a layer below, has something else at this place: leave one of them out)"
    return f"{path}{reason.strerror}{advice}"


def extract_deb(deb: str, root: str) -> Unpacked:
    """Extracts one deb below `root` (empty: `/`). Existing directories, and links to directories, stay as they are."""
    control_part, data_part = read_deb_parts(deb)
    control_data = decompress(*control_part)
    control = {
        member.path: (control_data[member.start : member.start + member.size], member.mtime)
        for member in iter_members(control_data)
        if member.size
    }
    conffiles = {
        line.strip(): "" for line in control.get("conffiles", (b"", 0))[0].decode().split("\n") if line.startswith("/")
    }
    data = decompress(*data_part)
    owned = []
    for member in iter_members(data):
        owned.append(f"/{member.path}" if member.path else "/.")
        if member.path:
            _write_member(member, data, root)
        if owned[-1] in conffiles:
            content = data[member.start : member.start + member.size]
            conffiles[owned[-1]] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return control, owned, {name: digest for name, digest in conffiles.items() if digest}


def _write_member(member: DebMember, data: bytes, root: str) -> None:
    target = f"{root}/{member.path}"
    if member.kind == DIRECTORY:
        if _make_directory(target):
            os.chown(target, member.uid, member.gid)
            os.chmod(target, member.mode)
        return
    if member.kind == SYMLINK:
        if os.path.isdir(target):  # for example /lib, which is a link into /usr already
            return
        _retry_after_unlink(target, lambda: os.symlink(member.link, target))
        os.chown(target, member.uid, member.gid, follow_symlinks=False)
        os.utime(target, (member.mtime, member.mtime), follow_symlinks=False)
        return
    if member.kind == HARDLINK:
        _retry_after_unlink(target, lambda: os.link(f"{root}/{member.link}", target, follow_symlinks=False))
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = _retry_after_unlink(target, lambda: os.open(target, flags, 0o600))
    try:
        unwritten = memoryview(data)[member.start : member.start + member.size]
        while unwritten:
            unwritten = unwritten[os.write(fd, unwritten) :]
        os.fchown(fd, member.uid, member.gid)
        os.fchmod(fd, member.mode)
        os.utime(fd, (member.mtime, member.mtime))
    finally:
        os.close(fd)


def _make_directory(path: str) -> bool:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return False
    except FileNotFoundError:  # the package does not contain the parent directories
        os.makedirs(path, 0o755, exist_ok=True)
    return True


def _retry_after_unlink(target: str, operation: Callable[[], _Result]) -> _Result:
    # Replaces another package's file, as dpkg does where `Replaces` allows it; makes missing parents.
    for _ in range(3):
        try:
            return operation()
        except FileExistsError:
            os.unlink(target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    raise OSError(errno.EEXIST, "cannot be replaced", target)


def finish() -> None:
    """Writes an empty machine-id, which no package contains and which is filled at the first boot."""
    _write("/etc/machine-id", "")


# ---- the database ------------------------------------------------------------------------------------------------


class _DpkgRecord:
    # One unpacked package. `key` is its name in the database: `name`, or `name:arch` if it is `Multi-Arch: same`.
    __slots__ = ("arch", "conffiles", "control", "files", "key", "name", "owned", "stanza")

    def __init__(self, unpacked: Unpacked) -> None:
        self.files, self.owned, self.conffiles = unpacked
        if "control" not in self.files:
            raise ArchiveError("a deb has no control file")
        self.stanza = self.files["control"][0].decode().rstrip("\n")
        fields = dict(_FIELD.findall(self.stanza))
        self.name, self.arch = fields["Package"], fields["Architecture"]
        self.key = f"{self.name}:{self.arch}" if _SAME.search(self.stanza) else self.name


def write_database(records: list[_DpkgRecord], root: str = "") -> None:
    """Writes dpkg's database, with every package unpacked and none configured."""
    top = f"{root}/var/lib/dpkg"
    for name in ("info", "updates", "triggers", "alternatives", "parts"):
        os.makedirs(f"{top}/{name}", 0o755, exist_ok=True)
    stanzas, by_file = [], []
    by_name: dict[str, list[str]] = {}
    for record in sorted(records, key=lambda item: item.key):
        _write_info(record, f"{top}/info")
        stanzas.append(_status(record))
        for trigger, line in _interests(record):
            if trigger.startswith("/"):
                by_file.append(f"{trigger} {line}\n")
            else:
                by_name.setdefault(trigger, []).append(f"{line}\n")
    _write(f"{top}/status", "\n".join(stanzas))
    for name in ("available", "diversions"):
        _write(f"{top}/{name}", "")
    _write(f"{top}/info/format", "1\n")
    _write(f"{top}/triggers/File", "".join(by_file))
    _write(f"{top}/triggers/Unincorp", "")
    for name, lines in by_name.items():
        _write(f"{top}/triggers/{name}", "".join(lines))
    _write(f"{top}/lock", "", mode=0o640)
    _write(f"{top}/triggers/Lock", "", mode=0o600)


def _write_info(record: _DpkgRecord, info: str) -> None:
    for name, (content, mtime) in record.files.items():
        if name == "control" or "/" in name:
            continue
        path = f"{info}/{record.key}.{name}"
        _write(path, content, mode=0o755 if name in SCRIPTS else 0o644)
        os.utime(path, (mtime, mtime))
    _write(f"{info}/{record.key}.list", "".join(f"{path}\n" for path in record.owned))


def _status(record: _DpkgRecord) -> str:
    lines = [record.stanza]
    if record.conffiles:
        lines.append("Conffiles:")
        lines += [f" {path} {digest}" for path, digest in record.conffiles.items()]
    return "\n".join([*lines, "Status: install ok unpacked", ""])


def _interests(record: _DpkgRecord) -> list[tuple[str, str]]:
    interests = []
    for line in record.files.get("triggers", (b"", 0))[0].decode().split("\n"):
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0].startswith("interest"):
            interests.append((words[1], f"{record.key}{'/noawait' if words[0].endswith('noawait') else ''}"))
    return interests


def _write(path: str, content: str | bytes, *, mode: int = 0o644) -> None:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        unwritten = memoryview(data)
        while unwritten:
            unwritten = unwritten[os.write(fd, unwritten) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)

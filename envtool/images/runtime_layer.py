"""The top layer of an exported image: what envtool's containers get when they start, and those of other tools do not.

It has the user of tasks (id 1000) with a home, the project's directory with what layers make visible in it, and /tmp
and /run if the base has none. Its tar follows the rules of store/canonical.py.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import BinaryIO

from envtool.errors import UsageError
from envtool.lazy_dataclass import dataclass
from envtool.project import host_access
from envtool.store import tar_write

TASK_UID = 1000
TASK_USER = "envtool"
TASK_HOME = "home/envtool"
ACCOUNT_FILES = ("etc/passwd", "etc/group")
_ACCOUNT_LINES = {"etc/passwd": b"envtool:x:1000:1000::/home/envtool:/bin/sh\n", "etc/group": b"envtool:x:1000:\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFile:
    """One member: a symlink to `link`, the project's file `file`, a file with `content`, or a directory."""

    mode: int
    owner: int = 0
    content: bytes | None = None
    file: str = ""
    link: str = ""


def make_layer(
    exists: Callable[[str], bool], files: Mapping[str, bytes], links: Mapping[str, str], *, project: str, epoch: int
) -> bytes:
    """Returns the tar. `exists` says whether the stack has a path (relative to the root); `files` are those of
    ACCOUNT_FILES that it has, with their content; `links` are path -> target of the links to add; `project` is the
    project's directory."""
    items: dict[str, RuntimeFile] = {}
    top = project.strip("/")
    for path, mode, owner in (
        ("tmp", 0o1777, 0),
        ("run", 0o755, 0),
        (TASK_HOME, 0o755, TASK_UID),
        (top, 0o755, TASK_UID),
    ):
        if path == TASK_HOME or not exists(path):
            items[path] = RuntimeFile(mode=mode, owner=owner)
    for path in ACCOUNT_FILES:
        text = files.get(path, b"")
        has_user = any(line.split(b":")[2:3] == [b"%d" % TASK_UID] for line in text.split(b"\n"))
        if not has_user and (path in files or not exists(path)):
            newline = b"" if not text or text.endswith(b"\n") else b"\n"
            items[path] = RuntimeFile(mode=0o644, content=text + newline + _ACCOUNT_LINES[path])
    for path_of_link, target in links.items():
        items[path_of_link.strip("/")] = RuntimeFile(mode=0o777, link=target)
    _add_parents(items, lambda path: not exists(path), top)
    return make_tar(items, epoch)


def project_items(
    listed: Sequence[str], entries: host_access.EntryOpener, generated: Mapping[str, bytes], top: str
) -> dict[str, RuntimeFile]:
    """Returns the project's files as members below `top` (absolute): `listed` are their paths in the project, which
    `entries` opens; `generated` are files that layers made beside the sources, by their absolute path. Their owner is
    the user of tasks; of their modes only the executable bit is kept. Raises OSError, UsageError."""
    prefix = top.strip("/")
    items = {
        target.strip("/"): RuntimeFile(mode=0o644, owner=TASK_UID, content=text) for target, text in generated.items()
    }
    for path in listed:
        descriptor = entries.open(path)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(mode):
                items[f"{prefix}/{path}"] = RuntimeFile(
                    mode=0o777, owner=TASK_UID, link=os.readlink("", dir_fd=descriptor)
                )
            elif stat.S_ISREG(mode):
                items[f"{prefix}/{path}"] = RuntimeFile(
                    mode=0o755 if mode & 0o100 else 0o644, owner=TASK_UID, file=path
                )
        finally:
            os.close(descriptor)
    items[prefix] = RuntimeFile(mode=0o755, owner=TASK_UID)
    _add_parents(items, lambda path: path.startswith(prefix + "/"), prefix)
    return items


def _add_parents(items: dict[str, RuntimeFile], wanted: Callable[[str], bool], top: str) -> None:
    """Adds the missing parent directories that `wanted` accepts; those below `top` belong to the user of tasks."""
    for path in [*items]:
        owner = TASK_UID if path.startswith(top + "/") else 0
        while path := posixpath.dirname(path):
            if path not in items and wanted(path):
                items[path] = RuntimeFile(mode=0o755, owner=owner)


def task_user_name(passwd: bytes) -> str:
    """Returns the name of the user of tasks in this /etc/passwd: passwd(5)."""
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if fields[2:3] == [b"%d" % TASK_UID]:
            return fields[0].decode("utf-8", "replace")
    return TASK_USER


def make_tar(items: Mapping[str, RuntimeFile], epoch: int) -> bytes:
    """Returns members by path, each directory before its content, as a tar with all times at `epoch` (seconds). No
    member may be a file of the project."""
    return b"".join(_tar_pieces(items, epoch, lambda _: BytesIO(), 0))


def stream_tar(
    items: Mapping[str, RuntimeFile],
    epoch: int,
    entries: host_access.EntryOpener,
    limit: int = host_access.MAX_FILE_SIZE,
) -> Iterator[bytes]:
    """Yields the same tar in pieces, with files of the project, which have at most `limit` bytes together. Raises
    OSError; UsageError if a file is replaced or changes meanwhile, and for larger ones."""
    return _tar_pieces(items, epoch, lambda path: host_access.open_regular(entries.open(path), path, limit), limit)


def _tar_pieces(
    items: Mapping[str, RuntimeFile], epoch: int, open_file: Callable[[str], BinaryIO], remaining: int
) -> Iterator[bytes]:
    for path in sorted(items, key=lambda path: os.fsencode(path).split(b"/")):
        item, name = items[path], os.fsencode(path)
        header = partial(tar_write.header, mode=item.mode, uid=item.owner, gid=item.owner, mtime=epoch)
        if item.link:
            yield header(name, tar_write.SYMLINK, link=os.fsencode(item.link))
        elif item.file:
            with open_file(item.file) as file:
                size = os.fstat(file.fileno()).st_size
                remaining -= size
                if remaining < 0:
                    raise UsageError(
                        f"{item.file}: with it the project is too large for an image", code="too-large",
                        hint="is something sparse in it, or is git to ignore it?",
                    )  # fmt: skip
                yield header(name, tar_write.REGULAR, size=size)
                yield from _read_exactly(file, size, item.file)
            yield tar_write.padding(size)
        elif item.content is not None:
            yield header(name, tar_write.REGULAR, size=len(item.content))
            yield item.content + tar_write.padding(len(item.content))
        else:
            yield header(name + b"/", tar_write.DIRECTORY)
    yield tar_write.END


def _read_exactly(file: BinaryIO, size: int, path: str) -> Iterator[bytes]:
    done = 0
    for piece in host_access.read_chunks(file):
        done += len(piece)
        yield piece
    if done != size or os.fstat(file.fileno()).st_size != size:
        raise UsageError(f"{path} changed while it was read", code="input-changed", hint="run it again")

"""Mount operations, each one system call or a few (mount_setattr(2), open_tree(2), move_mount(2), Linux >= 5.12).

A mount is made or cloned *detached*, as a descriptor, while the old root is there, and attached after the root has
changed: so targets resolve inside the container, and a symlink of an image cannot lead out of it.
"""

from __future__ import annotations

import _thread
import os

from envtool.container import userns
from envtool.container.syscalls import kernel_version, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RDONLY, NOSUID, NODEV, NOEXEC, IDMAP = 1, 2, 4, 8, 0x100000
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _CLOEXEC = 1, 0o2000000
_MS_NODEV, _MS_REC, _MS_PRIVATE = 4, 0x4000, 0x40000
OVERLAY_LIMIT = 500  # OVL_MAX_STACK of the kernel
_LEAST_INODES = 10_000  # of a tmpfs, however small: what a container itself makes, and many empty files
_namespaces: dict[tuple[object, ...], int] = {}
_namespaces_lock = _thread.allocate_lock()


def new_filesystem(kind: str, attributes: int = 0, *flags: str, **options: str) -> int:
    """Returns a new file system, detached. Raises OSError with the kernel's own log of what is wrong."""
    context = syscall("fsopen", kind, 1)
    try:
        for flag in flags:
            syscall("fsconfig", context, 0, flag, None, 0)  # FSCONFIG_SET_FLAG
        for name, value in options.items():
            syscall("fsconfig", context, 1, name, value, 0)  # FSCONFIG_SET_STRING
        syscall("fsconfig", context, 6, None, None, 0)  # FSCONFIG_CMD_CREATE
        return syscall("fsmount", context, 1, attributes)
    except OSError as error:
        raise OSError(error.errno, f"{kind}: {error.strerror}{_kernel_log(context)}") from None
    finally:
        os.close(context)


def tmpfs_size(size: int) -> dict[str, str]:
    """Returns the options of a tmpfs of `size` bytes (0: the kernel's default, half of the memory). Inodes are bounded
    too: each takes about 1 KiB of the kernel's memory, which `size` does not count."""
    return {"size": str(size), "nr_inodes": str(max(size >> 10, _LEAST_INODES))} if size else {}


def _kernel_log(context: int) -> str:
    try:
        return f" ({os.read(context, 4096).decode(errors='replace').strip()})"
    except OSError:
        return ""


def overlay(target: str, lowers: list[str], upper: str, work: str, *, volatile: bool) -> None:
    """Mount an overlay at `target`, top-most lower first; without `upper` nobody can write to it. All paths are short
    and relative to the current directory: so mount(2)'s page of options holds the kernel's limit of 500 lowers, and one
    way serves every kernel.
    """
    if len(lowers) > OVERLAY_LIMIT:
        raise OSError(7, f"a stack has at most {OVERLAY_LIMIT - 2} layers, not {len(lowers)}")
    options = f"lowerdir={':'.join(lowers)},userxattr" + (f",upperdir={upper},workdir={work}" if upper else "")
    if volatile:
        options += ",volatile"
    try:
        syscall("mount", "overlay", target, "overlay", _MS_NODEV, options)
    except OSError as error:
        raise OSError(error.errno, f"overlay of {len(lowers)} layers: {os.strerror(error.errno or 0)}") from None


def make_private() -> None:
    """Separate this namespace's mounts from the host's: no mount or unmount reaches the other side."""
    syscall("mount", None, "/", None, _MS_REC | _MS_PRIVATE, None)


def clone(source: str, attributes: int = 0, *, recursive: bool = True, identity: tuple[int, ...] = ()) -> int:
    """Returns a detached copy of the mount at `source` (a directory or a file), as a descriptor. `identity`: the device
    and inode that `source` must have, where others may have put something else there. Raises OSError.
    """
    opened = _open_identified(source, identity) if identity else -1
    flags = _OPEN_TREE_CLONE | _CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    try:
        arguments = (_AT_FDCWD, source, flags) if opened < 0 else (opened, "", flags | _AT_EMPTY_PATH)
        descriptor = syscall("open_tree", *arguments)
    except OSError as error:
        raise OSError(error.errno, f"{source}: {os.strerror(error.errno or 0)}") from None
    finally:
        if opened >= 0:
            os.close(opened)
    if attributes:
        set_attributes(descriptor, attributes)
    return descriptor


def _open_identified(path: str, identity: tuple[int, ...]) -> int:
    number = 2  # ENOENT
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        info = os.fstat(descriptor)
        if (info.st_dev, info.st_ino) == identity:
            return descriptor
        os.close(descriptor)
    except OSError as error:
        number = error.errno or number
    raise OSError(number, f"{path}, which was moved or replaced meanwhile,")


def set_attributes(descriptor: int, attributes: int, *, idmap: int = 0, recursive: bool = True) -> None:
    """Set attributes of a detached mount; with IDMAP, `idmap` is the descriptor of a user namespace."""
    block = b"".join(value.to_bytes(8, "little") for value in (attributes, 0, 0, idmap))
    syscall("mount_setattr", descriptor, "", _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0), block, len(block))


def attach(descriptor: int, target: str) -> None:
    """Put a detached mount at `target`, following symlinks there, and close the descriptor."""
    try:
        syscall("move_mount", descriptor, "", _AT_FDCWD, target, 0x4 | 0x10)  # F_EMPTY_PATH, T_SYMLINKS
    except OSError as error:
        raise OSError(error.errno, f"mounting at {target}: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)


def make_readonly_here(descriptor: int) -> None:
    """Mount an open file or directory read-only over itself. The mount is on this very inode, wherever it is moved to
    meanwhile; nobody in this mount namespace can rename, replace or remove it then (EBUSY).
    """
    flags = _OPEN_TREE_CLONE | _CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = syscall("open_tree", descriptor, "", flags)
    try:
        set_attributes(tree, RDONLY)
        syscall("move_mount", tree, "", descriptor, "", 0x4 | 0x40)  # F_EMPTY_PATH, T_EMPTY_PATH
    finally:
        os.close(tree)


def ensure_mount_point(target: str, made: list[str], *, directory: bool) -> None:
    """Make a mount point where there is none. The paths that were made are added to `made`."""
    if os.path.exists(target):
        return
    real = os.path.realpath(target)
    if os.path.lexists(real):  # a link that leads nowhere, or in a circle
        return
    missing = [real]
    while not os.path.lexists(parent := os.path.dirname(missing[-1])):
        missing.append(parent)
    for path in reversed(missing[1:]):
        os.mkdir(path)
    make_mount_point(real, directory)
    made.extend(reversed(missing))


def make_mount_point(path: str, directory: bool) -> None:
    """Make a directory or an empty file, unless there is one, and the directories above it."""
    make = os.mkdir if directory else _make_file
    try:
        make(path)
    except FileExistsError:
        if directory and not os.path.isdir(path):
            raise
    except FileNotFoundError:  # seldom: os.makedirs looks at each directory first
        os.makedirs(os.path.dirname(path), exist_ok=True)
        make(path)


def _make_file(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def pivot_root(new_root: str) -> None:
    """Swap the root: `new_root` becomes it, and the old root is unmounted (pivot_root(2), "pivot_root(., .)")."""
    os.chdir(new_root)
    syscall("pivot_root", ".", ".")
    unmount(".")
    os.chdir("/")


def unmount(target: str) -> None:
    """Lazily unmount (MNT_DETACH)."""
    syscall("umount2", target, 2)


def map_owner(descriptor: int, maps: dict[tuple[int, int], int]) -> bool:
    """Map the owner of a detached mount to the container's user. Returns False where the file system or the kernel
    cannot.
    """
    owner = os.fstat(descriptor)
    if kernel_version() < (5, 19):  # older overlays take no id-mapped layer
        return False
    try:
        set_attributes(descriptor, IDMAP, idmap=maps[owner.st_uid, owner.st_gid], recursive=False)
    except (OSError, KeyError):  # KeyError: the owner changed after the maps were made
        return False
    return True


def sources_with_owners(operations: tuple[tuple[Any, ...], ...]) -> list[str]:
    """Returns the paths of a program's operations whose files' owners `owner_namespaces` maps."""
    return [
        operation[2]
        for operation in operations
        if operation[0] in ("project", "checkout") or (operation[0] == "bind" and (operation[4] or not operation[3]))
    ]


def owner_namespaces(sources: list[str], user: int, ids: userns.IdMaps) -> dict[tuple[int, int], int]:
    """Returns, if the caller is root, the user namespace (a descriptor) for each owner (uid, gid) of the sources: it
    maps that owner to the container's id `user`.
    """
    if ids.mode != "root":
        return {}
    namespaces: dict[tuple[int, int], int] = {}
    for path in sources:
        try:
            owner = os.stat(path)
        except OSError:  # opening it will raise the error
            continue
        namespaces[owner.st_uid, owner.st_gid] = _owner_namespace(owner.st_uid, owner.st_gid, user, ids)
    return namespaces


def _owner_namespace(uid: int, gid: int, user: int, ids: userns.IdMaps) -> int:
    """Returns a namespace that is made once and kept as long as this process: it costs a fork."""
    key = (uid, gid, user, ids.uids[0], ids.gids[0])
    with _namespaces_lock:
        if key not in _namespaces:
            (_, base, count), (_, group, groups) = ids.uids[0], ids.gids[0]
            _namespaces[key] = userns.user_namespace(
                userns.idmapped_extents(uid, user, base, count), userns.idmapped_extents(gid, user, group, groups)
            )
        return _namespaces[key]

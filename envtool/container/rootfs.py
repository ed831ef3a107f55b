"""Builds a container's file systems from a list of operations (rootfs_operations.py), and changes the root.

Each operation has up to three parts, and each part is done for all operations:

    open     with the caller's rights over paths, before pid 1 exists: sources on the host, as detached mounts
    make     in pid 1, under the old root: mounts that need the old root or the staging area, detached
    apply    in pid 1, under the new root: attach the mount, or write the file, at the operation's target

Targets are resolved under the new root alone, so that a symlink of an image cannot lead out of it. The staging area is
a tmpfs that holds, under short names, the layers ("0", "1" …), the ephemeral writes ("up", "tmp", "run" …) and the
mount points that an image may lack ("skel", the lowest layer: so they are not captured as changes).
"""

from __future__ import annotations

import os
import stat

from envtool.container import messages, mounts, userns
from envtool.fs import store_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    Operation: TypeAlias = tuple[Any, ...]
    Maps: TypeAlias = dict[tuple[int, int], int]  # see open_sources

# Mount points for the staging tmpfs. Any directory will do: what is mounted from it was cloned before.
_STAGING_DIRECTORIES = ("/tmp", "/run", "/mnt", "/var/tmp", "/home")
_NOSUID_NODEV = mounts.NOSUID | mounts.NODEV
_PSEUDO = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
_MAX_ETC_FILE = 16 << 20  # bytes of /etc/passwd and its like
_FILES = ("hosts", "account", "resolver")  # kinds whose targets are files


class Rootfs:
    """One container's file systems while they are made. A fork copies it from the helper to pid 1."""

    def __init__(self, program: dict[str, Any], ids: userns.IdMaps) -> None:
        self.operations: tuple[Operation, ...] = program["operations"]
        self.hidden: tuple[str, ...] = program["hidden"]
        self.user: str = program["user"]
        opening, making, applying = program.get("extra", ({}, {}, {}))  # of extra_mounts.py
        self.open_parts: dict[str, Callable[..., None]] = _OPEN | opening
        self.make_parts: dict[str, Callable[..., int]] = making | _MAKE
        self.apply_parts: dict[str, Callable[..., None]] = _APPLY | applying
        self.ids = ids
        self.root = self.operations[0]
        self.opened: dict[int, int] = {}  # detached mounts, by the operation's number
        self.files: set[int] = set()  # numbers of operations whose mounts are files
        self.trees: dict[int, list[int]] = {}  # mounts of the trees of operations "root" and "tree"
        self.upper = self.scratch = self.project = -1  # mounts
        self.hosts = b""
        self.copies = True  # whether a project whose owner cannot be mapped is copied
        self.prefix = ""  # of ephemeral writes in the staging area
        self.made: list[str] = []  # mount points that were made in the new root
        self.restore_files: Callable[..., None] | None = None  # see prepare_copies

    @property
    def upper_is_root(self) -> bool:
        """Whether the root is one directory that is kept: a base that is being built."""
        return bool(self.root[3]) and not self.root[2]

    def descriptors(self) -> list[int]:
        """Returns all mounts that are open."""
        trees = (descriptor for tree in self.trees.values() for descriptor in tree)
        return [n for n in (*self.opened.values(), *trees, self.upper, self.scratch, self.project) if n >= 0]


# ---- open: with the caller's rights -------------------------------------------------------------------------------


def open_sources(program: dict[str, Any], ids: userns.IdMaps, maps: Maps, *, copies: bool = True) -> Rootfs:
    """Clone everything that comes from the host, with the caller's own rights over paths.

    `maps`, when the caller is root: for an owner (uid, gid) the user namespace, as a descriptor, that maps it to the
    container's user. Raises SourceError; without `copies` OSError for a project whose owner cannot be mapped: to copy
    another one takes as long as it is large.
    """
    rootfs = Rootfs(program, ids)
    rootfs.copies = copies
    try:
        for number, operation in enumerate(rootfs.operations):
            if operation[0] in rootfs.open_parts:
                rootfs.open_parts[operation[0]](rootfs, number, operation, maps)
    except BaseException:
        for descriptor in rootfs.descriptors():
            os.close(descriptor)
        raise
    return rootfs


def clone_source(path: str, attributes: int = 0, *, recursive: bool = True, identity: tuple[int, ...] = ()) -> int:
    """Returns a detached copy of a mount on the host, like `mounts.clone`. Raises SourceError."""
    try:
        return mounts.clone(path, attributes, recursive=recursive, identity=identity)
    except OSError as error:
        raise messages.SourceError(error.errno, str(error.strerror)) from error


def _open_root(rootfs: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    _, _, lowers, upper, work, scratch, _ = operation
    rootfs.trees[number] = [clone_source(path) for path in lowers]
    if rootfs.ids.mode == "root":
        for path in (upper, work, scratch):
            if path and os.stat(path).st_uid == 0:
                os.chown(path, rootfs.ids.uids[0][1], rootfs.ids.gids[0][1])
    if upper:
        # An overlay's upper and work must be on one mount: so their common parent is staged.
        rootfs.upper = clone_source(os.path.dirname(upper) if lowers else upper, recursive=False)
    if scratch:
        rootfs.scratch = clone_source(scratch, recursive=False)
        rootfs.prefix = "e/"


def _open_project(rootfs: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    _, _, source, identity, *_ = operation
    root = rootfs.ids.mode == "root"
    rootfs.project = clone_source(source, recursive=not root, identity=identity)
    if root and not mounts.map_owner(rootfs.project, maps):
        if not rootfs.copies:
            raise OSError(95, "no id-mapped mounts")  # EOPNOTSUPP
        _copy_project(rootfs, 0 if rootfs.user == "root" else userns.TASK_UID)


def _open_bind(rootfs: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    _, _, source, readonly, mapped, identity = operation
    attributes = _NOSUID_NODEV | (mounts.RDONLY if readonly else 0)
    descriptor = clone_source(source, attributes, recursive=not mapped and readonly, identity=identity)
    if rootfs.ids.mode == "root" and (mapped or not readonly):
        mounts.map_owner(descriptor, maps)
    rootfs.opened[number] = descriptor
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rootfs.files.add(number)


def _open_hosts(rootfs: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    if operation[3]:
        rootfs.hosts = read_etc_file("/etc/hosts")


def copy_foreign_project(rootfs: Rootfs) -> None:
    """Copy, as the caller and with the maps written, a project whose group has no id inside. An overlay could show its
    files but not change them: a copy to the upper layer has to keep the group (EOVERFLOW).
    """
    if rootfs.project >= 0 and os.fstat(rootfs.project).st_gid != os.getegid():
        _copy_project(rootfs, None)


def _copy_project(rootfs: Rootfs, user: int | None) -> None:
    from envtool.container import project_copy

    try:
        copied = project_copy.copy_project(rootfs.project, rootfs.hidden, rootfs.ids, user)
    except OSError as error:
        raise messages.SourceError(
            error.errno, f"the project, `{error.filename or '.'}` of it ({error.strerror}),"
        ) from error
    os.close(rootfs.project)
    rootfs.project = copied


def prepare_copies(rootfs: Rootfs) -> None:
    """Import the functions that `build_rootfs` calls to copy files, while imports are possible and with the maps
    written: those that give files of the project to its user, or restore files of the project that a tree would cover.
    """
    project = next((operation for operation in rootfs.operations if operation[0] == "project"), None)
    if project is None:
        return
    _, _, _, _, layers, _, produced = project
    mixed = rootfs.ids.mode == "root" and rootfs.user == "user" and _has_mixed_owners(rootfs.project)
    if mixed or layers:
        from envtool.container import project_copy

        if produced:
            from envtool.container import output_patterns  # noqa: F401 - project_copy uses it where nothing can be imported

        rootfs.restore_files = project_copy.adopt_and_restore if mixed else project_copy.restore_project_files


# ---- make: in pid 1, under the old root ---------------------------------------------------------------------------


def build_rootfs(rootfs: Rootfs) -> list[str]:
    """Apply all operations. Returns the mount points that were made in a root that is kept. Nothing can be imported
    here.
    """
    _stage(rootfs)
    detached = dict(rootfs.opened)
    # By kind: "root" makes mount points, and the kinds before it have found which of them are files.
    for kind, make in rootfs.make_parts.items():
        for number, operation in enumerate(rootfs.operations):
            if operation[0] == kind:
                detached[number] = make(rootfs, number, operation)
    for number, operation in enumerate(rootfs.operations):
        rootfs.apply_parts[operation[0]](rootfs, number, operation, detached.get(number, -1))
    return rootfs.made if rootfs.root[3] else []


def _stage(rootfs: Rootfs) -> None:
    """Mount the staging area and, in it, everything that was opened."""
    mounts.make_private()
    stage = next(path for path in _STAGING_DIRECTORIES if os.path.isdir(path))
    room = mounts.tmpfs_size(rootfs.root[6])
    mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV, mode="0755", **room), stage)
    os.chdir(stage)
    os.mkdir("root")
    os.mkdir("skel")
    lowers = enumerate(rootfs.trees[0])
    for name, descriptor in (*lowers, ("k", rootfs.upper), ("e", rootfs.scratch), ("p", rootfs.project)):
        if descriptor >= 0:
            os.mkdir(str(name))
            mounts.attach(descriptor, str(name))


def _make_directory(path: str, mode: int) -> None:
    os.mkdir(path)
    os.chmod(path, mode)  # whatever the umask


def _make_root(rootfs: Rootfs, number: int, operation: Operation) -> int:
    _, _, lowers, upper, work, _, _ = operation
    if upper and not lowers:
        mounts.attach(mounts.clone("k", recursive=False), "root")
        if rootfs.ids.mode == "range":
            os.chown("root", 0, 0)
        return -1
    for path, is_directory in _skeleton(rootfs):
        mounts.make_mount_point(f"skel{path}", is_directory)
    paths = [*(str(number) for number in range(len(lowers))), "skel"]
    if upper:
        upper_path, work_path = f"k/{os.path.basename(upper)}", f"k/{os.path.basename(work)}"
    else:
        upper_path, work_path = f"{rootfs.prefix}up", f"{rootfs.prefix}work"
        _make_directory(upper_path, 0o755)
        _make_directory(work_path, 0o700)
    if rootfs.ids.mode != "single":
        os.chown(upper_path, 0, 0)
    os.chmod(upper_path, stat.S_IMODE(os.stat(paths[0]).st_mode))
    mounts.overlay("root", paths, upper_path, work_path, volatile=bool(upper) or rootfs.prefix != "")
    return -1


def _skeleton(rootfs: Rootfs) -> Iterator[tuple[str, bool]]:
    """Yields the mount points to add to the root, and whether each is a directory."""
    fresh = {target for kind, target, *_ in rootfs.operations if kind in ("proc", "sysfs", "dev", "empty")}
    for number, (kind, target, *_) in enumerate(rootfs.operations[1:], 1):
        top = f"/{target.split('/', 2)[1]}"
        if kind not in ("join", "copy") and (top not in fresh or top == target):
            yield target.rstrip("/"), kind not in _FILES and number not in rootfs.files


def _make_kernel_files(rootfs: Rootfs, number: int, operation: Operation) -> int:
    kind, target = operation
    attributes = _PSEUDO | (mounts.RDONLY if kind == "sysfs" else 0)
    try:
        return mounts.new_filesystem(kind, attributes)
    except OSError:  # a container around envtool masks /proc, or the host's network namespace is used: both refuse this
        return mounts.clone(target, attributes)


def _make_empty(rootfs: Rootfs, number: int, operation: Operation) -> int:
    kind, _, name, mode, owner = operation
    path = rootfs.prefix + name
    _make_directory(path, mode)
    if owner:
        os.chown(path, owner, owner)
    return mounts.clone(path, mounts.NOSUID if kind == "dev" else _NOSUID_NODEV)


def _make_device(rootfs: Rootfs, number: int, operation: Operation) -> int:
    return mounts.clone(operation[1], mounts.NOSUID | mounts.NOEXEC, recursive=False)


def _make_resolver(rootfs: Rootfs, number: int, operation: Operation) -> int:
    if not os.path.exists(operation[1]):
        return -1
    return mounts.clone(operation[1], _NOSUID_NODEV | mounts.RDONLY)


def _make_project(rootfs: Rootfs, number: int, operation: Operation) -> int:
    """Returns the project, whiteouts over hidden paths, trees that cover it, and ephemeral writes above."""
    _, target, _, _, layers, inputs, produced = operation
    trees = [tree for number in layers if _is_directory(tree := f"{number}{target}")]
    lowers = ["p"]
    if rootfs.hidden:
        os.mkdir("h")
        _white_out(rootfs.hidden)
        lowers = ["h", "p"]
    upper, work = f"{rootfs.prefix}view-up", f"{rootfs.prefix}view-work"
    _make_directory(upper, 0o755)
    _make_directory(work, 0o700)
    _copy_metadata(upper, "p")
    if rootfs.restore_files is not None:
        rootfs.restore_files("p", upper, trees, rootfs.hidden, (inputs, produced))
    os.mkdir("view")
    mounts.overlay("view", [*trees, *lowers], upper, work, volatile=rootfs.prefix != "")
    return mounts.clone("view", _NOSUID_NODEV, recursive=False)


def _is_directory(path: str) -> bool:
    """Returns whether a path is a directory, not a link to one: a link would lead into the host's root."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _has_mixed_owners(project: int) -> bool:
    """Returns whether a top-level entry does not belong to the container's user. Root unpacks archives with their
    owners, and may write to all of a checkout.
    """
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=project)
    try:
        with os.scandir(directory) as entries:
            return any(entry.stat(follow_symlinks=False).st_uid != userns.TASK_UID for entry in entries)
    finally:
        os.close(directory)


def _copy_metadata(path: str, model: str) -> None:
    info = os.stat(model, follow_symlinks=False)
    for owner in ((info.st_uid, -1), (-1, info.st_gid)):
        try:
            os.chown(path, *owner)
        except OSError:  # the owner has no id here
            pass
    os.chmod(path, stat.S_IMODE(info.st_mode))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _white_out(hidden: tuple[str, ...]) -> None:
    os.mknod("white", stat.S_IFCHR | 0o600, 0)
    directories: dict[str, bool] = {"": True}
    for path in hidden:
        parent, _, name = path.rstrip("/").rpartition("/")
        if _make_parents(parent, directories) and not os.path.lexists(whiteout := f"h/{parent}/{name}"):
            os.link("white", whiteout)
    for directory, exists in directories.items():  # last: the links changed their times
        if exists:
            _copy_metadata(f"h/{directory}", f"p/{directory}")


def _make_parents(path: str, directories: dict[str, bool]) -> bool:
    """Make a directory of the project in the whiteout layer. Returns False where the project has none, or hides it."""
    missing = []
    while path not in directories:
        missing.append(path)
        path = path.rpartition("/")[0]
    for directory in reversed(missing):
        exists = directories[path] and not os.path.lexists(f"h/{directory}") and _is_directory(f"p/{directory}")
        if exists:
            os.mkdir(f"h/{directory}")
        directories[path := directory] = exists
    return directories[path]


# ---- apply: in pid 1, under the new root --------------------------------------------------------------------------


def _change_root(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    mounts.pivot_root("root")


def attach(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    """Attach a detached mount at the operation's target."""
    kind, target, *_ = operation
    mounts.ensure_mount_point(target, rootfs.made, directory=kind not in _FILES and number not in rootfs.files)
    mounts.attach(descriptor, target)


def _attach_device(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    os.close(os.open(operation[1], os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    mounts.attach(descriptor, operation[1])


def _mount_devpts(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    os.mkdir(operation[1])
    attributes = mounts.NOSUID | mounts.NOEXEC
    mounts.attach(mounts.new_filesystem("devpts", attributes, "newinstance", ptmxmode="0666", mode="620"), operation[1])


def _mount_mqueue(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    os.mkdir(operation[1])
    mounts.attach(mounts.new_filesystem("mqueue", _PSEUDO), operation[1])


def _make_symlink(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    os.symlink(operation[2], operation[1])


def _mask(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, is_directory = operation
    if not os.path.exists(target):
        return
    if is_directory:
        mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV | mounts.RDONLY, size="4096"), target)
    else:
        mounts.attach(mounts.clone("/dev/null", recursive=False), target)


def _make_readonly(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    if os.path.exists(operation[1]):
        mounts.attach(mounts.clone(operation[1], mounts.RDONLY), operation[1])


def _join(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, source, in_view = operation
    os.makedirs(source, exist_ok=True)  # of a layer that is being built: the step fills it, and it stays
    mounts.ensure_mount_point(target, [] if in_view else rootfs.made, directory=True)  # the view is ephemeral
    mounts.attach(mounts.clone(source, recursive=False), target)


def _write_hosts(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, text, _, readonly = operation
    _mount_text(rootfs, target, text + rootfs.hosts, readonly=readonly)


def _add_account(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, line = operation
    text = read_etc_file(target)
    if not any(entry.split(b":")[2:3] == [b"1000"] for entry in text.split(b"\n")):
        newline = b"" if not text or text.endswith(b"\n") else b"\n"
        _mount_text(rootfs, target, text + newline + line)


def _mount_text(rootfs: Rootfs, target: str, text: bytes, *, readonly: bool = True) -> None:
    """Mount a file with this text over a file of /etc. A root that is kept must have that file."""
    if rootfs.upper_is_root and not os.path.exists(target):
        return
    try:
        mounts.ensure_mount_point(target, rootfs.made, directory=False)
    except OSError:  # /etc is a read-only bind without this file
        return
    staged = f"/dev/.{os.path.basename(target)}"
    descriptor = os.open(staged, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    os.write(descriptor, text)
    os.close(descriptor)
    attributes = _NOSUID_NODEV | (mounts.RDONLY if readonly else 0)
    mounts.attach(mounts.clone(staged, attributes, recursive=False), target)
    os.unlink(staged)


def _attach_resolver(rootfs: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    if descriptor < 0 or (rootfs.upper_is_root and not os.path.exists(operation[1])):
        return
    attach(rootfs, number, operation, descriptor)


def read_etc_file(path: str) -> bytes:
    """Returns the content of /etc/passwd and the like; empty for a device or fifo, which an image may have there."""
    try:
        return store_files.read_regular_file(path, most=_MAX_ETC_FILE, follow=True)
    except OSError:
        return b""


def remove_mount_points(made: list[str]) -> None:
    """Remove the mount points that were made in a kept root, if they are empty."""
    os.chdir("/")
    for path in reversed(made):
        try:
            mounts.unmount(path)
        except OSError:
            pass
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.rmdir(path)
            elif os.lstat(path).st_size == 0:
                os.unlink(path)
        except OSError:
            pass


# fmt: off
_OPEN = {"root": _open_root, "project": _open_project, "bind": _open_bind, "hosts": _open_hosts}
_MAKE = {
    "root": _make_root, "empty": _make_empty, "dev": _make_empty, "device": _make_device,
    "proc": _make_kernel_files, "sysfs": _make_kernel_files, "resolver": _make_resolver, "project": _make_project,
}
_APPLY = {
    "root": _change_root, "proc": attach, "sysfs": attach, "dev": attach, "empty": attach, "device": _attach_device,
    "devpts": _mount_devpts, "mqueue": _mount_mqueue, "symlink": _make_symlink, "mask": _mask,
    "readonly": _make_readonly, "project": attach, "join": _join, "bind": attach, "hosts": _write_hosts,
    "account": _add_account, "resolver": _attach_resolver,
}
# fmt: on
KINDS = frozenset(_APPLY)  # the other kinds are in extra_mounts.py, which few containers need

"""The container's file systems: opens sources with the caller's rights, stages everything on one tmpfs, changes the
root.

The staging tmpfs holds, under short names, the layers ("0", "1" …), the ephemeral writes ("up", "tmp", "run", "home"
…) and the mount points that an image may lack ("skel", the lowest layer: so they are not captured as changes).
"""

from __future__ import annotations

import os
import stat

from envtool.container import mounts, userns
from envtool.fs import store_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.container.project_copy import TreeInputs

HOME = "/home/envtool"
# Mount points for the staging tmpfs. Any directory will do: what is mounted from it was cloned before.
_STAGING_DIRECTORIES = ("/tmp", "/run", "/mnt", "/var/tmp", "/home")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_FRESH = ("dev", "proc", "sys", "tmp", "run")
_NOSUID_NODEV = mounts.NOSUID | mounts.NODEV
_HIDDEN_PROC = ("kcore", "keys", "timer_list", "latency_stats", "sched_debug", "kallsyms", "interrupts")
_MASKED_DIRECTORIES = ("/proc/scsi", "/proc/acpi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap")
_MAX_ETC_FILE = 16 << 20  # bytes of /etc/passwd and its like
_READONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")


class SourceError(OSError):
    """A source on the host could not be opened."""


class MountSources:
    """Detached mounts of the sources on the host, as descriptors."""

    __slots__ = (
        "beside",
        "binds",
        "caches",
        "copy_into_view",
        "hosts",
        "lowers",
        "project",
        "restore_files",
        "scratch",
        "upper",
    )

    def __init__(self) -> None:
        self.lowers: list[int] = []
        self.beside: list[list[int]] = []
        self.upper = self.scratch = self.project = -1
        self.binds: list[tuple[int, bool]] = []  # and whether each is a directory
        self.caches: dict[str, int] = {}  # by their targets
        self.hosts = b""
        self.copy_into_view: Callable[[str, str], None] | None = None  # see prepare_copies
        self.restore_files: Callable[[str, str, list[str], tuple[str, ...], TreeInputs], None] | None = None


def _clone_source(path: str, attributes: int = 0, *, recursive: bool = True, identity: tuple[int, ...] = ()) -> int:
    try:
        return mounts.clone(path, attributes, recursive=recursive, identity=identity)
    except OSError as error:
        raise SourceError(error.errno, str(error.strerror)) from error


def open_sources(program: dict[str, Any], ids: userns.IdMaps, maps: dict[tuple[int, int], int]) -> MountSources:
    """Clone everything that comes from the host, with the caller's own rights over paths.

    `maps`, when the caller is root: for an owner (uid, gid) the user namespace, as a descriptor, that maps it to the
    container's user.
    """
    sources = MountSources()
    lowers, upper, work, scratch, _ = program["root"]
    root = ids.mode == "root"
    sources.lowers = [_clone_source(path) for path in lowers]
    sources.beside = [[_clone_source(path) for path in stack] for stack, _ in program.get("beside", ())]
    if root:
        for path in (upper, work, scratch):
            if path and os.stat(path).st_uid == 0:
                os.chown(path, ids.uids[0][1], ids.gids[0][1])
    if upper:
        # An overlay's upper and work must be on one mount: so their common parent is staged.
        sources.upper = _clone_source(os.path.dirname(upper) if lowers else upper, recursive=False)
    if scratch:
        sources.scratch = _clone_source(scratch, recursive=False)
    if program["view"] is not None:
        project, hidden, _, identity = program["view"]
        sources.project = _clone_source(project, recursive=not root, identity=identity)
        if root and not mounts.map_owner(sources.project, maps):
            _copy_project(sources, hidden, ids, 0 if program["user"] == "root" else userns.TASK_UID)
    for source, _, readonly, mapped, identity in program["binds"]:
        attributes = _NOSUID_NODEV | (mounts.RDONLY if readonly else 0)
        descriptor = _clone_source(source, attributes, recursive=not mapped and readonly, identity=identity)
        if root and (mapped or not readonly):
            mounts.map_owner(descriptor, maps)
        sources.binds.append((descriptor, stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    for mount in program.get("shown", ()):
        if mount[0] == "cache":
            sources.caches[mount[1]] = _clone_source(mount[2], _NOSUID_NODEV, recursive=False)
    sources.hosts = read_etc_file("/etc/hosts") if program["network"] else b""
    return sources


def copy_foreign_project(program: dict[str, Any], ids: userns.IdMaps, sources: MountSources) -> None:
    """Copy, as the caller and with the maps written, a project whose group has no id inside. An overlay could show its
    files but not change them: a copy to the upper layer has to keep the group (EOVERFLOW).
    """
    if program["view"] is not None and os.fstat(sources.project).st_gid != os.getegid():
        _copy_project(sources, program["view"][1], ids, None)


def _copy_project(sources: MountSources, hidden: tuple[str, ...], ids: userns.IdMaps, user: int | None) -> None:
    from envtool.container import project_copy

    try:
        copied = project_copy.copy_project(sources.project, hidden, ids, user)
    except OSError as error:
        raise SourceError(error.errno, f"the project, `{error.filename or '.'}` of it ({error.strerror}),") from error
    os.close(sources.project)
    sources.project = copied


def prepare_copies(program: dict[str, Any], ids: userns.IdMaps, sources: MountSources) -> None:
    """Import the functions that `build_rootfs` calls to copy files, while imports are possible and with the maps
    written: those that copy generated files into the view, give files of the project to its user, or restore files of
    the project that a tree would cover.
    """
    if program.get("copies"):
        from envtool.container import copy_files

        sources.copy_into_view = copy_files.copy_into_view
    mixed = (
        program["view"] is not None
        and ids.mode == "root"
        and program["user"] == "user"
        and _has_mixed_owners(sources.project)
    )
    if mixed or "laid" in program:
        from envtool.container import project_copy

        if "laid" in program and program["laid"][2]:
            from envtool.container import output_patterns  # noqa: F401 - project_copy uses it where nothing can be imported

        sources.restore_files = project_copy.adopt_and_restore if mixed else project_copy.restore_project_files


def build_rootfs(program: dict[str, Any], ids: userns.IdMaps, sources: MountSources) -> list[str]:
    """Make every mount and change the root. Returns the mount points that were made in a root that is kept. Nothing can
    be imported here.
    """
    mounts.make_private()
    stage = next(path for path in _STAGING_DIRECTORIES if os.path.isdir(path))
    lowers, upper, _, _, memory = program["root"]
    mounts.attach(
        mounts.new_filesystem("tmpfs", _NOSUID_NODEV, mode="0755", **({"size": str(memory)} if memory else {})), stage
    )
    os.chdir(stage)
    _stage_sources(sources)
    prefix = "e/" if sources.scratch >= 0 else ""
    for name, mode in (("tmp", 0o1777), ("run", 0o755), ("home", 0o755), ("dev", 0o755), ("shm", 0o1777), ("up", 0o755),
                       ("work", 0o700), ("view-up", 0o755), ("view-work", 0o700)):  # fmt: skip
        os.mkdir(prefix + name)
        os.chmod(prefix + name, mode)
    if program["user"] == "user":
        os.chown(prefix + "home", userns.TASK_UID, userns.TASK_UID)
    extra_trees = [_merge_trees(f"b{number}", stack) for number, stack in enumerate(sources.beside)]
    upper_is_root = bool(upper) and not lowers
    if upper_is_root:
        mounts.attach(mounts.clone("k", recursive=False), "root")
        if ids.mode == "range":
            os.chown("root", 0, 0)
    else:
        _overlay_root(program, ids, sources, prefix)
    detached = _detach_filesystems(program, prefix)
    view = _mount_view(program, sources, prefix) if program["view"] is not None else -1
    mounts.pivot_root("root")
    made = _attach_all(program, sources, detached, view, kept=upper_is_root)
    for descriptor, (_, target) in zip(extra_trees, program.get("beside", ()), strict=True):
        ensure_mount_point(target, made, directory=True)
        mounts.attach(descriptor, target)
    if "shown" in program:
        program["show"](program["shown"], sources.caches, made)
    return made if upper else []


def _stage_sources(sources: MountSources) -> None:
    os.mkdir("root")
    os.mkdir("skel")
    staged = [*enumerate(sources.lowers), ("k", sources.upper), ("e", sources.scratch), ("p", sources.project)]
    for name, descriptor in staged:
        if descriptor >= 0:
            os.mkdir(str(name))
            mounts.attach(descriptor, str(name))


def _merge_trees(name: str, stack: list[int]) -> int:
    """Returns layer trees, top-most first, as one read-only tree, detached. An empty tree is added at the bottom: an
    overlay without an upper layer needs two lowers, and does not show the whiteouts of the lowest one as files.
    """
    os.mkdir(name)
    lowers = []
    for number, descriptor in enumerate(stack):
        lowers.append(f"{name}-{number}")
        os.mkdir(lowers[-1])
        mounts.attach(descriptor, lowers[-1])
    os.mkdir(f"{name}-none")
    mounts.overlay(name, [*lowers, f"{name}-none"], "", "", volatile=False)
    return mounts.clone(name, _NOSUID_NODEV | mounts.RDONLY, recursive=False)


def _overlay_root(program: dict[str, Any], ids: userns.IdMaps, sources: MountSources, prefix: str) -> None:
    _, upper, work, _, _ = program["root"]
    targets = [HOME] if program["user"] == "user" else []
    targets += [program["view"][2]] if program["view"] is not None else []
    own = program.get("own", ())
    fresh = [name for name in _FRESH if name not in own]
    for name in (*fresh, *(t.strip("/") for t in targets)):
        os.makedirs(f"skel/{name}", exist_ok=True)
    points = [(target, opened[1]) for (_, target, *_), opened in zip(program["binds"], sources.binds, strict=True)]
    points += [(target, True) for _, target in program.get("beside", ())]
    if "shown" in program:
        points += program["points"](program)
    for target, directory in points:
        if target.strip("/").split("/", 1)[0] not in fresh:
            _make_target(f"skel/{target.strip('/')}", directory)
    names = ["hosts"] + (["passwd", "group"] if program["user"] == "user" else [])
    names += ["resolv.conf"] if program["network"] else []
    for name in () if _is_call_only(program) else names:
        _make_target(f"skel/etc/{name}", directory=False)
    lowers = [*(str(n) for n in range(len(sources.lowers))), "skel"]
    if upper:
        upper_path, work_path = f"k/{os.path.basename(upper)}", f"k/{os.path.basename(work)}"
    else:
        upper_path, work_path = prefix + "up", prefix + "work"
    if ids.mode != "single":
        os.chown(upper_path, 0, 0)
    os.chmod(upper_path, stat.S_IMODE(os.stat(lowers[0]).st_mode))
    mounts.overlay("root", lowers, upper_path, work_path, volatile=bool(upper) or prefix != "")


def _is_call_only(program: dict[str, Any]) -> bool:
    """Returns whether only functions of ours run. They need no hosts file, so the tree's own /etc stays visible to
    them.
    """
    return "own" in program and all(step["call"] is not None for step in program["steps"])


def _make_target(path: str, directory: bool) -> None:
    if directory:
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _detach_filesystems(program: dict[str, Any], prefix: str) -> dict[str, int]:
    """Returns the mounts that need the old root or the staging area, detached."""
    pseudo = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
    fresh = [name for name in ("tmp", "run") if name not in program.get("own", ())]
    detached = {name: mounts.clone(prefix + name, _NOSUID_NODEV) for name in (*fresh, "home", "shm")}
    detached["dev"] = mounts.clone(prefix + "dev", mounts.NOSUID)
    for name in _DEVICES:
        detached["dev/" + name] = mounts.clone("/dev/" + name, mounts.NOSUID | mounts.NOEXEC, recursive=False)
    try:
        detached["proc"] = mounts.new_filesystem("proc", pseudo)
    except OSError:  # envtool runs in a container that masks /proc, where the kernel refuses a new one
        detached["proc"] = mounts.clone("/proc", pseudo)
    try:
        detached["sys"] = mounts.new_filesystem("sysfs", pseudo | mounts.RDONLY)
    except OSError:  # refused in the host's network namespace
        detached["sys"] = mounts.clone("/sys", pseudo | mounts.RDONLY)
    if program["network"] and os.path.exists("/etc/resolv.conf") and not _is_call_only(program):
        detached["resolv"] = mounts.clone("/etc/resolv.conf", _NOSUID_NODEV | mounts.RDONLY)
    return detached


def _mount_view(program: dict[str, Any], sources: MountSources, prefix: str) -> int:
    """Returns the view, detached: the project, whiteouts over hidden paths, trees that cover it, and writes above."""
    hidden = program["view"][1]
    laid, inputs, produced = program.get("laid", ((), (), ()))
    trees = [tree for number in laid if _is_directory(tree := f"{number}{program['view'][2]}")]
    lowers = ["p"]
    if hidden:
        os.mkdir("h")
        _white_out(hidden)
        lowers = ["h", "p"]
    _copy_metadata(prefix + "view-up", "p")
    if sources.restore_files is not None:
        sources.restore_files("p", prefix + "view-up", trees, hidden, (inputs, produced))
    os.mkdir("view")
    mounts.overlay("view", [*trees, *lowers], prefix + "view-up", prefix + "view-work", volatile=prefix != "")
    return mounts.clone("view", mounts.NOSUID | mounts.NODEV, recursive=False)


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
    if path not in directories:
        exists = _make_parents(path.rpartition("/")[0], directories) and not os.path.lexists(f"h/{path}")
        exists = exists and _is_directory(f"p/{path}")
        if exists:
            os.mkdir(f"h/{path}")
        directories[path] = exists
    return directories[path]


def _attach_all(
    program: dict[str, Any], sources: MountSources, detached: dict[str, int], view: int, *, kept: bool
) -> list[str]:
    """Attach everything in the new root, in an order in which no mount covers an earlier one."""
    made: list[str] = []
    for name in ("proc", "sys", "dev", "tmp", "run"):
        if name in detached:
            ensure_mount_point(f"/{name}", made, directory=True)
            mounts.attach(detached[name], f"/{name}")
    _devices(detached)
    _mask_paths()
    if program["user"] == "user":
        ensure_mount_point(HOME, made, directory=True)
        mounts.attach(detached["home"], HOME)
    else:
        os.close(detached["home"])
    if view >= 0:
        ensure_mount_point(program["view"][2], made, directory=True)
        mounts.attach(view, program["view"][2])
    for source, target in program.get("joins", ()):
        os.makedirs(source, exist_ok=True)  # of a layer that is being built: the step fills it, and it stays
        in_view = program["view"] is not None and target.startswith(f"{program['view'][2]}/")
        ensure_mount_point(target, [] if in_view else made, directory=True)  # the view is ephemeral: nothing to remove
        mounts.attach(mounts.clone(source, recursive=False), target)
    for source, target in program.get("copies", ()):
        assert sources.copy_into_view is not None
        sources.copy_into_view(source, target)
    for (_, target, *_), (descriptor, directory) in zip(program["binds"], sources.binds, strict=True):
        ensure_mount_point(target, made, directory=directory)
        mounts.attach(descriptor, target)
    if not _is_call_only(program):
        _mount_etc_files(program, detached, sources.hosts, made, kept=kept)  # last: a bind may bring another /etc
    return made


def ensure_mount_point(target: str, made: list[str], *, directory: bool) -> None:
    """Make a mount point where there is none. The paths that were made are added to `made`."""
    real = os.path.realpath(target)
    if os.path.lexists(real):
        return
    missing = [real]
    while not os.path.lexists(parent := os.path.dirname(missing[-1])):
        missing.append(parent)
    for path in reversed(missing[1:]):
        os.mkdir(path)
    _make_target(real, directory)
    made.extend(reversed(missing))


def _mask_paths() -> None:
    for name in _HIDDEN_PROC:
        if os.path.exists(f"/proc/{name}"):
            mounts.attach(mounts.clone("/dev/null", recursive=False), f"/proc/{name}")
    for name in _READONLY_PROC:
        if os.path.exists(f"/proc/{name}"):
            mounts.attach(mounts.clone(f"/proc/{name}", mounts.RDONLY), f"/proc/{name}")
    for path in _MASKED_DIRECTORIES:
        if os.path.exists(path):
            mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV | mounts.RDONLY, size="4096"), path)


def _devices(detached: dict[str, int]) -> None:
    for name in _DEVICES:
        os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        mounts.attach(detached["dev/" + name], f"/dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"/dev/{name}")
    noexec = mounts.NOSUID | mounts.NOEXEC
    mounts.attach(mounts.new_filesystem("devpts", noexec, "newinstance", ptmxmode="0666", mode="620"), "/dev/pts")
    mounts.attach(detached["shm"], "/dev/shm")
    mounts.attach(mounts.new_filesystem("mqueue", _NOSUID_NODEV | mounts.NOEXEC), "/dev/mqueue")
    for text, name in (("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
                       ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx")):  # fmt: skip
        os.symlink(text, f"/dev/{name}")


def read_etc_file(path: str) -> bytes:
    """Returns the content of /etc/passwd and the like; empty for a device or fifo, which an image may have there."""
    try:
        return store_files.read_regular_file(path, most=_MAX_ETC_FILE, follow=True)
    except OSError:
        return b""


def _mount_etc_files(
    program: dict[str, Any], detached: dict[str, int], hosts: bytes, made: list[str], *, kept: bool
) -> None:
    """Mount hosts, resolv.conf and, for tasks, a passwd and group that have the user, over those of the tree."""
    if kept and not os.path.isdir("/etc"):
        return
    loopback = f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {program['hostname']}\n"
    _mount_etc_file("hosts", loopback.encode() + hosts, made, kept=kept, readonly="own" not in program)
    if program["user"] == "user":
        for name, line in (("passwd", f"envtool:x:1000:1000::{HOME}:/bin/sh\n"), ("group", "envtool:x:1000:\n")):
            text = read_etc_file(f"/etc/{name}")
            if not any(entry.split(b":")[2:3] == [b"1000"] for entry in text.split(b"\n")):
                newline = b"" if not text or text.endswith(b"\n") else b"\n"
                _mount_etc_file(name, text + newline + line.encode(), made, kept=kept)
    if "resolv" in detached and (not kept or os.path.exists("/etc/resolv.conf")):
        ensure_mount_point("/etc/resolv.conf", made, directory=False)
        mounts.attach(detached["resolv"], "/etc/resolv.conf")


def _mount_etc_file(name: str, text: bytes, made: list[str], *, kept: bool, readonly: bool = True) -> None:
    if kept and not os.path.exists(f"/etc/{name}"):
        return
    try:
        ensure_mount_point(f"/etc/{name}", made, directory=False)
    except OSError:  # /etc is a read-only bind without this file
        return
    descriptor = os.open(f"/dev/.{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    os.write(descriptor, text)
    os.close(descriptor)
    attributes = _NOSUID_NODEV | (mounts.RDONLY if readonly else 0)  # as in Docker, writes are possible and are lost
    mounts.attach(mounts.clone(f"/dev/.{name}", attributes, recursive=False), f"/etc/{name}")
    os.unlink(f"/dev/.{name}")


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

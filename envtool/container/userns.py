"""Which user and group ids a container has on this machine, and Python functions that run under those ids outside any
container.

There are three modes. A store keeps the trees of each map apart, by `describe_ids()`:

    root     the caller is root: a range of ids that no account has; the host's root is never mapped
    range    a user with ranges in /etc/subuid and /etc/subgid and newuidmap(1): container 1000 is the caller, every
             other id is of the range, so that container root has no right to the caller's files by ownership
    single   any other user: there is one id. It is 0 in builds, 1000 in tasks

Every range has the ids below 65536. Archives and images have larger ones, of accounts of a directory service: root has
all below 2^31, another user as many as the range in /etc/subuid and /etc/subgid has.
"""

from __future__ import annotations

import _thread
import marshal
import os
import stat
import sys

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Forker(Protocol):
        """Forks the processes of containers in place of this process: fork_server.ForkServer."""

        def ids(self) -> IdMaps: ...
        def serves(self, program: dict[str, Any]) -> bool: ...
        def fork(
            self, program: dict[str, Any], ids: IdMaps, streams: tuple[int, ...], maps: dict[tuple[int, int], int]
        ) -> tuple[int, bool]: ...


Extent = tuple[int, int, int]  # first id inside, first id outside, how many

ID_COUNT = 65536
TASK_UID = 1000
# High in the range that systemd's "Users, Groups, UIDs and GIDs" sets aside for containers: useradd's own ranges,
# which grow upward from 100000, don't come here.
_ROOT_BASE = 0x60000000
# Root's ids from ID_COUNT on are moved by this, to where no account is. It never changes: trees are stored by it.
_LARGE_ID_OFFSET = 0x80000000
_LAST_ID = (1 << 31) - 3
MAP_FILES = ("/etc/subuid", "/etc/subgid", "/usr/bin/newuidmap")  # they change when a user gets or loses a range
_SYSTEM = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin")  # the last is NixOS's


class IdMaps:
    """The id maps of one caller: `mode`, and the extents as the kernel takes them (user_namespaces(7))."""

    __slots__ = ("gids", "mode", "uids")

    def __init__(self, mode: str, uids: list[Extent], gids: list[Extent]) -> None:
        self.mode = mode
        self.uids = uids
        self.gids = gids

    def extents(self, *, user: bool) -> tuple[list[Extent], list[Extent]]:
        """Returns the maps of one container: a single id is 1000 for a task, 0 otherwise."""
        if self.mode == "single" and user:
            return [(TASK_UID, self.uids[0][1], 1)], [(TASK_UID, self.gids[0][1], 1)]
        return self.uids, self.gids

    def host_id(self, inside: int) -> int:
        """Returns the host's user id of a container's id, or -1 when there is none."""
        for first, host, count in self.uids:
            if first <= inside < first + count:
                return host + inside - first
        return -1


def caller_ids() -> IdMaps:
    """Returns the ids of the caller, the same every time for one user of one machine."""
    uid, gid = os.geteuid(), os.getegid()
    users, groups, accounts = (_rows(f"/etc/{name}", b":") for name in ("subuid", "subgid", "passwd"))
    uids: list[tuple[int, int]] = []
    gids: list[tuple[int, int]] = []
    if users and groups:
        names = _subid_names(uid, accounts)
        uids, gids = _own_ranges(users, names), _own_ranges(groups, names)
    if uid == 0:
        end = _namespace_end()
        base, count = _root_range(uids, gids, [*users, *groups], accounts, end)
        # ids from ID_COUNT on: none if envtool runs in a container that has few ids itself
        further = (
            [(ID_COUNT, _LARGE_ID_OFFSET + ID_COUNT, _LAST_ID + 1 - ID_COUNT)]
            if end > _LARGE_ID_OFFSET + _LAST_ID
            else []
        )
        extents = [(0, base, count), *further]
        return IdMaps("root", extents, [*extents])
    if uids and gids and find_helper("newuidmap") and find_helper("newgidmap"):
        return IdMaps("range", _extents_around_caller(uid, *uids[0]), _extents_around_caller(gid, *gids[0]))
    return IdMaps("single", [(0, uid, 1)], [(0, gid, 1)])


def describe_ids() -> str:
    """Returns one line that names the map: a store uses the trees of an equal line, and keeps others apart."""
    ids = caller_ids()
    common = ([extent for extent in side if extent[0] < ID_COUNT] for side in (ids.uids, ids.gids))
    maps = (";".join("-".join(map(str, extent)) for extent in side) for side in common)
    return f"{ids.mode} {' '.join(maps)}"


def ids_from_description(description: str) -> IdMaps | None:
    """Returns the maps of which `describe_ids` returned this line; None for any other text, and where the host's root
    would be in them.
    """
    if description == describe_ids():
        return caller_ids()
    mode, *sides = description.split(" ")
    try:
        uids, gids = ([tuple(map(int, extent.split("-"))) for extent in side.split(";")] for side in sides)
    except ValueError:
        return None
    valid = all(len(extent) == 3 and extent[0] >= 0 and extent[1] > 0 and extent[2] > 0 for extent in (*uids, *gids))
    if not valid or mode not in ("root", "range", "single") or (mode == "root") != (os.geteuid() == 0):
        return None
    further = [extent for extent in caller_ids().uids if extent[0] >= ID_COUNT] if mode == "root" else []
    return IdMaps(mode, [*uids, *further], [*gids, *further])  # type: ignore[list-item]  # each has three


def find_helper(name: str) -> str:
    """Returns the path of newuidmap or newgidmap, or "" when it is not installed. PATH is not searched: only the
    system's own helper has root's rights.
    """
    for directory in _SYSTEM:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def _extents_around_caller(caller: int, base: int, count: int) -> list[Extent]:
    further = [(ID_COUNT, base + ID_COUNT - 1, count - ID_COUNT + 1)] if count > ID_COUNT else []
    return [
        (0, base, TASK_UID),
        (TASK_UID, caller, 1),
        (TASK_UID + 1, base + TASK_UID, ID_COUNT - TASK_UID - 1),
        *further,
    ]


def _rows(path: str, separator: bytes | None) -> list[list[bytes]]:
    """Returns the fields of each line of a small file; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return [line.split(separator) for line in file.read().splitlines()]
    except OSError:
        return []


def _subid_names(uid: int, accounts: list[list[bytes]]) -> set[bytes]:
    """Returns the names of a user in subuid(5): the number and the account name."""
    names = {b"%d" % uid}
    names |= {row[0] for row in accounts if len(row) > 2 and row[2] in names}
    if len(names) == 1:  # not a local user: ask the name services
        import pwd

        try:
            names.add(os.fsencode(pwd.getpwuid(uid).pw_name))
        except KeyError:
            pass
    return names


def _spans(rows: list[list[bytes]]) -> list[tuple[bytes, int, int]]:
    """Returns the owner, the first id and the length of each range."""
    return [
        (row[0], int(row[1]), int(row[2]))
        for row in rows
        if len(row) == 3 and _is_number(row[1]) and _is_number(row[2])
    ]


def _is_number(field: bytes) -> bool:
    return field.strip().isdigit()


def _own_ranges(rows: list[list[bytes]], names: set[bytes]) -> list[tuple[int, int]]:
    """Returns the first id and the length of each of the caller's ranges that are long enough, in the file's order."""
    return [(base, count) for name, base, count in _spans(rows) if name in names and count >= ID_COUNT - 1]


def _root_range(
    uids: list[tuple[int, int]],
    gids: list[tuple[int, int]],
    rows: list[list[bytes]],
    accounts: list[list[bytes]],
    end: int,
) -> tuple[int, int]:
    """Returns the first id and the number of the ids of root's containers: root's own range, or ids that nobody has."""
    groups = [base for base, _ in gids]
    ranges = [base for base, _ in uids if base in groups]
    if ranges:
        return ranges[0], ID_COUNT - 1
    used = [(base, base + count) for _, base, count in _spans(rows)]
    used += [(int(row[2]), int(row[2]) + 1) for row in accounts if len(row) > 2 and _is_number(row[2])]
    base = _ROOT_BASE
    while any(start < base + ID_COUNT and base < stop for start, stop in used):
        base += ID_COUNT
    if base + ID_COUNT <= end:
        return base, ID_COUNT
    # Root of a container that has few ids itself: the ids above those that are in use there.
    return 2 * TASK_UID, max(end - 2 * TASK_UID, 1)


def _namespace_end() -> int:
    """Returns the first id that the caller's own namespace lacks."""
    return max(int(first) + int(count) for first, _, count in _rows("/proc/self/uid_map", None))


def write_map(process: int, uids: list[Extent], gids: list[Extent], mode: str) -> None:
    """Give the user namespace of `process` its maps. Raises OSError."""
    if mode == "range":
        running = [
            os.posix_spawn(
                find_helper(name),
                [name, str(process), *(str(n) for extent in extents for n in extent)],
                {"PATH": "/usr/bin:/bin"},
                file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],  # we report the error
            )
            for name, extents in (("newuidmap", uids), ("newgidmap", gids))
        ]
        failed = [os.waitpid(child, 0)[1] for child in running]
        if any(failed):
            raise OSError(1, "newuidmap refused the range of /etc/subuid and /etc/subgid")
        return
    if mode == "single":
        _write(f"/proc/{process}/setgroups", "deny")
    for name, extents in (("uid_map", uids), ("gid_map", gids)):
        _write(f"/proc/{process}/{name}", "\n".join(" ".join(map(str, extent)) for extent in extents))


def write_maps(process: int, ids: IdMaps, *, user: bool) -> tuple[str, int, str] | None:
    """Writes the id maps of a process's user namespace. Returns the failure as kernel_errors.py takes it, or None."""
    uids, gids = ids.extents(user=user)
    try:
        write_map(process, uids, gids, ids.mode)
    except OSError as error:
        return ("ids", error.errno or 0, str(error.strerror))
    return None


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def become_root(mode: str) -> None:
    """Become id 0 of a namespace that has its maps. With a single id the caller keeps its id."""
    if mode != "single":
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def change_ids(user: int, group: int, groups: list[int] | tuple[int, ...]) -> None:
    """Change the ids and keep the capabilities for the moment: as long as this process has any, a step of the same id
    may not look into it, though the change of ids may have made it dumpable (fs.suid_dumpable=1).
    """
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


# Held from the making of a pipe until its child's end is closed here, so that no other child of ours inherits that end
# and keeps the pipe open for as long as it runs.
fork_lock = _thread.allocate_lock()


def fork() -> int:
    """Call os.fork without its warning about threads (Python 3.12). os.fork is atomic in C and runs every handler; the
    child of a container only makes system calls, with locks that those handlers reset.
    """
    child = _fork()
    if child == 0:
        _renew_lock()
    return child


def clone(flags: int) -> int:
    """Returns the number of a new process, 0 in it. No handler runs, so the caller's process must have one thread."""
    child = syscalls.clone(flags)
    if child == 0:
        _renew_lock()
    return child


def _renew_lock() -> None:
    """The lock that is held stays with the parent."""
    global fork_lock  # noqa: PLW0603
    fork_lock = _thread.allocate_lock()


def _fork() -> int:
    if sys.version_info < (3, 12):
        return os.fork()
    import _warnings

    filters = getattr(sys.modules.get("warnings"), "filters", None) or _warnings.filters
    entry = ("ignore", None, DeprecationWarning, None, 0)
    filters.insert(0, entry)
    try:
        return os.fork()
    finally:
        if entry in filters:
            filters.remove(entry)


def user_namespace(uids: list[Extent], gids: list[Extent]) -> int:
    """Returns a descriptor of a new user namespace with these maps (caller: root), for id-mapped mounts.

    It is the namespace of a process that has ended: its files in /proc are there until this process waits for it.
    Raises OSError.
    """
    child = syscalls.clone_ended(syscalls.CLONE_NEWUSER)
    try:
        write_map(child, uids, gids, "root")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.waitpid(child, syscalls.WALL)


def idmapped_extents(owner: int, to: int, base: int, count: int) -> list[Extent]:
    """Returns an id map for an id-mapped mount: files of `owner` on disk belong to the container's id `to`, whose own
    files take the place of `owner`; every other id below `count` stays unchanged. `base` is the host's id of the
    container's 0.
    """
    extents: list[Extent] = [(owner, base + to, 1)]
    if owner != to and owner < count:
        extents.append((to, base + owner, 1))
    stops = sorted({-1, to, count, *([owner] if owner < count else [])})
    for position, stop in enumerate(stops[1:]):
        previous = stops[position]
        if stop - previous > 1:
            extents.append((previous + 1, base + previous + 1, stop - previous - 1))
    return extents


def run_as_root(function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1, idmap: str = "") -> Any:
    """Run `function(*arguments)` as container root in a namespace like a build's, outside any container.

    The function sees the host's files, with owners as a container sees them, and may delete, read and change the files
    of the container's ids. `at` (a directory) is entered with the caller's rights and is the function's working
    directory: use it for trees below a directory that only the caller can pass. Descriptors of the caller stay open in
    the function. The return value must be marshal-able. An OSError is raised again as one, an EnvtoolError too, any
    other exception as RuntimeError with its type and text. Once the descriptor `cancel` is readable the function is
    killed. `idmap` is the line of `describe_ids` of another map. Raises SandboxError when the kernel refuses, and
    Interrupted.
    """
    ids, parent = ids_from_description(idmap) if idmap else caller_ids(), os.getpid()
    if ids is None:
        from envtool.container.kernel_errors import sandbox_error

        raise sandbox_error("ids", 1, f"the ids `{idmap}` are not this account's")
    with fork_lock:
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        child = fork()
        if child == 0:
            os.close(down_write)
            os.close(up_read)
            _run_in_child(ids.mode, at, down_read, up_write, function, arguments, parent)
        os.close(down_read)
        os.close(up_write)
    try:
        if os.read(up_read, 1) == b"m":
            write_map(child, ids.uids, ids.gids, ids.mode)
            os.write(down_write, b"k")
        answer = _read_answer(up_read, child, cancel)
    except OSError as error:
        from envtool.container.kernel_errors import sandbox_error

        raise sandbox_error("ids", error.errno or 0, str(error.strerror)) from error
    finally:
        os.close(down_write)
        os.close(up_read)
        os.waitpid(child, 0)
    value: Any
    kind, value = marshal.loads(answer) if answer else ("died", "the process died")
    if kind == "value":
        return value
    if kind == "os":
        raise OSError(*value)
    if kind == "refused":
        from envtool.container.kernel_errors import sandbox_error

        raise sandbox_error("unshare", *value)
    if kind == "ours":
        from envtool import errors

        name, message, code, hint = tuple(value)
        raise getattr(errors, name, errors.StoreError)(message, code=code, hint=hint)
    raise RuntimeError(value)


def _read_answer(up: int, child: int, cancel: int) -> bytes:
    """Returns all that a child writes. Raises Interrupted, with the child killed."""
    if cancel >= 0:
        import select

        poll = select.poll()
        poll.register(up, select.POLLIN)
        poll.register(cancel, select.POLLIN)
        if not any(descriptor == up for descriptor, _ in poll.poll()):
            from envtool.errors import Interrupted

            os.kill(child, syscalls.SIGKILL)
            raise Interrupted
    return b"".join(iter(lambda: os.read(up, 1 << 20), b""))


def _run_in_child(
    mode: str, at: str, down: int, up: int, function: Callable[..., Any], arguments: tuple[Any, ...], parent: int
) -> None:
    answer: tuple[str, Any] = ("died", "")
    try:
        syscalls.die_with_parent(parent)
        try:
            if at:
                os.chdir(at)
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        except OSError as error:
            os.write(up, b"-")
            answer = ("refused", (error.errno, str(error.strerror)))
        else:
            os.write(up, b"m")
            if os.read(down, 1) != b"k":
                os._exit(1)
            become_root(mode)
            syscalls.die_with_parent(parent)  # once more: a change of ids clears it
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
            os.umask(0o022)
            answer = ("value", function(*arguments))
    except OSError as error:
        answer = ("os", tuple(a for a in (error.errno, error.strerror, error.filename) if a is not None))
    except BaseException as error:
        answer = ("raised", f"{type(error).__name__}: {error}")
        if message := getattr(error, "message", ""):  # an EnvtoolError, whose module is not imported here
            answer = ("ours", (type(error).__name__, message, getattr(error, "code", ""), getattr(error, "hint", "")))
    try:
        data = memoryview(marshal.dumps(answer))
        while data:
            data = data[os.write(up, data) :]
    except BaseException as error:
        os.write(up, marshal.dumps(("raised", f"{type(error).__name__}: {error}")))
    finally:
        os._exit(0)


def give_to_root(path: str) -> None:
    """Let container root write to a directory that the caller has just made."""
    ids = caller_ids()
    if ids.mode == "root":
        os.chown(path, ids.uids[0][1], ids.gids[0][1], follow_symlinks=False)


def give_pipes(descriptors: tuple[int, ...], owner: int) -> None:
    """Let the host's id `owner` open pipes anew (caller: root): a process that opens /dev/stdout does so."""
    for descriptor in descriptors:
        info = os.fstat(descriptor)
        if stat.S_ISFIFO(info.st_mode) and info.st_uid != owner:
            os.fchown(descriptor, owner, -1)


def remove_as_root(path: str, idmap: str = "") -> None:
    """Delete a tree that container ids own, as container root (`idmap`: of another map, see `run_as_root`). A path that
    does not exist is not an error.
    """
    if not os.path.lexists(path):
        return
    from envtool.fs import removal

    if os.geteuid() != 0:
        parent, name = os.path.split(os.path.abspath(path))
        run_as_root(_remove_inside, name, at=parent, idmap=idmap)
    removal.remove_tree(path)  # the top may belong to the caller: container root only empties it then


def _remove_inside(name: str) -> None:
    from envtool.fs import removal

    try:
        removal.remove_tree(name)
    except OSError:  # what is left is removed outside, or said there
        pass

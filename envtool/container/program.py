"""A container as a value. `Program.to_dict()` returns the plain dict that `supervisor.run` runs.

Paths of the host are absolute strings. They are opened with the caller's rights before the container's root is assumed,
so they may be below directories that only the caller can pass (/root, a 0700 home).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from envtool.container import seccomp, userns
from envtool.container.rootfs_operations import KERNEL_FILES
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool.container.rootfs_operations import Operation
    from envtool.model import Json, Limit

HOME = "/home/envtool"
HOSTNAME, LOCAL_ADDRESS = "envtool", "127.0.1.1"  # of containers that are in no pod
OUTPUTS_LIMIT = 2 << 30  # bytes, unless the spec has another limit


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host file or directory at a path of the container. A missing source is an error."""

    source: str
    target: str
    readonly: bool = True
    identity: tuple[int, ...] = ()  # device and inode that the source must have, where another user may move it
    # If the caller is root: the source's owner appears as the container's user, which so can read files that only
    # their owner may read (the caller's own inputs; never the system's). Writable binds are always mapped.
    mapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraTree:
    """Another tree, read-only: layer trees, top-most first, merged at a path below /dev."""

    lowers: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A writable directory of the store at `target`, whose files belong to the container's ids. A `fresh` one gets
    `mode`, `uid` and `gid`.
    """

    source: str
    target: str
    readonly: bool = False
    fresh: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCacheMount:
    """A directory that a task keeps from run to run: `lowers`, top-most first, which nobody changes, and above them
    `tree`, which gets what the container writes (`work` beside it, both in the directory `draft`)."""

    target: str
    lowers: tuple[str, ...]
    draft: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTimes:
    """Times of files as the container sees them: (path, mtime, size, the mtime that it has so far), in nanoseconds and
    bytes. A file of another size or mtime has been changed just now, and stays as it is; -1: not compared."""

    entries: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMount:
    """A read-only file with this content, which exists only in this container."""

    target: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """A read-only file with a secret, in a tmpfs of its own: never on a disk (but for swap), and gone with the
    container."""

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    owner: str = ""  # "user", "root", or a name or number as in `USER` of an image; empty: `uid` and `gid` say it


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """An empty directory in memory. `size` in bytes; 0: half of the machine's memory."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekMount:
    """A file or directory of another tree at a further path: `path` below the project or extra tree that is mounted at
    `tree`. What is written to a `writable` one is lost.
    """

    tree: str
    path: str
    target: str
    writable: bool = False


Mount: TypeAlias = "CacheMount | TaskCacheMount | FileTimes | TextMount | SecretMount | TmpfsMount | PeekMount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The root file system.

    `lowers`, top-most first, are layer trees (as the container's ids own them). Without `upper` and `scratch`, writes
    go to a tmpfs that ends with the container. `upper`: a host directory that keeps what is written (a layer being
    built; `work` beside it, on one file system); without `lowers` `upper` *is* the root (a base being built).
    `scratch`: an empty host directory for ephemeral writes in place of memory.
    """

    lowers: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    scratch: str = ""
    memory: int = 0  # bytes of the tmpfs; 0: half of the machine's memory
    own: tuple[str, ...] = ()  # which of "tmp" and "run" come from the tree and are not replaced by empty ones


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMount:
    """The project at `target`: read-only below, ephemeral writes above.

    `hidden` are project-relative paths (git-ignored entries, directories collapsed) that must not exist inside.
    """

    source: str
    hidden: tuple[str, ...] = ()
    target: str = "/project"
    identity: tuple[int, ...] = ()  # device and inode that the project must have; empty: not checked
    # Writes go to the project itself, but for these (path, device, inode), which are read-only; nothing is hidden, and
    # no layer covers it. None: writes are ephemeral.
    writable_but: tuple[tuple[str, int, int], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStep:
    """One process: `argv` is executed, or the function `call` is run without exec in a forked child.

    Functions are given by references (step_functions.py), and imported where the container is started, before its root
    changes. `call` gets `arguments` (JSON), then the functions in `functions`, and, if `counts` is not 0, a function
    that counts its `counts` items. The functions in `prepare` are called before the root changes, to import what `call`
    needs.
    """

    argv: tuple[str, ...] = ()
    call: str = ""
    arguments: tuple[Json, ...] = ()
    functions: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    counts: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""  # of the stack's /etc/passwd (fs/passwd.py), who also gives HOME; only in a Program of "root"
    bare: bool = False  # `env` is the whole environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerVariation:
    """What must not matter between two machines or two runs, and is varied (perturb.py)."""

    order: Literal["", "forward", "backward"] = ""  # directories are listed by name, in reverse, or ("") unchanged
    processors: int = 0  # number that the steps may use; 0: all
    pids: int = 0  # number of process ids that are used up before the first step


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One container: the steps run one after the other; the first that fails ends it and gives its status."""

    root: Root
    steps: tuple[ContainerStep, ...]
    binds: tuple[BindMount, ...] = ()  # after the project, in order
    extra_trees: tuple[ExtraTree, ...] = ()
    mounts: tuple[Mount, ...] = ()  # last, in order
    project: ProjectMount | None = None
    joins: tuple[tuple[str, str], ...] = ()  # (directory of the root, path in the project where it is mounted too)
    # Indices of the root's lowers, top-most first, whose files below the project's target cover the project. Of the
    # project's own files they cover only `inputs` and what matches `produced`.
    covering: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()  # paths relative to the project
    produced: tuple[str, ...] = ()  # patterns of outputs of earlier runs, relative to the project
    copies: tuple[tuple[str, str], ...] = ()  # (file or tree of the root, path in the project): copied where missing
    env: Mapping[str, str] = field(default_factory=dict)  # the whole environment; a step's `env` is added to it
    # "root" for builds: uid 0 inside, with Docker's default capabilities; "user": id 1000, an empty and writable home
    # /home/envtool, no capabilities.
    user: Literal["root", "user"] = "user"
    network: bool = False  # True: the host's network namespace, with its resolv.conf and hosts
    hostname: str = HOSTNAME
    address: str = LOCAL_ADDRESS  # of the host name in /etc/hosts; in a pod, the member's
    timeout: float | None = None  # seconds for all steps together; then TERM, `grace` later KILL of everything
    grace: float = 2.0
    outputs: tuple[
        str, ...
    ] = ()  # patterns relative to the project's target, copied out after the steps, also if one failed
    outputs_limit: int = OUTPUTS_LIMIT  # bytes of all outputs together; holes count as data
    secrets: tuple[bytes, ...] = field(default=(), repr=False)  # values that no output may contain
    sync: bool = True  # False: fsync and its kin do nothing (builds: the core syncs once at the end)
    vary: ContainerVariation | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)  # by name; that of "time" is `timeout`
    watch: tuple[str, ...] = ()  # directories of the container whose opened files are reported (opened_files.py)
    observe: str = ""  # a tree of the container of which it is reported what was never looked up (looked_up_names.py)

    def operations(self) -> tuple[Operation, ...]:
        """Returns what makes the container's file systems, in order (rootfs_operations.py)."""
        return (
            *self._root_operations(),
            *KERNEL_FILES,
            *self._project_operations(),
            *(("bind", bind.target, bind.source, bind.readonly, bind.mapped, bind.identity) for bind in self.binds),
            *self._etc_operations(),  # after the binds, which may bring another /etc
            *(("tree", tree.target, tree.lowers) for tree in self.extra_trees),
            *(_mount_operation(mount, number) for number, mount in enumerate(self.mounts)),
        )

    def _root_operations(self) -> Iterator[Operation]:
        root = self.root
        memory = root.memory or self._disk_limit()
        yield ("root", "/", root.lowers, root.upper, root.work, root.scratch, memory)
        yield ("proc", "/proc")
        yield ("sysfs", "/sys")
        yield ("dev", "/dev", "dev", 0o755, 0)
        for name, mode in (("tmp", 0o1777), ("run", 0o755)):
            if name not in root.own:
                yield ("empty", f"/{name}", name, mode, 0)
        if self.user == "user":
            yield ("empty", HOME, "home", 0o755, userns.TASK_UID)

    def _disk_limit(self) -> int:
        """Returns the bytes of the tmpfs that holds writes: `disk`, or half of `memory`; 0 without limits."""
        if "disk" in self.limits:
            return int(self.limits["disk"].value)
        return int(self.limits["memory"].value) // 2 if "memory" in self.limits else 0

    def _project_operations(self) -> Iterator[Operation]:
        project = self.project
        if project is None:
            return
        if project.writable_but is not None:
            yield ("checkout", project.target, project.source, project.identity, project.writable_but)
            yield from self._join_operations(project)
            return
        covers = (self.covering, self.inputs, self.produced) if self.covering else ((), (), ())
        yield ("project", project.target, project.source, project.identity, *covers)
        yield from self._join_operations(project)
        for source, target in self.copies:
            yield ("copy", target, source)

    def _join_operations(self, project: ProjectMount) -> Iterator[Operation]:
        for source, target in self.joins:
            yield ("join", target, source, target.startswith(f"{project.target}/"))

    def _etc_operations(self) -> Iterator[Operation]:
        if self.root.own and all(step.call for step in self.steps):
            return  # only functions of ours run: they need no hosts file, and so see the tree's own /etc
        local = f"127.0.0.1 localhost\n::1 localhost\n{self.address} {self.hostname}\n"
        # As in Docker, a Dockerfile's steps may write to /etc/hosts, and the writes are lost.
        yield ("hosts", "/etc/hosts", local.encode(), self.network, not self.root.own)
        if self.user == "user":
            user = userns.TASK_UID
            yield ("account", "/etc/passwd", f"envtool:x:{user}:{user}::{HOME}:/bin/sh\n".encode())
            yield ("account", "/etc/group", f"envtool:x:{user}:\n".encode())
        if self.network:
            yield ("resolver", "/etc/resolv.conf")

    def to_dict(self) -> dict[str, Any]:
        """Returns a dict of str, int, bool, None, bytes, tuple, list and dict only, for `supervisor.run`."""
        vary = self.vary
        ask = ("getdents64",) if vary and vary.order else ()
        # What a container writes to the checkout belongs to the caller: a setuid program there is one of the caller's.
        set_id = self.project is None or self.project.writable_but is None
        plain = seccomp.build_filter(single=False, sync=self.sync, ask=ask, set_id=set_id)
        single = b""
        if self.user == "root":
            single = seccomp.build_filter(single=True, sync=self.sync, ask=ask, set_id=set_id)
        return {
            "operations": self.operations(),
            "hidden": self.project.hidden if self.project and self.project.writable_but is None else (),
            "steps": tuple(_step_dict(step, self.env) for step in self.steps),
            "user": self.user,
            "network": self.network,
            "hostname": self.hostname,
            "timeout": self.timeout,
            "grace": self.grace,
            "outputs": self.outputs,
            "outputs_limit": self.outputs_limit,
            "outputs_at": self.project.target if self.project else "/",
            "seccomp": plain,
            "seccomp_single": single,
            **({"secrets": self.secrets} if self.secrets else {}),
            **({"vary": (vary.order, vary.processors, vary.pids)} if vary else {}),
            **({"watch": self.watch} if self.watch else {}),
            **({"observe": self.observe} if self.observe else {}),
            **({"limits": {name: tuple(limit) for name, limit in self.limits.items()}} if self.limits else {}),
        }


def _step_dict(step: ContainerStep, env: Mapping[str, str]) -> dict[str, Any]:
    called = ("call", "arguments", "functions", "prepare", "counts") if step.call else ()
    return {
        "argv": step.argv,
        "env": dict(step.env) if step.bare else {**env, **step.env},
        "cwd": step.cwd,
        **({"user": step.user} if step.user else {}),
        **{name: getattr(step, name) for name in called},
    }


def _mount_operation(mount: Mount, number: int) -> Operation:
    match mount:
        case CacheMount():
            owner = (mount.mode, mount.uid, mount.gid) if mount.fresh else None
            return ("cache", mount.target, mount.source, mount.readonly, owner)
        case TaskCacheMount():
            return ("task-cache", mount.target, mount.lowers, mount.draft)
        case FileTimes():
            return ("times", "/", mount.entries)
        case TextMount():
            return ("file", mount.target, f"text{number}", mount.content, (mount.mode, mount.uid, mount.gid))
        case SecretMount():
            permissions = (mount.mode, mount.uid, mount.gid, mount.owner)
            return ("secret", mount.target, f"secret{number}", mount.content, permissions)
        case TmpfsMount():
            return ("tmpfs", mount.target, mount.size)
        case PeekMount():
            return ("peek", mount.target, f"peek{number}", mount.tree, mount.path, mount.writable)

"""What a container is, as a value. `Program.flat()` gives the plain dict that `start.run` applies.

Paths of the host are absolute strings; they are opened by the caller's identity before the container's root is
assumed, so they may lie below directories that only the caller can pass (/root, a 0700 home).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from envtool.container import seccomp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OUTPUTS_LIMIT = 2 << 30  # where a spec says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host file or directory at a place of the container. Sources that are missing are an error."""

    source: str
    target: str
    readonly: bool = True
    identity: tuple[int, ...] = ()  # device and inode that the source has to have, where another user may move it
    mapped: bool = False  # when the caller is root: its owner appears as the container's user, so that files which
    # only their owner may read can be read (the caller's own inputs; never the system's). Writable binds always are


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraTree:
    """Another tree to look at, read-only: layer trees, top-most first, merged at a place below /dev."""

    lowers: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """A writable directory of the store at `target`, whose files belong to the container's ids. A `fresh` one gets its
    owner and mode."""

    source: str
    target: str
    readonly: bool = False
    fresh: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMount:
    """A read-only file that is nowhere but in this container."""

    target: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """An empty directory in memory; `size` in bytes, 0: half of the machine's."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekMount:
    """A file or directory of the view or of what is beside, at another place too: `path` in the tree that is shown at
    `tree`. Writes go nowhere."""

    tree: str
    path: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The root file system.

    `lowers`, top-most first, are layer trees (as the container's ids own them). With neither `upper` nor `scratch`
    given, writes go to a tmpfs that vanishes. `upper`: a host directory that keeps what is written (a layer being
    built; `work` beside it, on one file system); with no `lowers` at all `upper` *is* the root (a base being built).
    `scratch`: an empty host directory used for ephemeral writes in place of memory.
    """

    lowers: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    scratch: str = ""
    memory: int = 0  # bytes of the tmpfs; 0: half of the machine's
    own: tuple[str, ...] = ()  # which of "tmp" and "run" are the tree's, not fresh ones


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMount:
    """The project as the container sees it: read-only below, ephemeral above, at `target`.

    `hidden` are project-relative paths (git-ignored entries, directories collapsed) that must not exist inside.
    """

    project: str
    hidden: tuple[str, ...] = ()
    target: str = "/project"
    identity: tuple[int, ...] = ()  # device and inode that the project has to have; empty: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStep:
    """One process: `argv` executed, or `call` run without exec in a forked child (then the Program cannot be
    marshalled). `prepare` is called before the root changes, to import what `call` needs.
    """

    argv: tuple[str, ...] = ()
    call: Callable[..., None] | None = None
    arguments: tuple[Any, ...] = ()
    prepare: Callable[[], None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""  # of the stack, as in users.py; needs a Program of "root", and HOME is set as the user's
    bare: bool = False  # `env` is the whole environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerVariation:
    """What may differ between two machines or two runs and must not matter, made to differ (vary.py)."""

    order: Literal["", "forward", "backward"] = ""  # how directories are listed: by name, against it, as they are
    processors: int = 0  # how many the steps may use; 0: all
    pids: int = 0  # process ids that are used up before the first step


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One container: steps run one after the other; the first that fails ends it and gives its status."""

    root: Root
    steps: tuple[ContainerStep, ...]
    binds: tuple[BindMount, ...] = ()  # after the view, in order
    beside: tuple[ExtraTree, ...] = ()
    shown: tuple[CacheMount | TextMount | TmpfsMount | PeekMount, ...] = ()  # last, in order
    view: ProjectMount | None = None
    joins: tuple[tuple[str, str], ...] = ()  # (directory of the root, place in the view): the one is seen at the other
    laid: tuple[
        int, ...
    ] = ()  # which of the root's lowers, top-most first, lie with what they have at the view's target
    # over the project itself: of its own files only `inputs` are covered
    inputs: tuple[str, ...] = ()  # relative to the project
    produced: tuple[str, ...] = ()  # likewise, patterns: nor does what was made of it once count where it is made anew
    copies: tuple[tuple[str, str], ...] = ()  # (file or tree of the root, place in the view): what is not there yet
    env: Mapping[str, str] = field(default_factory=dict)  # the whole environment; a step's `env` is added to it
    user: Literal["root", "user"] = "user"  # "root" for builds: uid 0 inside with Docker's default capabilities;
    # "user": id 1000, home /home/envtool (made, empty, writable), no capabilities
    network: bool = False  # True: the host's network namespace, with its resolv.conf and hosts shown
    hostname: str = "envtool"
    timeout: float | None = None  # seconds for all steps together; then TERM, `grace` later KILL of everything
    grace: float = 2.0
    outputs: tuple[str, ...] = ()  # patterns relative to the view's target, collected before teardown, always
    outputs_limit: int = OUTPUTS_LIMIT  # bytes of all of them together, holes and all
    sync: bool = True  # False: fsync and its kin do nothing (builds: the core syncs once at the end)
    vary: ContainerVariation | None = None
    watch: tuple[str, ...] = ()  # directories of the container: which files in them are opened is told (opened.py)

    def to_dict(self) -> dict[str, Any]:
        """A dict of str, int, bool, None, bytes, tuple, list and dict only (but for `call`): see start.py."""
        vary = self.vary
        ask = ("getdents64",) if vary and vary.order else ()
        return {
            "root": (self.root.lowers, self.root.upper, self.root.work, self.root.scratch, self.root.memory),
            "binds": tuple(
                (bind.source, bind.target, bind.readonly, bind.mapped, bind.identity) for bind in self.binds
            ),
            "view": (self.view.project, self.view.hidden, self.view.target, self.view.identity) if self.view else None,
            "joins": self.joins if self.view else (),
            "copies": self.copies if self.view else (),
            "steps": tuple(
                {
                    "argv": step.argv,
                    "call": step.call,
                    "arguments": step.arguments,
                    "prepare": step.prepare,
                    "env": dict(step.env) if step.bare else {**self.env, **step.env},
                    "cwd": step.cwd,
                    **({"user": step.user} if step.user else {}),
                }
                for step in self.steps
            ),
            "user": self.user,
            "network": self.network,
            "hostname": self.hostname,
            "timeout": self.timeout,
            "grace": self.grace,
            "outputs": self.outputs,
            "outputs_limit": self.outputs_limit,
            "outputs_at": self.view.target if self.view else "/",
            "seccomp": seccomp.build_filter(single=False, sync=self.sync, ask=ask),
            "seccomp_single": seccomp.build_filter(single=True, sync=self.sync, ask=ask)
            if self.user == "root"
            else b"",
            **({"beside": tuple((each.lowers, each.target) for each in self.beside)} if self.beside else {}),
            **({"own": self.root.own} if self.root.own else {}),
            **({"laid": (self.laid, self.inputs, self.produced)} if self.laid and self.view else {}),
            **({"shown": tuple(_mount_tuple(each) for each in self.shown)} if self.shown else {}),
            **({"vary": (vary.order, vary.processors, vary.pids)} if vary else {}),
            **({"watch": self.watch} if self.watch else {}),
        }


def _mount_tuple(shown: CacheMount | TextMount | TmpfsMount | PeekMount) -> tuple[Any, ...]:
    match shown:
        case CacheMount():
            owner = (shown.mode, shown.uid, shown.gid) if shown.fresh else None
            return ("cache", shown.target, shown.source, shown.readonly, owner)
        case TextMount():
            return ("text", shown.target, shown.content, (shown.mode, shown.uid, shown.gid))
        case TmpfsMount():
            return ("memory", shown.target, shown.size)
        case PeekMount():
            return ("peek", shown.target, shown.tree, shown.path, shown.writable)

"""Recipes: the files that a build fetches, its steps, and what its container sees. Part of the public API: plugins
import these names from `envtool.api`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TypeAlias

from envtool.lazy_dataclass import dataclass, field
from envtool.model import PROJECT, Command, Json

# ---- files to fetch --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """An exact file to fetch. A build sees it under BLOBS by its `name`."""

    sha256: str
    name: str
    url: str = ""  # http(s): or file:; empty: `Kind.locate` fills it in for this machine
    size: int = 0  # bytes; 0: unknown
    limit: int = 0  # the most bytes to fetch if `size` is unknown; 0: 8 GiB
    mirrors: tuple[str, ...] = ()  # further URLs, tried in order if those before do not have the file
    authorization: str = field(default="", repr=False)  # a credential of this machine, sent with `url` alone: the whole
    # value of the HTTP header, as in "Bearer …"; never in pins, keys or messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A file to fetch whose sha256 is not known yet. `Site.learn` turns it into a Fetch.

    `integrity` is the hash that package managers write (W3C Subresource Integrity: "sha512-<base64>"; if several are
    separated by blanks, the strongest counts). If it is empty, the first answer is trusted. `urls` are tried in order;
    `authorization` is sent with the first alone.
    """

    urls: tuple[str, ...]
    name: str
    integrity: str = ""
    size: int = 0  # bytes, 0: unknown
    authorization: str = field(default="", repr=False)


# ---- steps and mounts of a recipe ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host directory or file that is mounted read-only in the container. Never part of a key: use it for tools whose
    version is in the pins, and for caches."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Executes a command as the container's root, or as `user`: NAME or UID, optionally with `:GROUP` or `:GID`,
    looked up in the stack's own /etc/passwd and /etc/group. If containers have a single id, root is the only user."""

    command: Command
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""
    bare: bool = False  # True: `env` is the whole environment; only the user's HOME is added if `env` has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpack:
    """Unpacks a fetched archive (tar, tar.gz/.xz/.bz2/.zst, zip) into `target`. envtool does it itself: the container
    needs no tar. A member that leads out of `target`, by `..` or through links, is refused; an absolute name is taken
    as relative to `target`; devices are left out."""

    name: str  # of a Fetch
    target: str
    strip: int = 0  # how many leading path components are removed
    owners: bool = False  # True: keep the archive's numeric owners (bases); else everything belongs to root


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Copies a fetched file (`source` under BLOBS) or a declared input (`source` under PROJECT) to `target`;
    directories recursively. If `mode` is None, only the executable bit is kept (0644 or 0755)."""

    source: str
    target: str
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Runs a Python function of the plugin *inside* the container, as its root, without exec.

    envtool calls `function(*arguments)` in a forked child after the root has been changed, so `/` is the stack. The
    function cannot import anything: its module must import all that it needs at its top, or in `prepare`, which is
    called before the root changes. An exception fails the build.

    The container that a recipe becomes is data: the function (and `prepare`) travels as its name, and is imported where
    the container is started. So it must be found by its name, as a function of a module is; a lambda, a function in a
    function or a bound method is refused. The arguments travel as JSON: a tuple in them arrives as a list.

    If `unpacks`, the function gets as its last argument `unpack(path, target, owner, make)`, which unpacks layers. It
    unpacks a tar (plain, or compressed by gzip, bzip2, xz or zstd) into the directory `target` with owners, modes,
    times and attributes. It replaces what exists, but never follows a link at the path of a member. `owner` (uid, gid)
    is the owner of all members; None: as in the archive. It calls `make()` as soon as it recognizes an archive;
    `target` must exist after that call. It returns lines that name what was left out (devices), or None if the file is
    no archive. It raises BuildError, OSError.

    If `counts` is not 0, the function gets as its last argument `count(index)`. Call it once for each of the `counts`
    items (index from 0) when the item is done, in any process: people see "unpacking 40 of 88", where `phase` is the
    first word.
    """

    function: Callable[..., None]
    arguments: tuple[Json, ...] = ()
    prepare: Callable[[], None] | None = None
    unpacks: bool = False
    counts: int = 0
    phase: str = ""


def function_name(function: Callable[..., object]) -> str:
    """Returns the name under which another process finds a function ("package.module:function"); "" for one that has no
    such name: a lambda, a function in a function, a bound method, any other callable."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        return ""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is function else ""


Step: TypeAlias = Run | Unpack | Place | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A layer of an image: a tar (plain, gzip or zstd) by the OCI image specification, layer.md, with its whiteouts.
    envtool unpacks it unchanged, with times and owners, and checks its diff ID ("sha256:<hex>" of the tar)."""

    name: str  # of a Fetch
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A directory that this machine keeps from one build to the next, writable at `target`; never part of a key or of a
    layer. `id` is its name in the whole store. `sharing` says what builds that run at the same time do: "shared" use it
    together, "locked" wait for each other, "private" get a directory each. A new directory gets this owner and mode."""

    id: str
    target: str
    sharing: str = "shared"
    readonly: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A read-only file that exists only during the build."""

    target: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret for the build: a read-only file at `target`, or the variable `env`, or both. Never part of a key, a
    layer or a message. `source` is "env:NAME" or "file:PATH" of the caller. If `source` is empty or does not exist, the
    build runs without the secret, or fails if it is `required`."""

    id: str
    source: str = ""
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    from_caller: bool = False  # True: only the caller says where the value is; a layer that contains it is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An empty directory in memory (tmpfs) of `size` bytes; 0: half of the machine's memory."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """A file or directory of the inputs (below Recipe.project) or below BESIDE that is mounted at `target` as well.
    `source` may lead through symlinks, which are resolved inside that tree. If it is `writable`, what the build writes
    to it is discarded."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMember:
    """A file of a fetched zip archive, mounted read-only at `target`. The store keeps it beside the archive, so that no
    other build decompresses it again. A `member` without this size (bytes) and sha256 fails the build."""

    archive: str  # the name of a Fetch
    member: str
    sha256: str
    size: int
    target: str


Shown: TypeAlias = Cache | Text | Secret | Memory | Peek | ArchiveMember


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to build a base or layer, offline unless `network`. The steps run in order in one container whose root is the
    stack below (for a base: an empty directory). A recipe with an `archive` has no steps, and nothing runs."""

    steps: tuple[Step, ...] = ()
    archive: Archive | None = None
    binds: tuple[Bind, ...] = ()
    network: bool = False
    drop: tuple[str, ...] = ()  # glob patterns (absolute, `**` allowed) of files that are not captured: caches, logs
    shown: tuple[Shown, ...] = ()  # what the steps see beside the stack, mounted in this order; never captured
    project: str = PROJECT  # where the inputs are mounted; another path if the tree has files at PROJECT
    keeps_tmp: bool = False  # True: /tmp and /run belong to the tree and are captured; else each container has new ones
    mounts: tuple[Bind, ...] = ()  # bases only: mounted read-only in every container on the base (kind `host`)
    phase: str = "building"  # the word that people see while the steps run: "installing"
    # True: there is a directory at `project` even if the build sees no file of the project. Steps write there what the
    # kind took from texts of the project; it is never captured, and the layer counts as built from the project.
    project_directory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """The image that a base is. `name` is its reference ("docker.io/library/alpine:3.20"), empty for an image in a file
    of the project; `platform` is written as in "linux/386"."""

    name: str
    digest: str  # of its manifest: "sha256:<hex>", empty where it has none
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The documents of an image, byte for byte: its manifest (empty if it has none) with its media type, and its
    config."""

    manifest: bytes
    media_type: str
    config: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A process that ended in a container: its exit status and its output (bytes)."""

    status: int
    stdout: bytes
    stderr: bytes

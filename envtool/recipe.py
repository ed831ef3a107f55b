"""What a kind answers with: the files that are fetched, and the steps of a build. Part of the public API: plugins have
these names from `envtool.api`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from envtool.model import Command, Json

PROJECT = "/project"  # where a container sees the project (tasks: the view; builds: the declared inputs)
BESIDE = "/dev/envtool/beside"  # where a part's build sees other trees, each under its name: see Part.beside
BLOBS = "/run/envtool/blobs"  # where a build sees its fetched files, each under its `name`, read-only


# ---- values ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One outside file, exactly. `size` is bytes (0: unknown, then no more than `limit` are fetched; 0: 8 GiB); `name`
    the file name a build sees under BLOBS."""

    sha256: str
    name: str
    url: str = ""  # http(s): or file:; empty: `Kind.locate` says where it is for this machine
    size: int = 0
    limit: int = 0
    mirrors: tuple[str, ...] = ()  # further URLs, tried in order where the ones before do not have it
    authorization: str = field(default="", repr=False)  # of this machine, sent with `url` alone: the whole value of
    # the HTTP header, as in "Bearer …"; never in pins, keys or messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An outside file that is known by another hash than its sha256: what `Site.learn` makes a Fetch of.

    `integrity` is what package managers write (W3C Subresource Integrity: "sha512-<base64>", several separated by
    blanks: the strongest counts); empty where nothing is known, and the first answer is believed. `urls` are tried in
    order; `authorization` is sent with the first alone.
    """

    urls: tuple[str, ...]
    name: str
    integrity: str = ""
    size: int = 0  # bytes, 0: unknown
    authorization: str = field(default="", repr=False)


# ---- what a recipe is made of ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A host directory or file shown read-only in the container. Never part of a key: use it for tools whose
    version is in the pins, and for caches."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Execute a command as container root, or as `user`: NAME or UID, or either with `:GROUP` or `:GID`, looked up in
    the stack's own /etc/passwd and /etc/group. Where containers have a single id, there is root and no other."""

    command: Command
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""
    bare: bool = False  # `env` is the whole environment; HOME is added where it is not in it, as the user's


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpack:
    """Unpack a fetched archive (tar, tar.gz/.xz/.bz2/.zst, zip) into `target`, by our own code: the container
    needs no tar. What leads out of `target` is refused, by `..` or through links; an absolute name begins there, and
    devices are left out."""

    name: str  # of a Fetch
    target: str
    strip: int = 0  # leading path components dropped
    owners: bool = False  # keep the archive's numeric owners (bases); else everything belongs to root


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Copy a fetched file (`source` under BLOBS) or a declared input (`source` under PROJECT) to `target`;
    directories recursively. `mode` None keeps only the executable bit (0644/0755)."""

    source: str
    target: str
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run a Python function of the plugin *inside* the container, as its root, without exec.

    The function is called as `function(*arguments)` in a forked child after the root has been changed, so `/` is
    the stack. Nothing can be imported any more at that point: its module must have imported all it needs at its
    top, or in `prepare`, which is called before the root changes. Raising fails the build.

    With `unpacks` it gets as its last argument how layers are unpacked: `unpack(path, target, owner, make)`. That puts
    a tar (plain, or compressed by gzip, bzip2, xz or zstd) into the directory `target` with owners, modes, times and
    attributes, over what is there but never through a link at a member's place. `owner` (uid, gid) is for all of it,
    None: the archive's. It calls `make()` once it knows the file for an archive: `target` must be there after that. It
    returns lines that say what was left out (devices), or None for what is no archive. Raises BuildError, OSError.

    With `counts` it gets as its last argument `count(index)`, to be called once for each of so many things (from 0) as
    they are done, in whichever process: people see "unpacking 40 of 88", with `phase` as the word.
    """

    function: Callable[..., None]
    arguments: tuple[Json, ...] = ()
    prepare: Callable[[], None] | None = None
    unpacks: bool = False
    counts: int = 0
    phase: str = ""


Step: TypeAlias = Run | Unpack | Place | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A layer as an image has it: a tar (plain, gzip or zstd) of OCI's image specification, layer.md, whiteouts and
    all. It is unpacked as it is, times and owners too, and must have the diff ID ("sha256:<hex>" of the tar)."""

    name: str  # of a Fetch
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A directory that stays on this machine from one build to the next, writable at `target`; never part of a key or
    a layer. Its `id` names it in the whole store. `sharing`: "shared" by builds that run at once, "locked" by one after
    the other, "private" to each (who comes second gets another directory). Owner and mode are those it begins with."""

    id: str
    target: str
    sharing: str = "shared"
    readonly: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file that is only there while it is built, read-only."""

    target: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a build may read and nobody keeps: a read-only file at `target`, or the variable `env`, or both. `source` is
    "env:NAME" or "file:PATH" of whoever builds; with none, or where it is not there, the build does without it, unless
    it is `required`. Never part of a key, a layer or a message."""

    id: str
    source: str = ""
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An empty directory in memory. `size` is bytes, 0: half of the machine's."""

    target: str
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """A file or directory of the inputs (below Recipe.project) or below BESIDE, shown at another place too. `source`
    may lead through symlinks, which stay inside that tree. What is written to it, where it is `writable`, is thrown
    away."""

    source: str
    target: str
    writable: bool = False


Shown: TypeAlias = Cache | Text | Secret | Memory | Peek


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a base or layer is made, offline unless `network`. Steps run in order in one container whose root is
    the stack below (for a base: an empty directory). Or it is an `archive` and nothing else: then nothing runs."""

    steps: tuple[Step, ...] = ()
    archive: Archive | None = None
    binds: tuple[Bind, ...] = ()
    network: bool = False
    drop: tuple[str, ...] = ()  # glob patterns (absolute, `**` allowed) of what must not be captured: caches, logs
    shown: tuple[Shown, ...] = ()  # what the steps see beside the stack, mounted in this order; never captured
    project: str = PROJECT  # where the inputs are shown, for trees that may have something there themselves
    keeps_tmp: bool = False  # /tmp and /run are the tree's own, and captured; else each container has fresh ones
    mounts: tuple[Bind, ...] = ()  # bases only: shown read-only in every container that stands on it (kind `host`)
    phase: str = "building"  # what people read while the steps run: "installing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """Which image a base is. `name` is as registries know it ("docker.io/library/alpine:3.20"), empty for one of a file
    of the project; `platform` as in "linux/386"."""

    name: str
    digest: str  # of its manifest: "sha256:<hex>", empty where it has none
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """An image as it came, byte for byte: its manifest (empty where it had none), what that is, and its config."""

    manifest: bytes
    media_type: str
    config: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A process that ended in a container: exit status and its output (bytes)."""

    status: int
    stdout: bytes
    stderr: bytes

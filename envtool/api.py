"""The whole public plugin API. Our own kinds and plugins use this module and nothing else of envtool.

A plugin is a module (or object) under the entry-point group `envtool` whose functions are marked with `hook`:

    from envtool import api

    @api.hook
    def envtool_layer_kinds() -> list[api.Kind]:
        return [Pip()]

A **kind** knows how one sort of base or layer is made. It decides and describes; the core fetches, hashes,
builds, captures and caches. Its life, in order (each step gets only what the steps before decided):

    schema      JSON Schema of the value under the kind's name in the spec
    inputs      which project files it depends on (they are hashed, and visible to the build at api.PROJECT)
    resolve     floats -> pins: the one step that may decide by asking the network; its answer is remembered, and
                written to envtool.lock. Pins are JSON; items with `name` and `version` are shown when they change
    fetches     pins -> exact files
    locate      where those that are missing are, for this machine: fetched in parallel and checked by hash
    build       pins -> a Recipe: steps that run offline in a container on the stack below

Import only `envtool.api` at the top of a plugin module, and heavy things inside methods: plugins are loaded on
every command that reads a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, TypeVar

import pluggy

from envtool import pin_schemas as shapes
from envtool.errors import BuildError, FetchError, Problem, ResolveError, SpecError, UsageError
from envtool.model import Command, Detection, EnvDraft, InputFile, Json, LayerDraft, Looked, Package, Where
from envtool.net.integrity import integrity_digest
from envtool.project.host_access import MAX_FILE_SIZE
from envtool.project.programs import find_program, search_path
from envtool.recipe import (
    BESIDE,
    BLOBS,
    PROJECT,
    Archive,
    Bind,
    Cache,
    Call,
    Completed,
    Fetch,
    ImageSource,
    Memory,
    Original,
    Peek,
    Place,
    Recipe,
    Run,
    Sealed,
    Secret,
    Shown,
    Step,
    Text,
    Unpack,
)

if TYPE_CHECKING:
    from pathlib import Path

    from envtool.events import Event

__all__ = [
    "BESIDE", "BLOBS", "PROJECT", "Archive", "Bind", "BuildError", "Cache", "Call", "Command", "Completed",
    "Detection", "EnvDraft", "Event", "Fetch", "FetchError", "ImageSource", "InputFile", "Json", "Kind", "Language",
    "LayerDraft", "Looked", "Memory", "Original", "Package", "Part", "Peek", "Place", "Problem", "Project", "Recipe",
    "Request", "ResolveError", "Run", "Sealed", "Secret", "Shown", "Site", "SpecError", "Step", "Text", "Tree",
    "Unpack", "UsageError", "Where", "find_program", "hook", "hookspec", "integrity_digest", "search_path", "shapes",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Event":  # for those who ask for it: reading a spec makes no events
        from envtool import events

        return events.Event
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


hookspec = pluggy.HookspecMarker("envtool")
hook = pluggy.HookimplMarker("envtool")

T = TypeVar("T")

# ---- what a kind is asked, and its parts ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one kind is asked to make: the rendered options and what they stand on."""

    name: str
    options: Json
    inputs: tuple[InputFile, ...]
    where: Where  # of the layer or base in the spec, for errors
    arch: str  # `uname -m`: "x86_64", "aarch64"
    epoch: int  # SOURCE_DATE_EPOCH of the stack, seconds
    below: tuple[str, ...] = ()  # diff IDs of what it stands on, bottom first
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a part: name -> diff IDs, bottom first
    directory: str = "."  # paths in options are relative to it, it is relative to the project (included specs)
    base_kind: str = ""  # of the stack's base; empty for a base
    base_name: str = ""
    base_pins: Json = None
    variables: Mapping[str, str] = field(default_factory=dict)  # set by the layers below
    unset: tuple[str, ...] = ()  # and taken away by them
    keep: Json = None  # pins of an earlier answer: `resolve` stays as near to them as the question allows
    texts: Mapping[str, str] = field(default_factory=dict)  # see Kind.texts: path as it was asked for -> text


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A layer of a base that is made of several: an image's, or what one instruction of a Dockerfile makes.

    It is a layer like those of the spec, with a kind of its own that asks nothing (`resolve` is not called: put into
    `options` what was settled). Parts are counted from 1 in the order of `Kind.parts`; 0 is the base's own layer. A
    part may only stand on, or look at, what comes before it.
    """

    name: str  # for people, as in "RUN make install"; shown after the base's name
    kind: Kind
    options: Json
    where: Where
    below: tuple[int, ...] = ()  # what its build stands on, bottom first; its key has their diff IDs
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # name -> a stack (bottom first) whose merged
    # tree is shown read-only at BESIDE/<name> while it is built; its key has their diff IDs
    shown: bool = True  # part of the stack of envs; False: needed by others only (another stage)


# ---- what the core offers to `resolve` ---------------------------------------------------------------------------


class Site(Protocol):
    """The outside world as `resolve` may use it. Everything it returns is checked or made in a container."""

    arch: str

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """A regular file of the project, by its path in it, of at most `limit` bytes: what a spec, a lock
        or a file of the project names is read by this alone. Links are followed as long as they stay in the project.
        Raises ResolveError (codes no-file, outside, not-a-file, too-large)."""

    def url(self, path: str) -> str:
        """The file: URL of a file of the project, for `Kind.locate`."""

    def own(self, place: str) -> None:
        """Say that this machine's own configuration (a variable, a file of pip's or apt's) names a directory or file:
        file URLs into it are fetched from then on. Never for what the spec, the pins or a file of the project say: file
        URLs of theirs lead into the project, or to what the caller allows."""

    def variable(self, name: str) -> str | None:
        """A variable of the caller's that a file of the project names; None where there is none. Raises ResolveError
        (code pass-not-allowed) where the caller does not allow it."""

    def tags(self, directory: str = "") -> tuple[str, ...]:
        """Names of the tags of the repository that a directory of the project is in; none outside git."""

    def described(self, directory: str, names: Collection[str]) -> str:
        """Which of these tags `git describe --tags` names for a directory of the project; empty where none of them is
        reachable from what is checked out, and outside git."""

    def get(self, url: str) -> bytes:
        """Fetch a small file whole, following the host's proxies and CA. Raises FetchError."""

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """Fetch exact files in parallel into the store; paths in the order given. Raises FetchError."""

    def learn(self, sealed: Sequence[Sealed]) -> list[Fetch]:
        """Fetch files in parallel into the store, checked while they stream by the hash that is known of each: the same
        as Fetches with sha256, size and the URL that had it, in the order given. Raises FetchError."""

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
        network: bool = False,
    ) -> Completed:
        """Run a command in a throw-away container on the stack below (inputs at PROJECT). With `network` it has
        the host's, with the host's CA bundle and proxy variables. Does not raise on a non-zero status."""

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """Which package of the base's own distribution has a file whose path ends so (`ffi.h`, `bin/cmake`), for hints:
        asked after a failure alone. What cannot be told, for whatever reason, is left out."""

    def seen(self, sha256: str, url: str) -> None:
        """Remember, on this machine only, where `resolve` saw a file whose pin has no URL: `locate` gets it as a hint.
        Without credentials."""

    def keep(self, pieces: Iterable[bytes], *, sha256: str = "") -> Path:
        """Put a file into the store that no URL leads to, such as a member of an archive of the project; its path,
        which ends in its sha256. Raises FetchError (code fetch-hash) where it is not the `sha256` that was given."""

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once for all bases and layers of a run: a client, with its connections and tokens.
        Names begin with that of the kind."""

    def cancelled(self) -> bool:
        """Whether the run is about to end: for what a kind waits for by itself."""

    def note(self, text: str) -> None:
        """Say what is going on ("resolving 12 requirements"): shown as progress."""


class Kind:
    """A kind of base or layer. Subclass it; all methods but `build` have a sensible default.

    Methods are called from several threads at once and must not keep state on self.
    """

    name: ClassVar[str]  # the key in the spec: `apt`, `pip`, `debian` …
    schema: ClassVar[Json]  # JSON Schema (2020-12) of the value under that key, with `description`s for the reference
    # Keys it takes beside its own (`inputs:` beside `run:`): name -> schema. When there are any declared, `options` is
    # always the mapping {name: value, **siblings that were given}.
    siblings: ClassVar[Mapping[str, Json]] = {}
    # JSON Schema of what `resolve` answers (api.shapes has its parts): pins come back from a lock, which anybody may
    # have edited, and no method but `resolve` is given what does not fit.
    pins: ClassVar[Json] = True
    version: ClassVar[int] = 1  # part of every key: raise it when the same pins would be built differently
    needs_only: ClassVar[bool] = False  # True: owns a directory, so it stands on the base and its `needs` alone
    pinned: ClassVar[bool] = True  # False: shown as not pinned (kind `host`)
    of_base: ClassVar[bool] = False  # True: chosen from what the base's pins offer, so only a new base moves the pins

    def inputs(self, options: Json) -> tuple[str, ...]:
        """Paths, directories or globs whose content determines the layer, relative to the spec's own directory
        (the core joins `directory` to them)."""
        return ()

    def optional_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `inputs`, for what may be there: a pattern that matches nothing is no error."""
        return ()

    def named_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `optional_inputs`, for files of which only the name counts: a build sees them empty, and no edit of
        them makes the layer anew."""
        return ()

    def keeps(self, options: Json, path: str) -> bool:
        """Of the files that `inputs` and its kin found, whether one counts; paths as those patterns have them. A
        pattern of which nothing is kept matches nothing."""
        return True

    def follows(self, options: Json, link: str, path: str) -> bool:
        """Of the links among the files that `inputs` and its kin found, whether `path` counts, a file that one leads
        to: then it is an input as well, and the link's hash is that of what it leads to. Paths as in `keeps`. False is
        for a kind that makes links of links, and reads through none."""
        return True

    def texts(self, options: Json) -> tuple[str, ...]:
        """Project files, relative to the spec's own directory, whose text the kind wants to read in pure steps: those
        that are there are in `Request.texts`. They decide by what the kind makes of them: `question` and `material`
        say it."""
        return ()

    def asked_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `optional_inputs`, for what only `resolve` looks at: an edit asks again, and the layer is made anew only
        where the answer is another."""
        return ()

    def judge(self, options: Json) -> None:
        """Tell what is wrong with options that fit the schema, as soon as the spec is read: by looking at them alone.
        Raises FetchError, ResolveError; the spec's own value that the message has in it is pointed at."""

    def check(self, request: Request, site: Site) -> None:
        """Tell what is wrong in the options, or in files of the project that are no inputs, before anything below is
        known. The request has no inputs, and says nothing of what lies below; `site` opens the project's files, and
        refuses all else. Raises ResolveError, SpecError."""

    def foreseen(self, request: Request) -> tuple[Part, ...]:
        """Of a kind with `parts`: those that look at the project, as far as the request of `check` tells them before
        there are pins. Their inputs and secrets are looked at beforehand; they are never built. Raises SpecError."""
        return ()

    def question(self, request: Request) -> Json:
        """All of the request that `resolve`'s answer depends on: while it is the same, the remembered pins hold (the
        core adds the kind, its version, the architecture and what lies below). Default: options and all inputs."""
        return {"options": request.options, "inputs": [[item.path, item.sha256, item.link] for item in request.inputs]}

    def resolve(self, request: Request, site: Site) -> Json:
        """Settle what floats; the answer (JSON) is the pins. Raises ResolveError, FetchError, SpecError."""
        return None

    def fresh(self, request: Request, pins: Json) -> bool:
        """Are remembered pins still right for this request, by looking at this machine alone (no network)?
        The request's own fields are compared by the core; only kinds that pin the host need this."""
        return True

    def watches(self, pins: Json) -> tuple[str, ...]:
        """Host paths (absolute) whose stat must be unchanged for `fresh` to be taken as still true."""
        return ()

    def looked(self, pins: Json) -> Looked | None:
        """Bases only: what they show of this machine as it is, beside what the pins themselves say of it; None for
        those that show nothing."""
        return None

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """The exact files that the build needs. Pins, which end up in a lock that others use, name no mirror or index
        of this machine: leave `url` empty, and say in `locate` where the file is."""
        return ()

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """The same files with `url` (and `mirrors`) as this machine is configured, credentials and all. Called only for
        files that are not in the store, just before they are fetched; a `url` that is there already is what
        `resolve` saw last time. Raises FetchError, ResolveError."""
        return fetches

    def material(self, request: Request, pins: Json) -> Json:
        """What of options and pins determines the result, beside what the core adds to every key itself: kind and
        version, names and hashes of the fetched files, content of the inputs, architecture, epoch, variables and
        diff IDs below. Default: the options. Leave out what cannot matter (a mirror's host name)."""
        return request.options

    def platform(self, pins: Json) -> str:
        """Bases that are not `pinned` only: what of this machine decides what is chosen on it, in words. Choices are
        locked for each platform by itself."""
        return ""

    def parts(self, request: Request, pins: Json) -> tuple[Part, ...]:
        """Bases only: the layers above its own that it is made of, in order. What stands on the base stands on all that
        are `shown`. Pure."""
        return ()

    def image_config(self, request: Request, pins: Json) -> Mapping[str, Json]:
        """Bases only: how an image made of it is to be run: the `config` object of OCI's image specification, config.md
        ("Env", "User", "WorkingDir", "Entrypoint", "Cmd", "Labels" …). `variables` has to say the same of "Env"."""
        return {}

    def image_source(self, request: Request, pins: Json) -> ImageSource | None:
        """Bases only: the image that it is, where it is one."""
        return None

    def original(self, request: Request, pins: Json, site: Site) -> Original | None:
        """Bases only: that image's own documents, for it to be given back as it came. Raises FetchError."""
        return None

    def epoch(self, pins: Json) -> int | None:
        """Bases only: SOURCE_DATE_EPOCH of every stack on it (seconds); None for the default."""
        return None

    def faketime(self, request: Request, pins: Json, site: Site) -> bytes | None:
        """Bases only: the content of a libfaketime.so.1 that fits this base's C library, for `envtool verify` to move
        the clock with; None when the base's archive has none. Raises FetchError."""
        return None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Bases only: the package of their distribution that has a file whose path ends so (`ffi.h`, `bin/cmake`), for
        hints after a failure; what cannot be told is left out. Raises ResolveError, FetchError."""
        return {}

    def hint(self, request: Request, pins: Json, output: str, site: Site) -> str:
        """What to do about a build that failed with this output; empty where nothing is known."""
        return ""

    def variables(self, request: Request, pins: Json) -> Mapping[str, str | None]:
        """Variables for everything that stands on this layer; None takes one away. Lists of places (PATH, GEM_PATH and
        their kin: docs/plugins.md) come *before* the list so far, and before the system's own that they would hide."""
        return {}

    def in_project(self, request: Request, pins: Json) -> Mapping[str, str]:
        """Directories of this layer that are seen inside the project, in its own build and in all that stands on it:
        project-relative path -> absolute path in the container. They cover what the project has there (node_modules).
        For `.` the path is PROJECT: what the layer has there lies over the project, file by file, and covers of its own
        files only the inputs: for what is built among its sources (the recipe shows inputs elsewhere)."""
        return {}

    def generated(self, request: Request, pins: Json) -> Mapping[str, str]:
        """What the build makes and what belongs beside the sources (a version module, an extension module): files, or
        directories with all in them, as project-relative path -> absolute path in the container. All that stands on the
        layer finds copies there, but of what the project has itself, or the build did not make."""
        return {}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Describe how it is made. Pure."""
        raise NotImplementedError(self.name)

    def summary(self, request: Request, pins: Json) -> str:
        """A few words for the progress line: "14 packages"."""
        return ""


# ---- env expansion -----------------------------------------------------------------------------------------------


class Project(Protocol):
    """The project's files, as pure steps may see them: every read is recorded as something the plan depends on. What is
    shown to `envtool_detect` of a directory below has that as `directory`, relative to the checkout's top."""

    def read(self, path: str) -> str | None:
        """Text of a project-relative file, None when there is none (that is recorded too). Raises UsageError where it
        leaves the project, is no regular file, or no text."""

    def read_bytes(self, path: str) -> bytes | None:
        """The same as it lies there, for files that say their encoding themselves."""

    def glob(self, pattern: str) -> list[str]:
        """Project-relative paths, sorted. Git-ignored files are not seen."""

    def around(self, name: str) -> Mapping[str, bytes]:
        """Files of this name that the repository around the project has outside of it, in the directories that the
        project is in and one or two below those: path, which begins with `..`, -> content. To compare with, and to
        name to people, no more: builds and tasks do not see them."""


class Language:
    """What `language: NAME` means: pure expansion of an env into layers."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Json]] = {}  # env keys it adds: name -> JSON Schema with description

    def layers(self, env: EnvDraft, project: Project) -> tuple[LayerDraft, ...]:
        """The layers it adds. Raises SpecError where the project's own files are wrong."""
        raise NotImplementedError(self.name)


# ---- what is in a stack --------------------------------------------------------------------------------------------


class Tree(Protocol):
    """The files of a finished stack, as its containers see them. Nothing of it is ever executed."""

    def find(self, pattern: str) -> list[str]:
        """Absolute paths of regular files that match (`**` for any number of directories), sorted."""

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Content by path, of those that are regular files. Ask for many at once: each call is a process."""


# ---- hooks -------------------------------------------------------------------------------------------------------


@hookspec
def envtool_base_kinds() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Called once, when a spec is read: the kinds of base this plugin adds."""


@hookspec
def envtool_layer_kinds() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Called once, when a spec is read: the kinds of layer this plugin adds."""


@hookspec
def envtool_languages() -> Iterable[Language]:  # type: ignore[empty-body]
    """Called once, when a spec is read: the values of `language:` this plugin knows."""


@hookspec
def envtool_detect(project: Project) -> Iterable[Detection]:  # type: ignore[empty-body]
    """Called by commands that find no spec. Must be fast and must not execute anything of the project."""


@hookspec
def envtool_event(event: Event) -> None:
    """Called for every event of a run, in order, from one thread. Must not block; an exception is shown once."""


@hookspec
def envtool_packages(tree: Tree) -> Iterable[Package]:  # type: ignore[empty-body]
    """Called by `envtool sbom`: what this plugin's ecosystem has installed in a stack, whoever installed it. Must not
    raise for files that are not what they should be: they are a stranger's."""


@hookspec
def envtool_owners(tree: Tree, path: str) -> Iterable[Package]:  # type: ignore[empty-body]
    """Called by `envtool inspect ENV PATH`: the packages of this plugin's ecosystem that say that they brought the
    file `path` (absolute). Must not raise for files that are not what they should be: they are a stranger's."""

"""The whole public plugin API. The built-in kinds and our own plugins use this module and nothing else of envtool.

A plugin is a module (or object) in the entry-point group `envtool` whose functions are marked with `hook`:

    from envtool import api

    @api.hook
    def envtool_layer_kinds() -> list[api.Kind]:
        return [Pip()]

A **kind** builds one sort of base or layer. The kind decides and describes; the core fetches, hashes, builds, captures
and caches. The core calls the methods of a kind in this order; each gets only what the steps before it decided:

    schema      the JSON Schema of the value under the kind's name in the spec
    inputs      the project files that the layer depends on: the core hashes them, and a build sees them at api.PROJECT
    resolve     options -> pins: the only step that may ask the network what is newest. The core remembers the pins and
                writes them to envtool.lock. Pins are JSON; envtool reports a change of items with `name` and `version`
    fetches     pins -> exact files
    locate      where this machine finds files that are not stored: the core fetches them in parallel, checked by hash
    build       pins -> a Recipe: steps that run offline in a container on the stack below

Import only `envtool.api` at the top of a plugin module, and large modules inside methods: every command that reads a
spec loads all plugins.

env_expansion   The layers that a language adds to an env, and keys of plugins
verbs           Verbs of plugins
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, TypeVar

import pluggy

from envtool import pin_schemas as shapes
from envtool.api.env_expansion import Additions, EnvKey, Language, Project
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

    from envtool.api.verbs import Answer, Argument, LayerPins, Option, PinnedProject, PluginVerb, VerbCall
    from envtool.events import (
        BARE,
        LIKELY,
        PROVEN,
        Case,
        Event,
        LineReader,
        OutputReader,
        Report,
        ReportedTask,
        ReportFormat,
        Suite,
    )

__all__ = [
    "BARE", "BESIDE", "BLOBS", "LIKELY", "PROJECT", "PROVEN", "Additions", "Answer", "Archive", "Argument", "Bind",
    "BuildError", "Cache", "Call", "Case", "Command", "Completed", "Detection", "EnvDraft", "EnvKey", "Event",
    "Fetch", "FetchError", "ImageSource", "InputFile", "Json", "Kind", "Language", "LayerDraft", "LayerPins",
    "LineReader", "Looked", "Memory", "Option", "Original", "OutputReader", "Package", "Part", "Peek",
    "PinnedProject", "Place", "PluginVerb", "Problem", "Project", "Recipe", "Report", "ReportFormat", "ReportedTask",
    "Request", "ResolveError", "Run", "Sealed", "Secret", "Shown", "Site", "SpecError", "Step", "Suite", "Text",
    "Tree", "Unpack", "UsageError", "VerbCall", "Where", "find_program", "hook", "hookspec", "integrity_digest",
    "search_path", "shapes",
]  # fmt: skip


_ON_DEMAND = {  # name -> module: a command that only reads a spec does not need these
    "Event": "envtool.events",
    **dict.fromkeys(("BARE", "LIKELY", "PROVEN", "Case", "LineReader", "OutputReader", "Suite"), "envtool.events"),
    **dict.fromkeys(("Report", "ReportFormat", "ReportedTask"), "envtool.events"),
    **dict.fromkeys(
        ("Answer", "Argument", "Option", "LayerPins", "PinnedProject", "PluginVerb", "VerbCall"), "envtool.api.verbs"
    ),
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        from importlib import import_module

        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


hookspec = pluggy.HookspecMarker("envtool")
hook = pluggy.HookimplMarker("envtool")

T = TypeVar("T")

# ---- requests to a kind, and sublayers --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one kind is asked to build: the rendered options and the stack below."""

    name: str
    options: Json
    inputs: tuple[InputFile, ...]
    where: Where  # of the layer or base in the spec, for errors
    arch: str  # `uname -m`: "x86_64", "aarch64"
    epoch: int  # SOURCE_DATE_EPOCH of the stack, seconds
    below: tuple[str, ...] = ()  # diff IDs of the layers below, bottom first
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # see Part.beside: name -> diff IDs
    directory: str = "."  # the directory of the spec file, relative to the project; paths in options are relative to it
    base_kind: str = ""  # of the stack's base; empty for a base
    base_name: str = ""
    base_pins: Json = None
    variables: Mapping[str, str] = field(default_factory=dict)  # variables that the layers below set
    unset: tuple[str, ...] = ()  # names of variables that the layers below remove
    keep: Json = None  # earlier pins: `resolve` changes of them only what the options require
    texts: Mapping[str, str] = field(default_factory=dict)  # see Kind.texts: path as `texts` returned it -> text


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A sublayer: one of the layers of which a base consists, such as a layer of an image or the result of one
    instruction of a Dockerfile.

    A sublayer is built like a layer of the spec and has a kind of its own. The core does not call that kind's
    `resolve`: put the resolved versions and hashes into `options`. Sublayers are counted from 1 in the order of
    `Kind.parts`; 0 is the base's own layer. A sublayer may use only sublayers before it, in `below` and in `beside`.
    """

    name: str  # for people, as in "RUN make install"; displayed after the base's name
    kind: Kind
    options: Json
    where: Where
    below: tuple[int, ...] = ()  # numbers of the sublayers below, bottom first; their diff IDs are in the key
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # name -> a stack (numbers, bottom first) whose
    # merged tree is mounted read-only at BESIDE/<name> during the build; the diff IDs are in the key
    shown: bool = True  # False: not in the stack of envs, only other sublayers need it (another stage)


# ---- what the core offers to `resolve` ---------------------------------------------------------------------------


class Site(Protocol):
    """The only access that `resolve` has to the outside world. The core checks what the methods return, or makes it in
    a container."""

    arch: str

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """Opens a regular file of the project, of at most `limit` bytes. `path` is relative to the project. Read every
        file that the spec, a lock or a file of the project names by this method alone. Follows links that stay in the
        project. Raises ResolveError (codes no-file, outside, not-a-file, too-large)."""

    def url(self, path: str) -> str:
        """Returns the file: URL of a file of the project, for `Kind.locate`."""

    def own(self, place: str) -> None:
        """Permits file: URLs into a directory or file that this machine's own configuration names (a variable, a file
        of pip's or apt's). Never call it for a path that comes from the spec, the pins or a file of the project: their
        file: URLs may lead only into the project, or to paths that the caller allows."""

    def variable(self, name: str) -> str | None:
        """Returns a variable of the caller's environment that a file of the project names, or None if it is not set.
        Raises ResolveError (code pass-not-allowed) if the caller does not allow it."""

    def tags(self, directory: str = "") -> tuple[str, ...]:
        """Returns the names of the tags of the repository that a directory of the project is in; () outside git."""

    def described(self, directory: str, names: Collection[str]) -> str:
        """Returns which of these tags `git describe --tags` names for a directory of the project; "" if none of them is
        reachable from the commit that is checked out, and outside git."""

    def get(self, url: str) -> bytes:
        """Fetches a whole small file, by the host's proxies and certificate authorities. Raises FetchError."""

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """Fetches exact files in parallel into the store. Returns their paths in the same order. Raises FetchError."""

    def learn(self, sealed: Sequence[Sealed]) -> list[Fetch]:
        """Fetches files in parallel into the store; checks each by its known hash while it streams. Returns for each,
        in the same order, a Fetch with its sha256, its size and the URL that had the file. Raises FetchError."""

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
        network: bool = False,
    ) -> Completed:
        """Runs a command in a throw-away container on the stack below, with the inputs at PROJECT. With `network` the
        container has the host's network, CA bundle and proxy variables. A non-zero exit status raises nothing."""

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """Returns, for each end of a path (`ffi.h`, `bin/cmake`), the package of the base's own distribution that has a
        file with such a path; ends without a known package are left out. For hints: call it after a failure only."""

    def seen(self, sha256: str, url: str) -> None:
        """Remembers, on this machine only, the URL of a file whose pin has none: `locate` gets it as a hint. `url` must
        have no credentials."""

    def keep(self, pieces: Iterable[bytes], *, sha256: str = "") -> Path:
        """Puts a file that has no URL into the store, such as a member of an archive of the project. Returns its path,
        which ends in its sha256. Raises FetchError (code fetch-hash) if `sha256` is set and the file has another."""

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """Returns the result of `make`, which is called once for all bases and layers of a run. For a client, say, with
        its connections and tokens. `name` must begin with the name of the kind."""

    def cancelled(self) -> bool:
        """Returns whether the run is about to end. A kind that waits for something itself asks this now and then."""

    def note(self, text: str) -> None:
        """Displays `text` as progress ("resolving 12 requirements")."""


class Kind:
    """A kind of base or layer. Subclass it; every method but `build` has a default.

    Several threads call the methods at the same time: a kind must keep no state on self.
    """

    name: ClassVar[str]  # the key in the spec: `apt`, `pip`, `debian` …
    schema: ClassVar[Json]  # JSON Schema (2020-12) of the value under that key, with `description`s for the reference
    # Further keys that an entry may have beside the kind's own (`inputs:` beside `run:`): name -> schema. If a kind
    # declares any, `options` is always a mapping: {name: value, **the siblings that are in the spec}.
    siblings: ClassVar[Mapping[str, Json]] = {}
    # JSON Schema of the pins that `resolve` returns (build it from api.shapes). Pins are read back from a lock, which
    # anybody may have edited: methods other than `resolve` never get pins that do not fit this schema.
    pins: ClassVar[Json] = True
    version: ClassVar[int] = 1  # part of every key: raise it if the same pins would now be built differently
    needs_only: ClassVar[bool] = (
        False  # True: it has a directory of its own, so only the base and its `needs` are below it
    )
    pinned: ClassVar[bool] = True  # False: envtool reports the base as not pinned (kind `host`)
    of_base: ClassVar[bool] = False  # True: `resolve` chooses from the base's pins, so only a new base changes its own

    def inputs(self, options: Json) -> tuple[str, ...]:
        """Returns paths, directories or globs whose content determines the layer, relative to the directory of the spec
        file (the core joins `directory` to them)."""
        return ()

    def optional_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `inputs`, for files that may be missing: a pattern that matches nothing is no error."""
        return ()

    def named_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `optional_inputs`, for files of which only the name counts: a build sees them empty, and an edit does
        not rebuild the layer."""
        return ()

    def keeps(self, options: Json, path: str) -> bool:
        """Returns whether a file that a pattern of `inputs` or of a method like it matches is an input. `path` is
        relative as the patterns are. A pattern none of whose files is an input matches nothing."""
        return True

    def follows(self, options: Json, link: str, path: str) -> bool:
        """Returns whether a file that a symlink among the inputs leads to is an input as well. If so, the link is
        hashed by the content of that file. `link` and `path` (the file) are relative as in `keeps`. Return False if the
        kind copies symlinks as symlinks and never reads through them."""
        return True

    def texts(self, options: Json) -> tuple[str, ...]:
        """Returns project files, relative to the directory of the spec file, whose text the pure methods need.
        `Request.texts` has the text of those that exist. The text itself is in no key: let `question` and `material`
        return whatever the kind takes from it."""
        return ()

    def asked_inputs(self, options: Json) -> tuple[str, ...]:
        """Like `optional_inputs`, for files that only `resolve` reads: after an edit the core calls `resolve` again,
        and rebuilds the layer only if the pins differ."""
        return ()

    def judge(self, options: Json) -> None:
        """Checks options that fit the schema, looking at nothing else; called as soon as the spec is read. Raises
        FetchError, ResolveError: envtool points at the value in the spec that the message quotes."""

    def check(self, request: Request, site: Site) -> None:
        """Checks the options, and project files that are no inputs, before any layer below is resolved. The request has
        no inputs and nothing about the layers below; `site` opens files of the project and refuses everything else.
        Raises ResolveError, SpecError."""

    def foreseen(self, request: Request) -> tuple[Part, ...]:
        """For kinds with `parts`: returns the sublayers that read the project, as far as they are known before there
        are pins. `request` is as in `check`. The core checks their inputs and secrets early and never builds them.
        Raises SpecError."""
        return ()

    def question(self, request: Request) -> Json:
        """Returns everything in the request that decides the pins: as long as it is equal, remembered pins are used.
        The core adds the kind, its version, the architecture and the layers below. Default: the options and all
        inputs."""
        return {"options": request.options, "inputs": [[item.path, item.sha256, item.link] for item in request.inputs]}

    def resolve(self, request: Request, site: Site) -> Json:
        """Returns the pins (JSON): the exact versions, hashes and sizes for these options. Raises ResolveError,
        FetchError, SpecError."""
        return None

    def fresh(self, request: Request, pins: Json) -> bool:
        """Returns whether remembered pins still hold on this machine, without using the network. The core compares the
        fields of the request itself; only kinds that pin the host need this method."""
        return True

    def watches(self, pins: Json) -> tuple[str, ...]:
        """Returns absolute host paths. As long as the stat of each is unchanged, `fresh` is not called again."""
        return ()

    def looked(self, pins: Json) -> Looked | None:
        """Bases only: returns the files of this machine that containers on the base see and the pins do not cover, with
        their state; None if there are none."""
        return None

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Returns the exact files that the build needs. Pins go into a lock that other people use, so they name no
        mirror or index of this machine: leave `url` empty, and let `locate` fill it in."""
        return ()

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Returns the same files with `url` (and `mirrors`) by this machine's configuration, credentials included.
        Called only for files that are not in the store, just before they are fetched. A `url` that is set already is
        the one that `resolve` passed to `Site.seen`. Raises FetchError, ResolveError."""
        return fetches

    def material(self, request: Request, pins: Json) -> Json:
        """Returns what the kind adds to the key: all of options and pins that determines the layer. The core adds the
        kind and its version, names and hashes of the fetched files, the content of the inputs, the architecture, the
        epoch, and the variables and diff IDs below. Default: the options. Leave out what cannot change the layer (a
        mirror's host name)."""
        return request.options

    def platform(self, pins: Json) -> str:
        """For bases that are not `pinned`: returns a description of all on this machine that decides how layers on the
        base resolve. The lock keeps the pins of each platform separately."""
        return ""

    def parts(self, request: Request, pins: Json) -> tuple[Part, ...]:
        """Bases only: returns the sublayers above the base's own layer, in order. Layers on the base stand on all
        sublayers that are `shown`. Pure."""
        return ()

    def image_config(self, request: Request, pins: Json) -> Mapping[str, Json]:
        """Bases only: returns how to run an image of this base: the `config` object of the OCI image specification,
        config.md ("Env", "User", "WorkingDir", "Entrypoint", "Cmd", "Labels" …). `variables` must agree with "Env"."""
        return {}

    def image_source(self, request: Request, pins: Json) -> ImageSource | None:
        """Bases only: returns which image the base is, or None if it is not an image."""
        return None

    def original(self, request: Request, pins: Json, site: Site) -> Original | None:
        """Bases only: returns the image's own documents, with which envtool exports it unchanged. Raises FetchError."""
        return None

    def epoch(self, pins: Json) -> int | None:
        """Bases only: returns SOURCE_DATE_EPOCH of every stack on the base, in seconds; None for the default."""
        return None

    def faketime(self, request: Request, pins: Json, site: Site) -> bytes | None:
        """Bases only: returns the content of a libfaketime.so.1 for this base's C library, with which `envtool verify`
        changes the clock; None if the base's archive has none. Raises FetchError."""
        return None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Bases only: returns, for each end of a path (`ffi.h`, `bin/cmake`), the package of the base's distribution
        that has a file with such a path; ends without a known package are left out. For hints after a failure. Raises
        ResolveError, FetchError."""
        return {}

    def hint(self, request: Request, pins: Json, output: str, site: Site) -> str:
        """Returns what the user should do about a build that failed with this output; "" if the kind does not know."""
        return ""

    def variables(self, request: Request, pins: Json) -> Mapping[str, str | None]:
        """Returns variables for everything above this layer; None removes a variable. Lists of directories (PATH,
        GEM_PATH and the like: docs/plugins.md) are put *before* the list so far, and before the system's own list where
        setting the variable would replace that."""
        return {}

    def in_project(self, request: Request, pins: Json) -> Mapping[str, str]:
        """Returns directories of this layer that appear inside the project, in the layer's own build and in everything
        above it: project-relative path -> absolute path in the container. Such a directory hides what the project has
        at that path (node_modules). For `.` the path must be PROJECT: the layer's files there are laid over the
        project, file by file, and hide only files of the project that are inputs. Use that for a build among the
        sources; its recipe mounts the inputs elsewhere."""
        return {}

    def generated(self, request: Request, pins: Json) -> Mapping[str, str]:
        """Returns files that the build makes and that belong beside the sources (a version module, an extension
        module), or directories with everything in them: project-relative path -> absolute path in the container.
        Everything above the layer sees copies of them in the project, except where the project has a file of that path
        or the build did not make it."""
        return {}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Returns the recipe of the base or layer. Pure."""
        raise NotImplementedError(self.name)

    def summary(self, request: Request, pins: Json) -> str:
        """Returns a few words for the progress line: "14 packages"."""
        return ""


# ---- files of a stack ----------------------------------------------------------------------------------------------


class Tree(Protocol):
    """The files of a finished stack, as its containers see them. envtool executes none of them."""

    def find(self, pattern: str) -> list[str]:
        """Returns the absolute paths of regular files that match, sorted. `**` stands for any number of directories."""

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Returns path -> content of those paths that are regular files. Pass many at once: each call starts a
        process."""


# ---- hooks -------------------------------------------------------------------------------------------------------


@hookspec
def envtool_base_kinds() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Returns the kinds of base that this plugin adds. Called once, when a spec is read."""


@hookspec
def envtool_layer_kinds() -> Iterable[Kind]:  # type: ignore[empty-body]
    """Returns the kinds of layer that this plugin adds. Called once, when a spec is read."""


@hookspec
def envtool_languages() -> Iterable[Language]:  # type: ignore[empty-body]
    """Returns the values of `language:` that this plugin adds. Called once, when a spec is read."""


@hookspec
def envtool_detect(project: Project) -> Iterable[Detection]:  # type: ignore[empty-body]
    """Returns guesses at envs for a project without a spec. Called by commands that find no spec. Must be fast and must
    not execute anything of the project."""


@hookspec
def envtool_event(event: Event) -> None:
    """Called for every event of a run, in order, from one thread. Must not block. envtool reports an exception once."""


@hookspec
def envtool_packages(tree: Tree) -> Iterable[Package]:  # type: ignore[empty-body]
    """Returns all packages of this plugin's ecosystem that are installed in a stack, however they were installed.
    Called by `envtool sbom`. Must not raise for malformed files: they come from strangers."""


@hookspec
def envtool_owners(tree: Tree, path: str) -> Iterable[Package]:  # type: ignore[empty-body]
    """Returns the packages of this plugin's ecosystem that list the file `path` (absolute) as theirs. Called by
    `envtool inspect ENV PATH`. Must not raise for malformed files: they come from strangers."""


@hookspec
def envtool_output_readers() -> Iterable[OutputReader]:  # type: ignore[empty-body]
    """Returns readers of what test runners print: they count tests, and name those that did not pass. Called once in a
    run of tasks, before the first of them starts."""


@hookspec
def envtool_report_formats() -> Iterable[ReportFormat]:  # type: ignore[empty-body]
    """Returns formats in which `--report NAME=FILE` writes how the tasks of a run ended. Called before the run."""


@hookspec
def envtool_verbs() -> Iterable[PluginVerb]:  # type: ignore[empty-body]
    """Returns verbs. This hook is for modules in the entry-point group `envtool.verbs`, where each name is a verb: so
    `envtool --help` lists them without importing a plugin. Called only when one of these verbs is called."""


@hookspec
def envtool_env_keys() -> Iterable[EnvKey]:  # type: ignore[empty-body]
    """Returns keys that this plugin adds to envs. Called once, when a spec is read."""

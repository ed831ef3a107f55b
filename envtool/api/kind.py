"""Kinds of layers and bases, and what they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from envtool.api import pin_schemas
from envtool.api.site_protocol import Site
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Input, InputFile, Json, Looked, Where

if TYPE_CHECKING:
    from envtool.api.toolchains import ToolchainSource
    from envtool.recipe import Fetch, ImageSource, Original, Recipe

TOOLCHAINS = "/opt/toolchains"  # has a directory for each toolchain of an env


def archive_package(file: str) -> tuple[str, str]:
    """Returns ("zlib", "1.3") for `zlib-1.3.tar.gz` or `zlib-1.3.zip`; (the file's name, "") for other names."""
    import re

    match = re.fullmatch(r"(.+?)-v?(\d[^-]*(?:-\d[^-]*)*.*)\.(?:tar(?:\.[a-z0-9]+)?|t[a-z]+2?|[a-z]{3,5})", file)
    return (match[1], match[2]) if match else (file, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInLayer:
    """A base or layer below, in both of its forms: `pins` are those for the other architecture, `own_pins` those of
    this machine."""

    kind: str
    pins: Json
    own_pins: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """The stack of this machine, which stands in for that of another architecture while `lock --platform` resolves.
    Containers of `Site.run` have it, so programs in them run; what they say of their architecture is this machine's."""

    arch: str  # of this machine, as in `uname -m`
    layers: tuple[StandInLayer, ...]  # all that is below, bottom first


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
    texts: Mapping[str, str] = field(default_factory=dict)  # pattern of an Input for "text" -> the text of the file
    stand_in: StandIn | None = None  # see `Kind.stands_in`; None in every build, and for this machine's architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A sublayer: one of the layers of which a base consists, such as a layer of an image or the result of one
    instruction of a Dockerfile.

    A sublayer is built like a layer of the spec and has a kind of its own. The core does not call that kind's
    `resolve`: put the resolved versions and hashes into `options`. Sublayers are counted from 1 in the order of
    `Base.parts`; 0 is the base's own layer. A sublayer may use only sublayers before it, in `below` and in `beside`.
    """

    name: str  # for people, as in "RUN make install"; displayed after the base's name
    kind: Kind
    options: Json
    where: Where
    below: tuple[int, ...] = ()  # numbers of the sublayers below, bottom first; their diff IDs are in the key
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # name -> a stack (numbers, bottom first) whose
    # merged tree is mounted read-only at BESIDE/<name> during the build; the diff IDs are in the key
    shown: bool = True  # False: not in the stack of envs, only other sublayers need it (another stage)


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
    # True: `resolve` chooses for `request.arch` also where `request.stand_in` is set, which is where that is not this
    # machine's. `request.keep` then has this machine's own pins. False: such a `resolve` has no `Site.run`.
    stands_in: ClassVar[bool] = False
    of_base: ClassVar[bool] = False  # True: `resolve` chooses from the base's pins, so only a new base changes its own

    def inputs(self, options: Json) -> Iterable[Input]:
        """Returns the project's files that the layer depends on."""
        return ()

    def judge(self, options: Json) -> None:
        """Checks options that fit the schema, looking at nothing else; called as soon as the spec is read. Raises
        FetchError, ResolveError: envtool points at the value in the spec that the message quotes."""

    def check(self, request: Request, site: Site) -> None:
        """Checks the options, and project files that are no inputs, before any layer below is resolved. The request has
        no inputs and nothing about the layers below; `site` opens files of the project and refuses everything else.
        Raises ResolveError, SpecError."""

    def question(self, request: Request) -> Json:
        """Returns everything in the request that decides the pins: as long as it is equal, remembered pins are used.
        The core adds the kind, its version, the architecture and the layers below. Default: the options and all
        inputs."""
        return {"options": request.options, "inputs": [[item.path, item.sha256, item.link] for item in request.inputs]}

    def resolve(self, request: Request, site: Site) -> Json:
        """Returns the pins (JSON): the exact versions, hashes and sizes for these options. Raises ResolveError,
        FetchError, SpecError."""
        return None

    def package(self, file: str) -> tuple[str, str]:
        """Returns name and version of the package in a fetched file, by the file's name: "attrs", "25.3.0". Without a
        version in it, returns the whole file name and "". `envtool why` names pins so, also those of old layers, of
        which only the files' names are known. Default: as in `zlib-1.3.tar.gz`."""
        return archive_package(file)

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


class Base(Kind):
    """A kind of base: a whole tree, on which layers stand. It has no layers below."""

    pinned: ClassVar[bool] = True  # False: it is a tree of this machine, and envtool reports it as not pinned

    def foreseen(self, request: Request) -> tuple[Part, ...]:
        """For kinds with `parts`: returns the sublayers that read the project, as far as they are known before there
        are pins. `request` is as in `check`. The core checks their inputs and secrets early and never builds them.
        Raises SpecError."""
        return ()

    def fresh(self, request: Request, pins: Json) -> bool:
        """Returns whether remembered pins still hold on this machine, without using the network. The core compares the
        fields of the request itself; only kinds that pin the host need this method."""
        return True

    def watches(self, pins: Json) -> tuple[str, ...]:
        """Returns absolute host paths. As long as the stat of each is unchanged, `fresh` is not called again."""
        return ()

    def looked(self, pins: Json) -> Looked | None:
        """Returns the files of this machine that containers on the base see and the pins do not cover, with
        their state; None if there are none."""
        return None

    def platform(self, pins: Json) -> str:
        """For kinds that are not `pinned`: returns a description of all on this machine that decides how layers on the
        base resolve. The lock keeps the pins of each platform separately."""
        return ""

    def parts(self, request: Request, pins: Json) -> tuple[Part, ...]:
        """Returns the sublayers above the base's own layer, in order. Layers on the base stand on all
        sublayers that are `shown`. Pure."""
        return ()

    def image_config(self, request: Request, pins: Json) -> Mapping[str, Json]:
        """Returns how to run an image of this base: the `config` object of the OCI image specification,
        config.md ("Env", "User", "WorkingDir", "Entrypoint", "Cmd", "Labels" …). `variables` must agree with "Env"."""
        return {}

    def image_source(self, request: Request, pins: Json) -> ImageSource | None:
        """Returns which image the base is, or None if it is not an image."""
        return None

    def original(self, request: Request, pins: Json, site: Site) -> Original | None:
        """Returns the image's own documents, with which envtool exports it unchanged. Raises FetchError."""
        return None

    def epoch(self, pins: Json) -> int | None:
        """Returns SOURCE_DATE_EPOCH of every stack on the base, in seconds; None for the default."""
        return None

    def faketime(self, request: Request, pins: Json, site: Site) -> bytes | None:
        """Returns the content of a libfaketime.so.1 for this base's C library, with which `envtool verify`
        changes the clock; None if the base's archive has none. Raises FetchError."""
        return None

    def packages_with(self, request: Request, pins: Json, ends: Sequence[str], site: Site) -> Mapping[str, str]:
        """Returns, for each end of a path (`ffi.h`, `bin/cmake`), the package of the base's distribution
        that has a file with such a path; ends without a known package are left out. For hints after a failure. Raises
        ResolveError, FetchError."""
        return {}


_TOOLCHAIN_OPTIONS: dict[str, Json] = {
    "version": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "its version, or the first numbers of it: the newest such version is taken and locked",
    },
    "origin": {"type": "string", "description": "the file of the project that names the version"},
}
_TOOLCHAIN_SCHEMA: dict[str, Json] = {
    "description": "What `toolchain:` adds to an env: one toolchain, pinned by hash.",
    "examples": [{"version": "1.2"}],
    "type": "object",
    "additionalProperties": False,
    "required": ["version"],
    "properties": _TOOLCHAIN_OPTIONS,
}


class ToolchainKind(Kind):
    """A toolchain in a directory of its own. Subclass it with `tool`, `title`, `sources` and `strip`; the schema of the
    options and the pins are the same for all.

    Pins are {"source": name of the source, "archives": [{"name", "version", "path", "file", "sha256", "size"}]}. They
    name no registry or proxy.
    """

    tool: ClassVar[str]  # its name in `toolchain:`
    title: ClassVar[str]  # for people: "Node.js"
    elsewhere: ClassVar[str] = ""  # for people, where nothing can be had: where else versions are
    needs_only: ClassVar[bool] = True
    stands_in: ClassVar[bool] = True  # a source is asked for `site.arch`; this machine's version is kept
    schema: ClassVar[Json] = _TOOLCHAIN_SCHEMA
    pins: ClassVar[Json] = pin_schemas.record(
        {
            "source": pin_schemas.TEXT,
            "archives": pin_schemas.rows(
                pin_schemas.record(
                    {
                        "name": pin_schemas.TEXT,
                        "version": pin_schemas.TEXT,
                        "path": pin_schemas.PATH,
                        "file": pin_schemas.FILE,
                        "sha256": pin_schemas.SHA256,
                        "size": pin_schemas.SIZE,
                    }
                )
            ),
        }
    )

    def sources(self) -> Sequence[ToolchainSource]:
        """Returns the sources, the best first."""
        raise NotImplementedError(self.name)

    def sources_for(self, request: Request) -> Sequence[ToolchainSource]:
        """Returns the sources for one request: those that depend on the version, the earlier pins or the mirror in it.
        Default: `sources`."""
        return self.sources()

    def accepts(self, wanted: str, version: str) -> bool:
        """Returns whether a version is one that the options want. Default: it is the same, or begins with the wanted
        numbers, and is no pre-release."""
        return version == wanted or (version.startswith(f"{wanted}.") and version.replace(".", "").isdigit())

    def strip(self, row: Mapping[str, Json]) -> int:
        """Returns how many leading directories of an archive are left out."""
        return 1

    def target(self, row: Mapping[str, Json]) -> str:
        """Returns the directory that an archive is unpacked into."""
        return self.directory

    @property
    def directory(self) -> str:
        """The directory of the toolchain."""
        return f"{TOOLCHAINS}/{self.tool}"

    def question(self, request: Request) -> Json:
        """The version alone: which file names it changes no pins."""
        return {"version": toolchain_options(request)[0]}

    def resolve(self, request: Request, site: Site) -> Json:
        """Returns the archives of the newest version that fits, in the first source that has one. An earlier pin that
        fits is kept. Raises ResolveError, FetchError."""
        from envtool.api.env_expansion import Decision
        from envtool.api.toolchains import resolve_toolchain

        wanted, origin = toolchain_options(request)
        decision = Decision(wanted=wanted, origin=origin)
        sources = self.sources_for(request)
        return resolve_toolchain(self.title, sources, self.accepts, decision, request.keep, site, self.elsewhere)

    def package(self, file: str) -> tuple[str, str]:
        """See api.Kind."""
        import re

        match = re.fullmatch(r"(.+?)-(\d[\w.-]*?)\.(?:tgz|tar\.\w+|zip|whl)", file)
        return (match[1], match[2]) if match else (file, "")

    def fetches(self, request: Request, pins: Json) -> tuple[Fetch, ...]:
        """Every archive."""
        from envtool.recipe import Fetch

        return tuple(Fetch(sha256=row["sha256"], name=row["file"], size=row["size"]) for row in rows_of(pins))

    def locate(self, request: Request, pins: Json, fetches: Sequence[Fetch], site: Site) -> Sequence[Fetch]:
        """Finds the archives in the source that the pins name."""
        from envtool.api.toolchains import locate_archives

        return locate_archives(self.title, self.tool, self.sources_for(request), pins, fetches, site)

    def material(self, request: Request, pins: Json) -> Json:
        """Where each archive goes; their hashes are in every key."""
        return [[row["file"], self.target(row), self.strip(row)] for row in rows_of(pins)]

    def variables(self, request: Request, pins: Json) -> Mapping[str, str | None]:
        """Puts the toolchain's programs first."""
        return {"PATH": f"{self.directory}/bin"}

    def build(self, request: Request, pins: Json) -> Recipe:
        """Unpacks the archives. Nothing of them runs."""
        from envtool.recipe import Recipe, Unpack

        return Recipe(
            steps=tuple(
                Unpack(name=str(row["file"]), target=self.target(row), strip=self.strip(row)) for row in rows_of(pins)
            ),
            phase="unpacking",
        )

    def summary(self, request: Request, pins: Json) -> str:
        """As in `22.12.0 from npm (.nvmrc)`."""
        assert isinstance(pins, dict)
        origin = toolchain_options(request)[1]
        return f"{rows_of(pins)[0]['version']} from {pins['source']}{f' ({origin})' if origin else ''}"


class MirroredToolchainKind(ToolchainKind):
    """A toolchain that this machine or the spec names a server for. The server's URL is in no pin and no key."""

    schema: ClassVar[Json] = {
        **_TOOLCHAIN_SCHEMA,
        "properties": {
            **_TOOLCHAIN_OPTIONS,
            "mirror": {**pin_schemas.WEB, "description": "the server that is asked before those of this machine"},
        },
    }

    def mirror(self, request: Request) -> str:
        """Returns the server that the spec names, without a slash at its end, or ""."""
        options: Any = request.options
        return str(options.get("mirror", "")).rstrip("/")

    def wanted(self, request: Request) -> str:
        """Returns the version that the options want."""
        return toolchain_options(request)[0]

    def earlier(self, request: Request) -> str:
        """Returns the version of the earlier pins if it still fits, or ""."""
        from envtool.api.toolchains import earlier_version

        version = earlier_version(request.keep)
        return version if version and self.accepts(self.wanted(request), version) else ""


def rows_of(pins: Json) -> list[dict[str, Any]]:
    """Returns the archives in pins."""
    assert isinstance(pins, dict)
    rows: Any = pins["archives"]
    return [*rows]


def toolchain_options(request: Request) -> tuple[str, str]:
    """Returns the version that the options of a toolchain want, and the file that names it, or ""."""
    options: Any = request.options
    return str(options.get("version", "")), str(options.get("origin", ""))

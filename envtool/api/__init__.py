"""The whole public plugin API. The built-in kinds and our own plugins use this module and nothing else of envtool.
Its names are those of this module; they are written in

kind            Kinds of layers and bases, and what the core asks them
site_protocol   What a kind may ask of the world outside the project

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
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pluggy

from envtool import pin_schemas as shapes
from envtool.api.kind import Base, Kind, Part, Request
from envtool.api.site_protocol import Site
from envtool.errors import BuildError, FetchError, Problem, ResolveError, SpecError, UsageError
from envtool.model import Command, Detection, EnvDraft, Input, InputFile, Json, LayerDraft, Looked, Package, Where
from envtool.net.integrity import integrity_digest
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
    from envtool.events import Event

__all__ = [
    "BESIDE", "BLOBS", "PROJECT", "Archive", "Base", "Bind", "BuildError", "Cache", "Call", "Command", "Completed",
    "Detection", "EnvDraft", "Event", "Fetch", "FetchError", "ImageSource", "Input", "InputFile", "Json", "Kind",
    "Language", "LayerDraft", "Looked", "Memory", "Original", "Package", "Part", "Peek", "Place", "Problem", "Project",
    "Recipe", "Request", "ResolveError", "Run", "Sealed", "Secret", "Shown", "Site", "SpecError", "Step", "Text",
    "Tree", "Unpack", "UsageError", "Where", "find_program", "hook", "hookspec", "integrity_digest", "search_path",
    "shapes",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Event":  # imported on demand: a command that only reads a spec needs no events
        from envtool import events

        return events.Event
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


hookspec = pluggy.HookspecMarker("envtool")
hook = pluggy.HookimplMarker("envtool")

# ---- env expansion -----------------------------------------------------------------------------------------------


class Project(Protocol):
    """The project's files, for pure methods and hooks: envtool records every read, and the plan depends on it. If
    `envtool_detect` is called for a subdirectory, the object has its path as `directory`, relative to the top of the
    checkout."""

    def read(self, path: str) -> str | None:
        """Returns the text of a project-relative file, or None if there is none (this is recorded too). Raises
        UsageError if the path leads out of the project, or is not a regular file, or not text."""

    def read_bytes(self, path: str) -> bytes | None:
        """Like `read`, but returns the bytes, for files that declare their own encoding."""

    def glob(self, pattern: str) -> list[str]:
        """Returns project-relative paths, sorted, without files that git ignores."""

    def around(self, name: str) -> Mapping[str, bytes]:
        """Returns the files of this name in the repository around the project, outside of the project: in each
        directory above the project, and one or two levels below each. Path, which begins with `..`, -> content. Only
        for comparing and for messages: builds and tasks do not see these files."""


class Language:
    """A value of `language:` in the spec: it adds layers to an env. Pure."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Json]] = {}  # keys that it adds to an env: name -> JSON Schema with description

    def layers(self, env: EnvDraft, project: Project) -> tuple[LayerDraft, ...]:
        """Returns the layers to add. Raises SpecError if the project's own files are wrong."""
        raise NotImplementedError(self.name)


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

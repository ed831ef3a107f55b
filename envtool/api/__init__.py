"""The whole public plugin API. The built-in kinds and our own plugins use this module and nothing else of envtool.
Its names are those of this module; they are written in

env_expansion   What plugins add to a spec: the layers of a language, keys of envs, toolchains, kinds of services
kind            Kinds of layers and bases, and what the core asks them
pin_schemas     JSON Schemas for the parts of pins; `api.shapes`
reporting       Readers of what test runners print, formats of reports, and tasks that failed
service_draft   What a kind of service gets and returns
site_protocol   What a kind may ask of the world outside the project
verbs           Verbs of plugins

What few kinds need is in modules of its own, which are imported by their names:

toolchains      where toolchains come from
version_choice  which file of a project decides the version of a toolchain
untrusted_text  numbers, sizes and patterns that strangers wrote
toml_reader     TOML that strangers wrote
foreign_tree    paths and users of a tree that strangers made
pip_indexes     how this machine's pip is configured, and the files on the pages of package indexes
oci_images      names, documents and layouts of images; registries

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

A plugin says which version of the API it is written for: `envtool_api = 1` in its module. If this envtool has another,
it refuses the plugin with an error. docs/api-changelog.md has the changes of each version.

Import only `envtool.api` at the top of a plugin module, and large modules inside methods: every command that reads a
spec loads all plugins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from envtool.api import pin_schemas as shapes
from envtool.api.env_expansion import (
    SHARED_VERSION_FILES,
    Additions,
    Decision,
    EnvKey,
    Language,
    Project,
    ServiceKind,
    Toolchain,
    WantedVersion,
)
from envtool.api.kind import (
    TOOLCHAINS,
    Base,
    Kind,
    MirroredToolchainKind,
    Part,
    Request,
    StandIn,
    StandInLayer,
    ToolchainKind,
)
from envtool.api.site_protocol import Site
from envtool.errors import BuildError, FetchError, Problem, ResolveError, SpecError, UsageError
from envtool.model import (
    BESIDE,
    BLOBS,
    PROJECT,
    Command,
    Detection,
    EnvDraft,
    Input,
    InputFile,
    Json,
    LayerDraft,
    Looked,
    Package,
    Where,
)
from envtool.net.integrity import integrity_digest
from envtool.project.programs import find_program, search_path

if TYPE_CHECKING:
    from envtool.api.reporting import BARE, LIKELY, PROVEN, FailedTask, LineReader, OutputReader, ReportFormat, Suite
    from envtool.api.service_draft import ReadyDraft, ServiceDeclaration, ServiceDraft
    from envtool.api.verbs import Answer, Argument, LayerPins, Option, PinnedProject, PluginVerb, VerbCall
    from envtool.distributions import install_command
    from envtool.events import Case, Event, Report, ReportedTask
    from envtool.recipe import (
        Archive,
        ArchiveMember,
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

__all__ = [
    "API_VERSION",
    "BARE",
    "BESIDE",
    "BLOBS",
    "LIKELY",
    "PROJECT",
    "PROVEN",
    "SHARED_VERSION_FILES",
    "TOOLCHAINS",
    "Additions",
    "Answer",
    "Archive",
    "ArchiveMember",
    "Argument",
    "Base",
    "Bind",
    "BuildError",
    "Cache",
    "Call",
    "Case",
    "Command",
    "Completed",
    "Decision",
    "Detection",
    "EnvDraft",
    "EnvKey",
    "Event",
    "FailedTask",
    "Fetch",
    "FetchError",
    "ImageSource",
    "Input",
    "InputFile",
    "Json",
    "Kind",
    "Language",
    "LayerDraft",
    "LayerPins",
    "LineReader",
    "Looked",
    "Memory",
    "MirroredToolchainKind",
    "Option",
    "Original",
    "OutputReader",
    "Package",
    "Part",
    "Peek",
    "PinnedProject",
    "Place",
    "PluginVerb",
    "Problem",
    "Project",
    "ReadyDraft",
    "Recipe",
    "Report",
    "ReportFormat",
    "ReportedTask",
    "Request",
    "ResolveError",
    "Run",
    "Sealed",
    "Secret",
    "ServiceDeclaration",
    "ServiceDraft",
    "ServiceKind",
    "Shown",
    "Site",
    "SpecError",
    "StandIn",
    "StandInLayer",
    "Step",
    "Suite",
    "Text",
    "Toolchain",
    "ToolchainKind",
    "Tree",
    "Unpack",
    "UsageError",
    "VerbCall",
    "WantedVersion",
    "Where",
    "find_program",
    "hook",
    "hookspec",
    "install_command",
    "integrity_digest",
    "search_path",
    "shapes",
]  # fmt: skip

API_VERSION = 1  # raised by each change that plugins have to follow: docs/api-changelog.md

_ON_DEMAND = {  # name -> module: a command that only reads a spec does not need these
    "install_command": "envtool.distributions",
    **dict.fromkeys(("Case", "Event", "Report", "ReportedTask"), "envtool.events"),
    **dict.fromkeys((
        "Archive", "ArchiveMember", "Bind", "Cache", "Call", "Completed", "Fetch", "ImageSource", "Memory", "Original",
        "Peek", "Place", "Recipe", "Run", "Sealed", "Secret", "Shown", "Step", "Text", "Unpack",
    ), "envtool.recipe"),
    **dict.fromkeys(
        ("BARE", "LIKELY", "PROVEN", "FailedTask", "LineReader", "OutputReader", "ReportFormat", "Suite"),
        "envtool.api.reporting",
    ),
    **dict.fromkeys(("ReadyDraft", "ServiceDeclaration", "ServiceDraft"), "envtool.api.service_draft"),
    **dict.fromkeys(
        ("Answer", "Argument", "Option", "LayerPins", "PinnedProject", "PluginVerb", "VerbCall"), "envtool.api.verbs"
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_ON_DEMAND[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


hookspec = pluggy.HookspecMarker("envtool")
hook = pluggy.HookimplMarker("envtool")

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
def envtool_failure_hint(failure: FailedTask) -> str:  # type: ignore[empty-body]
    """Returns what the user should do about a task that failed with this output; "" if the plugin does not know.
    Called if envtool itself has no hint; the first plugin's that is not empty is printed below the failure."""


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


@hookspec
def envtool_toolchains() -> Iterable[Toolchain]:  # type: ignore[empty-body]
    """Returns the names that this plugin adds to `toolchain:` of envs. Called once, when a spec is read. Their kinds,
    ToolchainKinds, are those of `envtool_layer_kinds`."""


@hookspec
def envtool_service_kinds() -> Iterable[ServiceKind]:  # type: ignore[empty-body]
    """Returns the kinds of service that this plugin adds. Called once, when a spec is read."""

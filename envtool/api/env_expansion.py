"""What plugins add to a spec: the layers of a language, keys of envs, names of toolchains, kinds of services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from envtool.api.pin_schemas import WEB
from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from envtool.api.service_draft import ServiceDeclaration, ServiceDraft
    from envtool.model import EnvDraft, Json, LayerDraft


# Files of version managers, which name many toolchains: see version_choice
SHARED_VERSION_FILES = ("mise.toml", ".mise.toml", ".tool-versions")


class Project(Protocol):
    """The project's files, for pure methods and hooks: envtool records every read, and the plan depends on it. If
    `envtool_detect` is called for a subdirectory, the object has its path as `directory`, relative to the top of the
    checkout."""

    def read(self, path: str) -> str | None:
        """Returns the text of a project-relative file, or None if there is none (this is recorded too). Its lines end
        with a line feed, and it has no byte order mark. Raises UsageError if the path leads out of the project, or is
        not a regular file, or not text."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What a key adds to an env. `layers` are built and keyed like those of the spec. The env's tasks get `variables`
    (None removes one of the layers'), which enter the keys of their results; the env's own `set` and `path` outweigh
    them. Directories for PATH and the like belong into `Kind.variables` of a layer: these lists are joined."""

    layers: tuple[LayerDraft, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvKey:
    """A key that any env may have, whatever its language.

    `schema` is the JSON Schema of its value, with a description. `add` gets the env, the rendered value and the
    project, and returns what the key adds. It is called for each point of a matrix, and is pure. Raises SpecError,
    UsageError.
    """

    name: str
    schema: Json
    add: Callable[[EnvDraft, Json, Project], Additions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a file of the project says about a toolchain's version. `wanted` is a version as in `toolchain:`, or for
    kinds whose `accepts` understands it any other text, such as a range; `origin` names the file, and what in it."""

    wanted: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVersion:
    """What one file of the project says about a toolchain's version, in its `line` (from 1; 0: not known).

    `wanted` is as in Decision; `entry` says what in the file, as in "engines.node". `allows` is for a file that says
    which versions will do, and not which one is used: what `ToolchainKind.accepts` takes, such as a range. Such files
    decide last. If `wanted` is "", the file names `entry`, which is no version: it is passed over, and named unless an
    earlier file decides."""

    wanted: str
    file: str
    line: int = 1
    entry: str = ""
    allows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A name that `toolchain:` may have. `kind` is the name of its ToolchainKind.

    `wants` yields what the toolchain's own files say, the first file first; it is asked no further than needed. It
    raises SpecError for a file that names no version. `files` are their names, for errors. `names` are further names
    that version managers have for the toolchain, such as "nodejs": the core reads their files (api.version_choice).
    A plugin without `wants` may have `decide`, which returns the Decision of its files, or None.

    `mirror` says what is on a server that the spec may name, as in `{version: "1.2", mirror: URL}`: "the manifests of
    rustup". Then the kind is an api.MirroredToolchainKind.
    """

    name: str
    kind: str
    decide: Callable[[Project], Decision | None] | None = None
    files: tuple[str, ...] = ()
    wants: Callable[[Project], Iterable[WantedVersion]] | None = None
    names: tuple[str, ...] = ()
    mirror: str = ""


_VERSION: dict[str, Json] = {
    "type": ["string", "null"],
    "maxLength": 40,
    "pattern": r"^\d+(?:\.\d+)*(?:-?[a-z]+\.?\d+)?$",
    "errorMessage": 'a version, as in "22" or "22.12.0" (in quotes: YAML takes 1.20 for the number 1.2)',
}


def toolchain_versions(toolchains: Iterable[Toolchain]) -> dict[str, Json]:
    """Returns the schemas of the values that these toolchains have in `toolchain:`, by name."""
    return {toolchain.name: _version_schema(toolchain) for toolchain in sorted(toolchains, key=lambda item: item.name)}


def _version_schema(toolchain: Toolchain) -> Json:
    schema: dict[str, Json] = {
        **_VERSION,
        "description": f"The version of {toolchain.name}, whole or its first numbers. Without one, the project's own"
        f" files decide ({', '.join((*toolchain.files, *SHARED_VERSION_FILES))}).",
    }
    if not toolchain.mirror:
        return schema
    properties: dict[str, Json] = {
        "version": {**_VERSION, "description": "The version, as above."},
        "mirror": {**WEB, "description": f"The URL of a server with {toolchain.mirror}."},
    }
    mapping: dict[str, Json] = {"properties": properties, "required": ["mirror"], "additionalProperties": False}
    return {**schema, "type": ["string", "null", "object"], **mapping}


class ServiceKind:
    """A key of a service that stands for its base, layers, command and all else. Pure.

    `schema` is the JSON Schema of the value under the kind's name, with a description. A template gives a string, so a
    version should be allowed to be one.
    """

    name: ClassVar[str]
    schema: ClassVar[Json]
    options: ClassVar[Mapping[str, Json]] = {}  # keys beside the kind: name -> JSON Schema with description

    def service(self, declaration: ServiceDeclaration, project: Project) -> ServiceDraft:
        """Returns the service. Called for each env that uses it if it has templates, else once. Raises SpecError,
        UsageError."""
        raise NotImplementedError(self.name)

"""What plugins add to a spec: the layers of a language, keys of envs, names of toolchains, kinds of services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from envtool.lazy_dataclass import dataclass, field

if TYPE_CHECKING:
    from envtool.api.service_draft import ServiceDeclaration, ServiceDraft
    from envtool.model import EnvDraft, Json, LayerDraft


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
class Toolchain:
    """A name that `toolchain:` may have. `kind` is the name of its ToolchainKind. `decide` returns what the project's
    files say about the version, or None; `files` are their names, for errors. `decide` raises SpecError."""

    name: str
    kind: str
    decide: Callable[[Project], Decision | None]
    files: tuple[str, ...] = ()


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

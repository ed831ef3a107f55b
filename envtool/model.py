"""Frozen values that several rooms share. No behaviour, no imports of ours.

What only one room uses lives in that room. Values that came from the spec hold what the user said and
never gain run-time fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Where:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to execute: an argv, or a line for `/bin/sh -ec`. Exactly one of the two is set."""

    argv: tuple[str, ...] = ()
    shell: str = ""

    def words(self) -> tuple[str, ...]:
        """The argv that is really executed."""
        return self.argv or ("/bin/sh", "-ec", self.shell)

    def typed(self) -> str:
        """The same as one would type it into a shell."""
        import shlex

        return shlex.join(self.argv) if self.argv else self.shell.strip()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InputFile:
    """One project file (or symlink) that a layer depends on."""

    path: str  # relative to the project
    sha256: str  # of the content; for a symlink of the file that it leads to, or of the target text if it is none
    executable: bool = False
    link: str = ""  # target, for a symlink
    built: bool = True  # False: it is there for `resolve` alone, and no part of the key
    content: bool = True  # False: only its name counts; `sha256` is that of no content, and a build sees it empty
    outside: str = ""  # where it really is, out of the project: the caller allows that, and it is seen under `path`


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSpec:
    """A base as declared: `kind` is the plugin kind, `options` the rendered value under its name.

    Paths in `options` are relative to `directory`: the directory of the (included) file it stands in, itself
    relative to the project.
    """

    name: str
    kind: str
    options: Json
    where: Where
    directory: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A layer as declared, rendered for one env. `needs` is None where the spec does not say. For `directory` see
    BaseSpec."""

    name: str
    kind: str
    options: Json
    where: Where
    needs: tuple[str, ...] | None = None
    set: Mapping[str, str | None] = field(default_factory=dict)  # None takes a variable away; `path:` is in PATH
    directory: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Commands under a verb. They run one after the other in one container; the first failure ends it."""

    name: str
    commands: tuple[Command, ...]
    where: Where
    outputs: tuple[str, ...] = ()  # patterns, relative to the project
    outputs_limit: int | None = None  # bytes of all of them together; None: the spec does not say
    timeout: float | None = None  # seconds
    user: str = "user"  # or "root"
    uses_args: bool = False  # a command has `{{ args }}`: arguments after `--` reach it


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """One env: a point of a matrix has its own, named `group[value,value]`."""

    name: str
    group: str
    base: BaseSpec
    layers: tuple[LayerSpec, ...]
    tasks: tuple[Task, ...]
    where: Where
    point: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str | None] = field(default_factory=dict)  # as of a layer
    passed: tuple[str, ...] = ()  # names, with globs, of host variables let through (`pass:`)
    workdir: str = "."  # relative to the project
    network: bool = False  # the host's network, for its tasks, exec and shell
    scratch: str = "memory"  # where ephemeral writes go: "memory" (tmpfs) or "disk"
    directory: str = "."  # of the file it stands in, relative to the project; `workdir` already has it
    produced: tuple[str, ...] = ()  # patterns of all outputs of the spec: what of the project its tasks have made


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamCache:
    """Where a team shares its layers: a repository of an OCI registry, and whose signatures are believed."""

    registry: str  # as written: "registry.example/team/cache"
    where: Where
    push: str = "never"  # or "ci", "always"
    results: bool = False  # also the results of tasks
    network: bool = False  # also layers that were built with a network
    trust: tuple[str, ...] = ()  # "ssh-ed25519 AAAA… comment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole spec, all templates rendered, all envs expanded. Only `bases` and `layers`, which are as declared and
    belong to no env, keep their templates as text."""

    file: str
    root: str  # absolute path of the project: the directory of `file`
    envs: tuple[Env, ...]
    bases: Mapping[str, BaseSpec]
    layers: Mapping[str, LayerSpec]
    read: tuple[str, ...]  # absolute paths of every file that decided this value (includes, pyproject.toml …)
    files: tuple[str, ...] = ()  # the spec and all that it includes, relative to the root
    cache: TeamCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a base shows of this machine, and how it stood when its pins were looked at: a result of a task is told
    again only while it stands so. Of the files in `trees` it is those that a container opened."""

    states: Mapping[str, int]  # absolute path -> st_ctime_ns, by lstat
    trees: tuple[str, ...] = ()  # directories among them, each by itself
    unseen: str = ""  # why not all could be looked at: then no result is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDraft:
    """A layer that a language adds. `after` True: it goes after the layers the user wrote, else before."""

    name: str
    kind: str
    options: Json
    needs: tuple[str, ...] | None = None
    after: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvDraft:
    """An env as the user wrote it, rendered, before it is final."""

    name: str
    base_kind: str
    options: Mapping[str, Json]  # the language's own keys of the env
    layer_names: tuple[str, ...]  # of what the user wrote, and what the language adds may stand on
    where: Where
    base_options: Json = None  # the value under the base kind's name, rendered
    directory: str = "."  # of the spec that the env stands in, relative to the project; the language's paths are to it
    above: tuple[str, ...] = ()  # names of the user's layers that stand on what the language adds: taken, no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A guess for a project without a spec: shown, and written by `envtool init`. An env without a task `test` is
    written only with the caller's own command, since no other would pass: `reason` says why ("…, and no tests")."""

    language: str
    reason: str  # "pyproject.toml with [project]"
    env: Json = None  # the env's value as it would stand in the spec
    directory: str = ""  # of a project below: where it is; set by envtool, which writes it a spec of its own

    @property
    def tested(self) -> bool:
        """Whether it has a task `test`."""
        tasks = self.env.get("tasks") if isinstance(self.env, dict) else None
        return isinstance(tasks, dict) and "test" in tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One thing that is installed in a stack. `type`, `namespace` and `qualifiers` as in a package URL (purl-spec)."""

    type: str  # "deb", "pypi", "npm" …
    name: str
    version: str
    path: str  # of the file in the stack that says so
    namespace: str = ""
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    licenses: tuple[str, ...] = ()  # SPDX expressions, or names in the ecosystem's own words; all of them apply
    summary: str = ""
    homepage: str = ""
    archives: tuple[str, ...] = ()  # globs for the `name` of the Fetch that it came in, if it was pinned

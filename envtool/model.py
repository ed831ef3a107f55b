"""Frozen values that several packages share. No behaviour, and no import of another module of envtool.

A value that only one package uses is defined in that package. Values that come from the spec hold what the user wrote
and never gain run-time fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from envtool.lazy_dataclass import KW_ONLY, dataclass, field

PROJECT = "/project"  # where a container sees the project (tasks: the snapshot; builds: the declared inputs)
BESIDE = "/dev/envtool/beside"  # where the build of a sublayer sees other trees, each under its name: see Part.beside
BLOBS = "/run/envtool/blobs"  # where a build sees its fetched files, each under its `name`, read-only

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Where:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: an argv, or a line for `/bin/sh -ec`. Exactly one of the two is set."""

    argv: tuple[str, ...] = ()
    shell: str = ""

    def words(self) -> tuple[str, ...]:
        """Returns the argv that is executed."""
        return self.argv or ("/bin/sh", "-ec", self.shell)

    def typed(self) -> str:
        """Returns the command as a person would type it into a shell."""
        import shlex

        return shlex.join(self.argv) if self.argv else self.shell.strip()


class Limit(NamedTuple):
    """One of the limits of a container: bytes (`memory`, `disk`), processors (`cpus`), a number (`pids`, `files`) or
    seconds (`time`, `idle`)."""

    value: float
    where: str = ""  # position in the spec, or the option of the command line
    must: bool = True  # False: the container also runs where the limit cannot be enforced (`enforce: try`)


Limits: TypeAlias = Mapping[str, Limit]  # by name
InputUse: TypeAlias = Literal["build", "name", "resolve", "text"]


@dataclass(frozen=True, slots=True)
class Input:
    """Files of the project that a layer depends on. All paths are relative to the directory of the spec file.

    `use` says what counts of them: for "build", names and content: both are in the key, and a build sees the files; for
    "name", only the names: an edit rebuilds nothing, and a build sees empty files; for "resolve", the content: after an
    edit `resolve` is called again, and the layer is rebuilt if its pins differ, but a build does not see the files. For
    "text" the pattern is the path of one file, and the pure methods get its text in `Request.texts`, without which it
    is missing there if the file does not exist; the text is in no key: `question` and `material` return what the kind
    takes from it.
    """

    pattern: str  # a file, a directory with everything in it, or a glob
    _: KW_ONLY
    use: InputUse = "build"
    required: bool = True  # False: the pattern may match nothing
    # path -> whether this file, which the pattern matches, counts; None: all do
    keeps: Callable[[str], bool] | None = None
    # (link, file) -> whether the file that a symlink leads to counts as well: the link is then hashed by the content of
    # that file; None: each does. Give False if the kind copies links as links and never reads through them.
    follows: Callable[[str, str], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InputFile:
    """One project file (or symlink) that a layer depends on."""

    path: str  # relative to the project
    sha256: str  # of the content; for a symlink, of the file that it leads to, or else of its target's text
    executable: bool = False
    link: str = ""  # the target of a symlink
    built: bool = True  # False: only `resolve` reads it, and it is no part of the key
    content: bool = True  # False: only its name counts; `sha256` is that of an empty file, and a build sees it empty
    outside: str = ""  # its real path if that is outside of the project (the caller allows it); builds see it at `path`


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSpec:
    """A base as declared: `kind` is the name of its kind, `options` the rendered value under that name.

    Paths in `options` are relative to `directory`: the directory of the spec file that declares the base, itself
    relative to the project.
    """

    name: str
    kind: str
    options: Json
    where: Where
    directory: str = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A layer as declared, rendered for one env. `needs` is None if the spec has none. For `directory` see BaseSpec."""

    name: str
    kind: str
    options: Json
    where: Where
    needs: tuple[str, ...] | None = None
    set: Mapping[str, str | None] = field(default_factory=dict)  # None removes a variable; `path:` is in PATH already
    directory: str = "."
    limits: Limits = field(default_factory=dict)  # of its build
    note: str = ""  # what is allowed, but probably a mistake: for people alone
    warning: str = ""  # the same, which each run says as well


class SecretPlace(NamedTuple):
    """A secret as requests have it: its name, and where commands find it. No request has the value."""

    name: str
    target: str  # path of the file; empty: there is none
    env: str  # name of the variable; empty: there is none


class SecretUse(NamedTuple):
    """A secret that a task or service names. The caller says where its value is; the spec only how commands get it."""

    name: str
    where: Where  # where it is named
    target: str = ""  # path of the file in the container; empty: there is none
    env: str = ""  # name of the variable; empty: there is none
    optional: bool = False  # without the caller's leave, commands run without it

    @property
    def place(self) -> SecretPlace:
        """The secret as requests have it."""
        return SecretPlace(self.name, self.target, self.env)


class CacheUse(NamedTuple):
    """A directory that a task keeps from run to run."""

    target: str  # absolute path in the container
    where: Where


class ReadFiles(NamedTuple):
    """The files of the project that a task read: opened, executed, or asked about."""

    read: int  # how many
    total: int  # files that the project had
    files: tuple[str, ...] = ()  # the paths of those that it read, sorted; empty if they are not known
    reason: str = ""  # why it is not known which were read: then all count as read

    def to_json(self) -> Json:
        """Returns it as docs/json.md has it."""
        return {**self._asdict(), "files": [*self.files]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Commands under a verb. They run one after the other in one container; the first that fails ends the task."""

    name: str
    commands: tuple[Command, ...]
    where: Where
    outputs: tuple[str, ...] = ()  # patterns, relative to the project
    outputs_when: str = "always"  # or "passed": what a run that did not pass leaves does not come into the project
    outputs_limit: int | None = None  # bytes of all of them together; None: the spec does not say
    timeout: float | None = None  # seconds
    user: str = "user"  # or "root"
    inputs: str = "all"  # files of the project that its result depends on: "all", or "observed": those that it read
    retries: int = 0  # how often it runs again after it has failed
    needs: tuple[tuple[str, str], ...] = ()  # (env, task) of each that has to pass before it, and whose outputs it sees
    # its commands without the arguments, for when it runs as a need of another; None: they are the same
    plain_commands: tuple[Command, ...] | None = None
    uses_args: bool = False  # a command has `{{ args }}`, which stands for the arguments after `--`
    limits: Limits = field(default_factory=dict)  # with those of its env; "time" is `timeout` too
    services: tuple[str, ...] = ()  # names of all services that run beside it: its env's, its own, and what they need
    secrets: tuple[SecretUse, ...] = ()
    caches: tuple[CacheUse, ...] = ()  # those of its env, then its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """One env. Each point of a matrix is an env of its own, named `group[value,value]`."""

    name: str
    group: str
    base: BaseSpec
    layers: tuple[LayerSpec, ...]
    tasks: tuple[Task, ...]
    where: Where
    point: Mapping[str, str] = field(default_factory=dict)  # matrix axis -> value
    set: Mapping[str, str | None] = field(default_factory=dict)  # as in LayerSpec
    passed: tuple[str, ...] = ()  # names, with globs, of the caller's variables that tasks get (`pass:`)
    workdir: str = "."  # relative to the project
    network: bool = False  # whether its tasks, `exec` and `shell` have the host's network
    scratch: str = "memory"  # where ephemeral writes go: "memory" (tmpfs) or "disk"
    directory: str = "."  # of the spec file that has the env, relative to the project; `workdir` includes it
    produced: tuple[str, ...] = ()  # output patterns of all tasks of the spec: project files that may come from a task
    services: tuple[Service, ...] = ()  # all that it or one of its tasks uses; each comes after those that it needs
    uses: tuple[str, ...] = ()  # names of those that run beside each task, `exec` and `shell`
    allow: tuple[str, ...] = ()  # "host:port" that may be connected to from its pod: the policy of `network: {allow:}`
    limits: Limits = field(default_factory=dict)  # of `exec` and `shell`: without "time" and "idle"
    is_selected: bool = True  # False: `-e` leaves it out, and a task of one that it selects needs one of its tasks
    learns: bool = False  # `--learn-network`: everything may be connected to, and the run says what was

    @property
    def has_outside(self) -> bool:
        """Whether its commands can reach more than loopback and services: a result may then depend on anything."""
        return self.network or self.learns or bool(self.allow)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCheck:
    """How a service says that it is ready. `port` is of "tcp" and "http"; `text` is the path of "http" and "file", the
    regular expression of "log"."""

    how: Literal["tcp", "http", "command", "log", "file"]
    where: Where
    port: int = 0
    text: str = ""
    command: Command | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """What is done once for a service; the files that it leaves are a layer above the service's stack."""

    where: Where
    before: tuple[Command, ...] = ()  # run while the service is not up
    run: tuple[Command, ...] = ()  # run once it is ready
    inputs: tuple[str, ...] = ()  # patterns of the project files that these commands read
    data: tuple[str, ...] = ()  # directories that are kept; empty: all that was written but /tmp, /run and /var/log


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port of a service on this machine's loopback. `host_port` 0: a free one is taken."""

    port: int
    host_port: int = 0
    where: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as declared, rendered for one env. `host` is its name in the network of a run: without the prefix that
    `include: {PREFIX: FILE}` puts before `name`."""

    name: str
    where: Where
    env: Env  # of its stack: base, layers, variables, workdir and scratch; no tasks. `env.name` is in Graph.stacks
    host: str = ""
    kind: str = ""  # the name of its kind of service, if it has one
    command: Command | None = None  # None: that of its image
    user: str = ""  # "user", "root", a name of the stack's /etc/passwd, or "": as the command's origin has it
    project: bool | None = None  # whether it sees the project; None: unless the command is the image's
    needs: tuple[str, ...] = ()
    ready: tuple[ReadyCheck, ...] = ()  # all must succeed; empty: TCP on the first of `ports`
    within: float = 60.0  # seconds until it is ready, or, if `once`, has ended
    ports: tuple[int, ...] = ()
    replicas: int = 1
    once: bool = False
    restart: Literal["", "never", "on-failure", "always"] = ""  # "": as the verb has it
    stop_signal: str = ""  # without SIG; "": the image's, or TERM
    grace: float = 10.0  # seconds from the stop signal to KILL
    publish: tuple[Publish, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)  # variables of what uses it
    prepare: Prepare | None = None
    files: Mapping[str, str] = field(default_factory=dict)  # absolute path -> text of a read-only file
    limits: Limits = field(default_factory=dict)  # of each replica
    # Hosts of other services that its command or its variables name, and that are not ready when it starts: for hints.
    unneeded: tuple[str, ...] = ()
    localhost: bool = False  # whether a task's own 127.0.0.1 leads to its ports, too
    secrets: tuple[SecretUse, ...] = ()

    def localhost_ports(self, exposed: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Returns the ports that are at a task's own loopback. `exposed` are those of its image."""
        if not self.localhost:
            return ()
        probed = (check.port for check in self.ready if check.port)
        return self.ports or tuple(dict.fromkeys(probed)) or exposed


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamCache:
    """The team cache: a repository of an OCI registry, and the public keys whose signatures are trusted."""

    registry: str  # as written: "registry.example/team/cache"
    where: Where
    push: str = "never"  # or "ci", "always"
    results: bool = False  # also the results of tasks
    network: bool = False  # also layers that were built with a network
    trust: tuple[str, ...] = ()  # "ssh-ed25519 AAAA… comment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole spec with all templates rendered and all envs expanded. Only `bases` and `layers`, the declarations that
    belong to no env, still have their templates as text."""

    file: str
    root: str  # absolute path of the project: the directory of `file`
    envs: tuple[Env, ...]
    bases: Mapping[str, BaseSpec]
    layers: Mapping[str, LayerSpec]
    read: tuple[str, ...]  # absolute paths of all files that decided this value (included specs, pyproject.toml …)
    files: tuple[str, ...] = ()  # the spec and the specs that it includes, relative to the root
    cache: TeamCache | None = None
    pipeline: tuple[str, ...] = ()  # the names of the tasks that `ci` runs, in all envs
    services: tuple[Service, ...] = ()  # those of `services:` without templates, as declared; for `up` and its kin


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Files of this machine that containers on a base see, with their state when its pins were checked. A remembered
    result of a task is valid only while these states are unchanged. In a directory of `trees` only the files that a
    container opened count."""

    states: Mapping[str, int]  # absolute path -> st_ctime_ns, by lstat
    trees: tuple[str, ...] = ()  # the directories among them
    unseen: str = ""  # why a file could not be checked, in words; if set, no result is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDraft:
    """A layer that a language adds: above the layers that the user wrote if `after`, else below them. `note` says what
    is allowed, but probably a mistake: `plan` prints it, and nothing else depends on it. `warning` says in one sentence
    that a lock file of the project does not fit the project's other files, and what mends it: `plan` and every command
    that uses the layer print it, and `lock --check` fails."""

    name: str
    kind: str
    options: Json
    needs: tuple[str, ...] | None = None
    after: bool = True
    note: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvDraft:
    """An env as the user wrote it, with its templates rendered, before the language adds its layers."""

    name: str
    base_kind: str
    options: Mapping[str, Json]  # the keys of the env that belong to the language
    layer_names: tuple[str, ...]  # of the user's layers that the language's layers may stand on
    where: Where
    base_options: Json = None  # the value under the base kind's name, rendered
    directory: str = "."  # of the spec file, relative to the project; paths in `options` are relative to it
    above: tuple[str, ...] = ()  # of the user's layers above those of the language: these names are in use
    toolchains: tuple[str, ...] = ()  # names in the env's `toolchain:`; their layers are below, and in `layer_names`


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A guess at the env of a project without a spec, which `envtool init` prints and writes. If the env has no task
    `test`, `envtool init` needs a command from the caller, and `reason` says why ("…, and no tests")."""

    language: str
    reason: str  # "pyproject.toml with [project]"
    env: Json = None  # the value of the env in the spec
    directory: str = ""  # of a project in a subdirectory, which gets a spec of its own; envtool sets it
    programs: tuple[str, ...] = ()  # that its tests start besides those of the language, as in "python3"
    hint: str = ""  # what to type where it is not tested, if something in the project has to change first

    @property
    def tested(self) -> bool:
        """Whether the env has a task `test`."""
        tasks = self.env.get("tasks") if isinstance(self.env, dict) else None
        return isinstance(tasks, dict) and "test" in tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that is installed in a stack. `type`, `namespace` and `qualifiers` are those of a package URL
    (purl)."""

    type: str  # "deb", "pypi", "npm" …
    name: str
    version: str
    path: str  # of the file in the stack that records the package
    namespace: str = ""
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    licenses: tuple[str, ...] = ()  # SPDX expressions, or names that the ecosystem uses; all of them apply
    summary: str = ""
    homepage: str = ""
    archives: tuple[str, ...] = ()  # globs that match the `name` of the Fetch that brought it, if it was pinned
    full_name: str = ""  # as its ecosystem writes the name with the namespace: "@scope/name"; empty: `name`

    @property
    def display_name(self) -> str:
        """The name for people."""
        return self.full_name or self.name

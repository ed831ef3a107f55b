"""Reads a spec with its included files, checks it against the schema and expands its envs."""

from __future__ import annotations

import glob
import posixpath
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from envtool import keys
from envtool.errors import UsageError
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Env, Service, Spec, TeamCache
from envtool.plugins import wrong_schema
from envtool.spec import scalar_types
from envtool.spec.declarations import LoadContext, declare_base, declare_layer, make_base, make_layer
from envtool.spec.envs import HOST, EnvPoint, expand_matrix, make_env
from envtool.spec.inherit import Inheritance, merge
from envtool.spec.node import Problems, YamlNode, make_source, parse, to_plain
from envtool.spec.schema import LAYER_KEYS, schema
from envtool.spec.tasks import resolve_needs
from envtool.spec.template import is_template
from envtool.spec.validate import SchemaChecker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.api import Project
    from envtool.model import Json
    from envtool.plugins import PluginRegistry
    from envtool.spec.service_reader import ServiceReader

MAX_FILES = 200  # of one spec
MAX_ENVS = 10_000  # all points of all matrices


class KnownDocuments(Protocol):
    """The specs, or locks, that were found without an error before, each by the digest of all that decides whether it
    fits its schema."""

    def holds(self, digest: str) -> bool:
        """Returns whether a document is known."""

    def add(self, digest: str) -> None:
        """Remembers a document."""


def load(
    project: Project,
    file: str,
    *,
    root: str,
    registry: PluginRegistry,
    args: Sequence[str] = (),
    known: KnownDocuments | None = None,
    only: Sequence[str] = (),
    needed: bool = False,
) -> Spec:
    """Returns the spec in `file` with all files that it includes. `file` is relative to the project, whose absolute
    path is `root`.

    `args` replace `{{ args }}`. A spec in `known` is not checked against the schema again: that takes most of the time.
    `only` and `needed` say whose errors in the project's own files count (own_problems); without, those of all envs.
    Raises SpecError with all errors, in the order of the files, and UsageError if `file` does not exist.
    """
    problems = Problems()
    recorder = _ReadRecorder(project)
    files = _read(recorder, file, problems)
    values = [to_plain(loaded.node) for loaded in files]
    digest = "" if known is None else schema_digest(registry, values, args)
    is_known = known is not None and digest != "" and known.holds(digest)
    if not is_known:
        checker = _checker(registry)
        for loaded, value in zip(files, values, strict=True):
            checker.check(value, loaded.node, problems)
    work = LoadContext(registry=registry, problems=problems, is_known=is_known)
    groups = [
        _Group(name, value, value.mapping(), key, loaded.defaults)
        for loaded in files
        for name, value, key in _entries(loaded, "envs")
    ]
    _declare(work, files, groups)
    reader = _declare_services(work, files, recorder) if any(map(_has_services, values)) else None
    envs = _expand_envs(work, groups, recorder, shlex.join(args), reader)
    envs, services = reader.finish(envs) if reader is not None else (envs, ())
    envs, pipeline = resolve_needs(work, envs, [loaded.node for loaded in files])
    bases = {name: make_base(work, declared, None) for name, declared in work.bases.items()}
    layers = {name: make_layer(work, declared, None) for name, declared in work.layers.items()}
    cache = _read_team_cache(files, problems)
    envs, services = _keep_sound(work, envs, services, only, needed=needed)
    problems.raise_any()
    if known is not None and digest and not is_known:
        known.add(digest)
    if produced := _output_patterns(files, values, envs):
        envs = [replace(env, produced=produced) for env in envs]
    return Spec(
        file=file,
        root=root,
        envs=tuple(envs),
        bases=bases,
        layers=layers,
        read=tuple(posixpath.normpath(posixpath.join(root, path)) for path in recorder.paths),
        files=tuple(dict.fromkeys(loaded.node.source.file for loaded in files)),
        cache=cache,
        services=services,
        pipeline=pipeline,
    )


def schema_digest(registry: PluginRegistry, values: Sequence[Json] = (), args: Sequence[str] = ()) -> str:
    """Returns the digest of all that decides whether the files of a spec fit the schema, and whether their values with
    rendered templates do; without values, whether the schemas of all plugins are right. Empty if a value has no
    canonical JSON (NaN)."""
    languages: dict[str, Json] = {name: {**language.options} for name, language in registry.languages.items()}
    kinds: dict[str, Json] = {name: {**kind.siblings, name: kind.schema} for name, kind in registry.layers.items()}
    services: dict[str, Json] = {name: {**kind.options, name: kind.schema} for name, kind in registry.services.items()}
    return keys.digest_if_json([schema(registry), languages, kinds, services, [*values], [*args]])


def _keep_sound(
    work: LoadContext, envs: Sequence[Env], services: tuple[Service, ...], only: Sequence[str], *, needed: bool
) -> tuple[Sequence[Env], tuple[Service, ...]]:
    if not work.own_problems:
        return envs, services
    from envtool.spec.own_problems import keep_sound  # most specs have no such error

    return keep_sound(work, envs, services, only, needed=needed)


def _read_team_cache(files: Sequence[_LoadedFile], problems: Problems) -> TeamCache | None:
    if not any("cache" in loaded.sections for loaded in files):
        return None
    from envtool.spec.team_cache_key import read_team_cache  # few specs have one

    return read_team_cache([loaded.node for loaded in files], problems)


def _output_patterns(files: Sequence[_LoadedFile], values: Sequence[Json], envs: Sequence[Env]) -> tuple[str, ...]:
    """Returns the output patterns of all tasks: of expanded envs, and of other envs where they are not templates."""
    patterns = {pattern for env in envs for task in env.tasks for pattern in task.outputs}
    for loaded, value in zip(files, values, strict=True):
        outputs: list[str] = []
        _add_outputs(value, outputs)
        paths = (scalar_types.resolve_project_path(output, loaded.node.source.directory) for output in outputs)
        patterns.update(pattern for pattern in paths if pattern)
    return tuple(sorted(patterns))


def _add_outputs(value: Json, outputs: list[str], *, inside: bool = False) -> None:
    """Adds the strings below each key `outputs` of a spec, without templates."""
    if isinstance(value, dict):
        for key, inner in value.items():
            holds_patterns = key == "outputs" or (inside and key == "paths")
            if holds_patterns or isinstance(inner, dict | list):
                _add_outputs(inner, outputs, inside=holds_patterns)
    elif isinstance(value, list):
        for inner in value:
            if inside or isinstance(inner, dict | list):
                _add_outputs(inner, outputs, inside=inside)
    elif inside and isinstance(value, str) and not is_template(value):
        outputs.append(value)


def _checker(registry: PluginRegistry) -> SchemaChecker:
    """Returns the compiled schema. Raises UsageError (code plugin) if the schema of a plugin is invalid."""
    try:
        siblings = {name: (*kind.siblings, *LAYER_KEYS) for name, kind in registry.layers.items()}
        return SchemaChecker(schema(registry), beside=siblings)
    except Exception as error:
        plugin_error = wrong_schema(registry)
        if plugin_error is None:
            raise
        raise plugin_error from error


# ---- files ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _ReadRecorder:
    """The project, with a record of all paths that were read, including those that do not exist."""

    project: Project
    seen: dict[str, None] = field(default_factory=dict)

    def read(self, path: str) -> str | None:
        self.seen[path] = None
        return self.project.read(path)

    def read_bytes(self, path: str) -> bytes | None:
        self.seen[path] = None
        return self.project.read_bytes(path)

    def glob(self, pattern: str) -> list[str]:
        return self.project.glob(pattern)

    def around(self, name: str) -> Mapping[str, bytes]:
        return self.project.around(name)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.seen)


class _LoadedFile(NamedTuple):
    """One parsed file with its sections. `defaults` are its own, merged over those of the files that include it."""

    node: YamlNode
    sections: Mapping[str, YamlNode]
    defaults: YamlNode | None


class _Group(NamedTuple):
    """One env of a file, which may be expanded to several: its name, its mapping, the entries of that, its key and the
    file's defaults."""

    name: str
    node: YamlNode
    fields: Mapping[str, YamlNode]
    at: YamlNode
    defaults: YamlNode | None


def _read(project: _ReadRecorder, file: str, problems: Problems) -> list[_LoadedFile]:
    """Returns the file and, depth first, all files that it includes. Raises SpecError for a file that is not YAML."""
    text = project.read(file)
    if text is None:
        raise UsageError(f"there is no {file}", code="no-spec", hint="write one, or let `envtool init` write it")
    files: list[_LoadedFile] = []
    seen: dict[str, YamlNode | None] = {posixpath.normpath(file): None}
    pending: list[_Pending] = [(file, text, None, "")]
    while pending:
        name, text, inherited, prefix = pending.pop()
        directory = posixpath.dirname(name) or "."
        source = make_source(text, name, order=len(files), directory=directory, prefix=prefix)
        node = parse(text.removeprefix("\ufeff"), source, problems)
        if node is None:
            if not problems.noted:
                problems.add(
                    YamlNode(None, source, 1, 1, 0), "the file is empty", code="empty", hint="begin: version: 1"
                )
            files.append(_LoadedFile(YamlNode({}, source, 1, 1, 0, keys={}), {}, None))
            problems.raise_any()
        assert node is not None
        sections = node.mapping()
        own_defaults = sections.get("defaults")
        own_defaults = own_defaults if own_defaults is not None and isinstance(own_defaults.value, dict) else None
        defaults = (
            own_defaults if inherited is None else inherited if own_defaults is None else merge(inherited, own_defaults)
        )
        files.append(_LoadedFile(node, sections, defaults))
        pending += reversed(_pending_includes(project, files[-1], seen, problems))
    return files


_Pending: TypeAlias = tuple[str, str, "YamlNode | None", str]  # path, text, defaults of the including file, prefix


def _include_entries(include: YamlNode | None) -> list[tuple[str, YamlNode]]:
    """Returns the files of an `include`, each with its name there ("" in a list)."""
    if include is None:
        return []
    if isinstance(include.value, dict):
        return [*include.value.items()]
    return [("", entry) for entry in include.items()]


def _pending_includes(
    project: _ReadRecorder, loaded: _LoadedFile, seen: dict[str, YamlNode | None], problems: Problems
) -> list[_Pending]:
    pending: list[_Pending] = []
    node = loaded.node
    for name, entry in _include_entries(loaded.sections.get("include")):
        if not isinstance(entry.value, str):
            continue
        prefix = f"{node.source.prefix}{name}/" if name else node.source.prefix
        path = scalar_types.resolve_project_path(entry.value, node.source.directory)
        if path is None:
            message = f"`include` of `{entry.value}`: the path leaves the project"
            problems.add(entry, message, code="path", hint="paths are relative to this file, inside the project")
        elif path in seen:
            first = seen[path]
            hint = f"first in {first.source.file}:{first.line}" if first is not None else "it is the main spec file"
            problems.add(entry, f"{path} is included twice", code="duplicate", hint=hint)
        elif len(seen) >= MAX_FILES:
            problems.add(entry, f"more than {MAX_FILES} files are included", code="limit")
            break
        else:
            seen[path] = entry
            try:
                text = project.read(path)
            except UsageError as error:
                problems.add(entry, f"`include`: {error.message}", code=error.code, hint=error.hint)
                continue
            if text is None:
                message, hint = _missing_include_error(project, path, node, seen, problems)
                problems.add(entry, message, code="no-file", hint=hint)
            else:
                pending.append((path, text, loaded.defaults, prefix))
    return pending


def _missing_include_error(
    project: _ReadRecorder, path: str, node: YamlNode, seen: Mapping[str, object], problems: Problems
) -> tuple[str, str]:
    """Returns message and hint for an included file that does not exist: it is a directory, or its name is like that of
    another file."""
    directory = node.source.directory
    contents = project.glob("**" if path == "." else f"{glob.escape(path)}/**")
    if contents:
        contents = [path_ for path_ in contents if path_ not in seen]
        specs = [path_ for path_ in contents if posixpath.basename(path_) == "envtool.yaml"]
        specs = specs or [path_ for path_ in contents if path_.endswith((".yaml", ".yml"))]
        first = min(specs, key=lambda path_: (path_.count("/"), path_), default="")
        hint = f"write {posixpath.relpath(first, directory)}" if first else "write the path of a spec in it"
        return f"{path} is a directory", hint
    candidates = [path_ for path_ in project.glob("**/*.y*ml") if path_ not in seen]
    hint = problems.nearest_hint(path, candidates, listed=0)
    if not hint:
        namesakes = [path_ for path_ in candidates if posixpath.basename(path_) == posixpath.basename(path)]
        hint = f"did you mean `{min(namesakes, key=len)}`?" if namesakes else "write the path of a spec in this project"
    return f"there is no file {path}", hint


# ---- names ---------------------------------------------------------------------------------------------------------


def _declare(work: LoadContext, files: list[_LoadedFile], groups: list[_Group]) -> None:
    """Declares all bases and layers of all files. `groups` are the envs of all files. Notes names that are declared
    twice and unknown needs."""
    for loaded in files:
        for name, value, key in _entries(loaded, "bases"):
            if _check_new_name(work, "base", name, key, work.known_bases):
                declared = declare_base(work, name, value, key)
                if declared is not None:
                    work.bases[name] = declared
            if name.rpartition("/")[2] == HOST and HOST not in value.mapping():
                work.problems.add(key, "the base `host` is built in", code="name", hint="choose another name")
        for name, value, key in _entries(loaded, "layers"):
            if _check_new_name(work, "layer", name, key, work.known_layers):
                layer = declare_layer(work, name, value, key)
                if layer is not None:
                    work.layers[name] = layer
        for name, value, key in _entries(loaded, "secrets"):
            from envtool.spec.declared_secrets import declare_secret  # few specs have secrets

            if _check_new_name(work, "secret", name, key, work.known_secrets):
                declare_secret(work, name, value)
    work.has_language = any(
        "language" in fields
        for fields in (
            *(group.fields for group in groups),
            *(loaded.defaults.mapping() for loaded in files if loaded.defaults),
        )
    )
    for name, layer in work.layers.items() if not work.has_language else ():
        for need in layer.needs or ():
            if work.layer(need, str(need.value)) not in work.known_layers:
                hint = (
                    f"an env with `language: {need.value}` has the layers of that language"
                    if need.value in work.registry.languages
                    else work.problems.nearest_hint(
                        str(need.value), {key: at for key, at in work.known_layers.items() if key != name}
                    )
                    or "there is no other layer: remove it, or declare one of this name"
                )
                message = f"layer `{name}` needs the unknown layer `{need.value}`"
                work.problems.add(need, message, code="unknown-layer", hint=hint)
    _check_cycles(work)


def _entries(loaded: _LoadedFile, section: str) -> list[tuple[str, YamlNode, YamlNode]]:
    """Returns the names that a section of a file declares, each with its value and its key."""
    node = loaded.sections.get(section)
    prefix = loaded.node.source.prefix
    return [] if node is None else [(prefix + name, value, node.key(name)) for name, value in node.mapping().items()]


def _check_new_name(work: LoadContext, noun: str, name: str, key: YamlNode, known: dict[str, YamlNode | None]) -> bool:
    """Returns whether the name is new; notes it if not. The parser has noted names that occur twice in one file."""
    first = known.get(name)
    if first is not None:
        hint = f"the first is {first.source.file}:{first.line}; included files share all names,"
        hint += " but for those that `include: {NAME: FILE}` gives a name"
        work.problems.add(key, f"{noun} `{name}` is declared twice", code="duplicate", hint=hint)
        return False
    known[name] = key
    return True


def _check_cycles(work: LoadContext) -> None:
    """Notes layers that need themselves, directly or through others; each cycle once."""
    state: dict[str, int] = {}  # 1: on the path, 2: done
    for start in work.layers:
        path: list[str] = [start]
        while path and state.get(start) != 2:
            current = path[-1]
            state[current] = 1
            following = ""
            for need in work.layers[current].needs or ():
                target = work.layer(need, str(need.value))
                if state.get(target) == 1:
                    cycle = " → ".join([*path[path.index(target) :], target])
                    work.problems.add(
                        need,
                        f"layer `{target}` needs itself: {cycle}",
                        code="cycle",
                        hint="remove one of these `needs`",
                    )
                elif target in work.layers and state.get(target) is None:
                    following = target
                    break
            if following:
                path.append(following)
            else:
                state[current] = 2
                path.pop()


# ---- envs ----------------------------------------------------------------------------------------------------------


def _declare_services(work: LoadContext, files: list[_LoadedFile], project: Project) -> ServiceReader:
    """Returns the services of all files, which no env has rendered yet."""
    from envtool.spec.service_reader import ServiceReader

    reader = ServiceReader(work=work, project=project)
    for loaded in files:
        for name, value, key in _entries(loaded, "services"):
            if _check_new_name(work, "service", name, key, reader.keys):
                reader.declare(name, value, key)
    reader.link()
    return reader


def _has_services(value: Any) -> bool:
    """Returns whether a file declares services, or an env or task of it uses some: only then they are read."""
    if not isinstance(value, dict):
        return False
    groups = value.get("envs")
    envs = [value, value.get("defaults"), *(groups.values() if isinstance(groups, dict) else ())]
    tasks = (env["tasks"].values() for env in envs if isinstance(env, dict) and isinstance(env.get("tasks"), dict))
    return any(
        isinstance(item, dict) and "services" in item for item in (*envs, *(task for group in tasks for task in group))
    )


def _expand_envs(
    work: LoadContext, groups: list[_Group], project: Project, args: str, services: ServiceReader | None
) -> Sequence[Env]:
    """Returns the envs of all files, expanded."""
    keys: dict[str, YamlNode | None] = {}
    groups = [group for group in groups if _check_new_name(work, "env", group.name, group.at, keys)]
    extends = {group.name: group.fields.get("extends") for group in groups}
    inheritance = Inheritance({group.name: group.node for group in groups}, extends, keys, work.problems)
    envs: list[Env] = []
    names: dict[str, str] = {}
    for group, _, _, at, inherited in groups:
        merged = inheritance.merged(group)
        if inherited is not None:
            merged = merge(inherited, merged)
        matrix = merged.get("matrix")
        points = expand_matrix(work, group, matrix)
        inheritance.spend(merged.size * len(points) + (matrix.size * len(points) // 10 if matrix else 0), at)
        for name, values in points:
            if name in names:
                message = f"two envs are called `{name}`"
                work.problems.add(matrix or at, message, code="duplicate", hint="change a matrix value")
                continue
            names[name] = group
            if len(names) > MAX_ENVS:
                work.problems.add(at, f"more than {MAX_ENVS:,} envs", code="limit")
                work.problems.raise_any()
            point = EnvPoint(name=name, group=group, node=merged, at=at, values=values, args=args, project=project)
            env = make_env(work, point)
            if services is not None:
                env = services.add_to_env(point, env)
            if env is not None:
                envs.append(env)
    return envs

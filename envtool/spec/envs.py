"""Expands one env of the file into `Env`s, one for each point of its matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.lazy_dataclass import dataclass, field
from envtool.model import BaseSpec, Env, LayerSpec, Where
from envtool.spec import matrix, scalar_types
from envtool.spec.declarations import (
    LoadContext,
    declare_base,
    declare_layer,
    make_base,
    make_layer,
    note_outside_project,
    resolve_set_variables,
)
from envtool.spec.limits import TIMES, render_limits
from envtool.spec.plugin_keys import (
    AddedToEnv,
    LanguageStack,
    SubdirectoryProject,
    added_by_keys,
    check_keys,
    language_entries,
    language_layers,
)
from envtool.spec.tasks import make_tasks
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.api import Project
    from envtool.model import Limits
    from envtool.spec.declarations import DeclaredLayer
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

HOST = "host"  # the built-in base
MAX_LAYERS = 1000  # of one env; one mount of the kernel takes fewer, and envtool/container splits them


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOfStack:
    """What a kind of service gives its stack: a base, layers below the user's, and variables below the user's."""

    at: YamlNode  # the key in the spec
    base: BaseSpec | None = None
    layers: tuple[LayerSpec, ...] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvPoint:
    """One env to expand: the node of its group, merged with all that it inherits, and its values of the matrix. The
    stack of a service is expanded as an env: `user` is then the env that uses the service, whose scope its templates
    have."""

    name: str
    group: str
    node: YamlNode
    at: YamlNode  # the key in `envs:`, or in `services:`
    values: dict[str, str]
    args: str  # the text for `{{ args }}`
    project: Project
    section: str = "envs"  # or "services"
    user: EnvPoint | None = None
    kind: KindOfStack | None = None
    fields: Mapping[str, YamlNode] = field(init=False)  # the entries of `node`
    where: Where = field(init=False)  # of `at`
    scope: Scope = field(init=False)  # the names that its templates may use

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", self.node.mapping())
        object.__setattr__(self, "where", self.at.where)
        own: Scope = {"matrix": self.values, "env": {"name": self.name, "group": self.group}}
        object.__setattr__(self, "scope", own if self.user is None else self.user.scope)

    @property
    def directory(self) -> str:
        return self.at.source.directory

    @property
    def label(self) -> str:
        """What an error calls it."""
        return f"{self.section[:-1]} `{self.group}`"


def expand_matrix(work: LoadContext, group: str, axes: YamlNode | None) -> list[tuple[str, dict[str, str]]]:
    """Returns the name and the matrix values of each point of one env of the file. An env without a matrix has one
    point without values."""
    if axes is None or not axes.mapping():
        return [(group, {})]
    for axis in axes.mapping().values():
        for value in axis.items():
            if is_template(value.value):
                work.problems.add(value, "a template in a matrix", code="template", hint="write the values out")
    return matrix.expand_points(axes, group, work.problems)


def make_env(work: LoadContext, point: EnvPoint) -> Env | None:
    """Returns the env with all templates rendered, or None if it has no usable base. Notes all errors."""
    fields, scope = point.fields, point.scope
    base = base_of(work, point)
    own_variables = resolve_set_variables(work, fields.get("set"), fields.get("path"), scope)
    layers = _layers(work, point)
    added, above = _added_by_plugins(work, point, base, layers)
    stack = _stack(work, point, added, layers, above)
    if (point.section, point.name) not in work.own_problems:  # else layers are missing that others may need
        _check_names(work, point, layers, added)
        _check_needs(work, point, stack)
    workdir = _workdir(work, point)
    pass_node = fields.get("pass")
    tasks = make_tasks(work, fields, scope, point.args, point.directory)
    passed = tuple(work.text(value, scope) for value in (pass_node.items() if pass_node else []))
    scratch = render_choice(work, fields.get("scratch"), scope, ("memory", "disk"))
    network = fields.get("network")
    allow = _allowed(work, network, scope)
    if base is None:
        return None
    return Env(
        name=point.name,
        group=point.group,
        base=base,
        layers=stack,
        tasks=tasks,
        where=point.where,
        point=point.values,
        set={**added.variables, **own_variables},
        passed=passed,
        workdir=workdir,
        scratch=scratch,
        network=network is not None and network.value is True,
        allow=allow,
        directory=point.directory,
        limits=_command_limits(work, fields.get("limits"), scope),
    )


def _command_limits(work: LoadContext, node: YamlNode | None, scope: Scope) -> Limits:
    """Returns the limits of `exec` and `shell`, which may wait for the user."""
    limits: Limits = {}
    if node is not None:
        limits = render_limits(work.problems, (node,), lambda value: work.text(value, scope))
    return {name: limit for name, limit in limits.items() if name not in TIMES}


def _allowed(work: LoadContext, network: YamlNode | None, scope: Scope) -> tuple[str, ...]:
    if network is None or not isinstance(network.value, dict):
        return ()
    from envtool.spec.service_values import render_allowed  # few specs have such a list

    return render_allowed(work, network, scope)


def render_choice(work: LoadContext, node: YamlNode | None, scope: Scope, options: tuple[str, ...]) -> str:
    """Returns one of `options`; the first if there is no node. Notes a wrong value that comes from a template: the
    schema could not check that."""
    if node is None:
        return options[0]
    chosen = work.text(node, scope)
    if chosen not in options and is_template(node.value) and chosen:
        expected = " or ".join(f"`{option}`" for option in options)
        work.problems.add(node, f"expected {expected}, got `{chosen}`", code="value")
    return chosen if chosen in options else options[0]


def base_of(work: LoadContext, point: EnvPoint) -> BaseSpec | None:
    """Returns the base of an env; None if it is unknown or wrong, which is noted."""
    node = point.fields.get("base")
    if node is None and point.kind is not None and point.kind.base is not None:
        return point.kind.base
    name = HOST if node is None else ""
    declared: DeclaredLayer | None
    if node is not None and isinstance(node.value, dict):
        declared = _declare_inline(work, node, lambda: declare_base(work, _inline_name(node), node, node))
        return make_base(work, declared, point.scope) if declared is not None else None
    if node is not None:
        name = work.text(node, point.scope) if isinstance(node.value, str) else ""
        if not name:
            return None
        name = work.base(node, name)
    declared = work.bases.get(name)
    if declared is not None:
        return make_base(work, declared, point.scope)
    if name == HOST and HOST in work.registry.bases:
        return BaseSpec(name=HOST, kind=HOST, options={}, where=(node or point.at).where)
    if name not in work.known_bases:
        candidates = {**work.known_bases, HOST: None} if HOST in work.registry.bases else work.known_bases
        if name in work.registry.bases:
            hint = f"write `base: {{{name}: …}}`, with the options of this kind"
        elif (hint := work.problems.nearest_hint(name, candidates)).startswith("did you mean"):
            pass
        elif (kind := name.partition(":"))[0] in work.registry.bases and kind[2].isalpha():
            hint = f'write `base: {{{kind[0]}: {kind[2]}}}`, or `base: {{image: "{name}"}}` for an image of a registry'
        elif ":" in name or "/" in name:
            hint = f'an image is written as `base: {{image: "{name.lower()}"}}`'
        else:
            hint = f"{hint}; a base in place is written as `base: {{debian: bookworm}}`" if hint else hint
        work.problems.add(node or point.at, f"unknown base `{name}`", code="unknown-base", hint=hint)
    return None


def _inline_name(node: YamlNode) -> str:
    """Returns the name of a base written in place: `debian:bookworm`, or its kind."""
    for kind, value in node.mapping().items():
        return f"{kind}:{value.value}" if isinstance(value.value, str) and not is_template(value.value) else kind
    return ""


def _declare_inline(
    work: LoadContext, node: YamlNode, declare: Callable[[], DeclaredLayer | None]
) -> DeclaredLayer | None:
    """Returns the base or layer written in place at `node`. It is declared once, however many envs inherit it."""
    entry = work.inline.get(id(node))
    if entry is None:
        declared = declare()
        if declared is None:
            return None
        entry = work.inline[id(node)] = (node, declared)
    return entry[1]


def _layers(work: LoadContext, point: EnvPoint) -> list[tuple[LayerSpec, YamlNode]]:
    """Returns the user's layers, each with its entry in `layers:`."""
    node = point.fields.get("layers")
    entries = node.items() if node is not None else []
    if node is not None and len(entries) > MAX_LAYERS:
        work.problems.add(node, f"{point.label} has {len(entries):,} layers, at most {MAX_LAYERS:,} go", code="limit")
        return []
    layers: list[tuple[DeclaredLayer, YamlNode]] = []
    for entry in entries:
        declared: DeclaredLayer | None = None
        if isinstance(entry.value, dict):
            declared = _declare_inline(work, entry, lambda entry=entry: declare_layer(work, "", entry, entry))  # type: ignore[misc]
        elif isinstance(entry.value, str):
            name = work.layer(entry, work.text(entry, point.scope))
            declared = work.layers.get(name)
            if declared is None and name and name not in work.known_layers:
                hint = (
                    work.problems.nearest_hint(name, work.known_layers)
                    or "a layer in place is written as `{apt: [PACKAGE]}`"
                )
                work.problems.add(entry, f"unknown layer `{name}`", code="unknown-layer", hint=hint)
        if declared is not None:
            layers.append((declared, entry))
    names = _number_duplicates(layers)
    return [
        (make_layer(work, declared, point.scope, name), entry)
        for (declared, entry), name in zip(layers, names, strict=True)
    ]


def _number_duplicates(layers: list[tuple[DeclaredLayer, YamlNode]]) -> list[str]:
    """Returns the names of layers. Those written in place are named for their kind, with a number where the name is in
    use: `apt`, `apt-2` …"""
    used = {declared.name for declared, entry in layers if not isinstance(entry.value, dict)}
    names: list[str] = []
    for declared, entry in layers:
        name, number = declared.name, 2
        while isinstance(entry.value, dict) and name in used:
            name, number = f"{declared.kind.name}-{number}", number + 1
        used.add(name)
        names.append(name)
    return names


def _added_by_plugins(
    work: LoadContext, point: EnvPoint, base: BaseSpec | None, layers: list[tuple[LayerSpec, YamlNode]]
) -> tuple[AddedToEnv, frozenset[str]]:
    """Returns what the env's languages and the plugins' keys add to it, and the names of the user's layers that are
    above all of these.

    Plugins are asked twice if there are any such names. The first call, without any, gives the layers that they add
    before the user's layers: needing one of those does not move a layer above theirs."""
    keys = point.fields.keys()
    if "language" not in keys and point.kind is None and not keys & work.registry.env_keys.keys():
        check_keys(work, f"{point.section[:-1]} `{point.name}`", point.node, point.fields)
        return AddedToEnv(), frozenset()

    def ask(above: frozenset[str]) -> AddedToEnv:
        directory = point.directory
        project = SubdirectoryProject(point.project, directory) if directory != "." else point.project
        by_keys = added_by_keys(
            work, point.name, point.node, point.fields, point.scope,
            base=base, layers=layers, above=above, project=project, directory=directory, section=point.section,
        )  # fmt: skip
        kind = point.kind
        lowest = (*(kind.layers if kind is not None else ()), *by_keys.before)
        languages = language_layers(work, LanguageStack(
            point.name, point.node, point.fields, point.scope, base, lowest, layers, above, project, directory,
            point.section,
        ))  # fmt: skip
        before, after, origins = languages.before, languages.after, dict(languages.origins)
        if kind is not None:
            origins |= {spec.name: kind.at for spec in kind.layers}
        variables = {**(kind.variables if kind is not None else {}), **by_keys.variables}
        return AddedToEnv((*lowest, *before), (*after, *by_keys.after), variables, {**by_keys.origins, **origins})

    added = ask(frozenset())
    if not (added.after or point.fields.get("language") is not None):
        return added, frozenset()
    above = _layers_above_language(layers, {spec.name for spec in added.before})
    return ask(above) if above else added, above


def _layers_above_language(layers: list[tuple[LayerSpec, YamlNode]], before: set[str]) -> frozenset[str]:
    """Returns the names of the user's layers that have to be above the language's layers: those that need a layer that
    is neither the user's nor in `before`, those that need such a layer, and those without `needs` that come after
    one."""
    names = {spec.name for spec, _ in layers} | before
    above: set[str] = set()
    for spec, _ in layers:
        if above if spec.needs is None else any(need in above or need not in names for need in spec.needs):
            above.add(spec.name)
    return frozenset(above)


def _stack(
    work: LoadContext,
    point: EnvPoint,
    added_by_plugins: AddedToEnv,
    layers: list[tuple[LayerSpec, YamlNode]],
    above: frozenset[str],
) -> tuple[LayerSpec, ...]:
    """Returns all layers, bottom first. The name of a language of the env in `needs` stands for all layers that it
    adds."""
    if not (added_by_plugins.before or added_by_plugins.after or above):
        return tuple(spec for spec, _ in layers)
    before, after = added_by_plugins.before, added_by_plugins.after
    names = {spec.name for spec in (*before, *(spec for spec, _ in layers), *after)}
    languages = {
        entry.name: tuple(name for name, origin in added_by_plugins.origins.items() if origin is entry.at)
        for entry in language_entries(work, point.fields.get("language"), point.scope)
        if entry.name not in names
    }

    def expand_language(spec: LayerSpec) -> LayerSpec:
        if spec.needs is None or not languages.keys() & {*spec.needs}:
            return spec
        needs = (name for need in spec.needs for name in languages.get(need, (need,)))
        return replace(spec, needs=tuple(dict.fromkeys(needs)))

    lower = (spec for spec, _ in layers if spec.name not in above)
    upper = (expand_language(spec) for spec, _ in layers if spec.name in above)
    return (*before, *lower, *after, *upper)


def _check_names(
    work: LoadContext, point: EnvPoint, layers: list[tuple[LayerSpec, YamlNode]], added: AddedToEnv
) -> None:
    seen: dict[str, Where] = {}
    for spec, entry in layers:
        if spec.name in seen:
            message = f"layer `{spec.name}` is in {point.label} twice"
            work.problems.add(entry, message, code="duplicate", hint="remove one of them")
        seen[spec.name] = spec.where
    at_language = point.fields.get("language")
    for spec in (*added.before, *added.after):
        if spec.name in seen:
            at = added.origins[spec.name]
            adder = "language" if at is at_language else at.value
            message = f"`{adder}` adds a layer `{spec.name}`, and {point.label} has one of this name"
            work.problems.add(at, message, code="duplicate", hint="rename yours")
        seen[spec.name] = spec.where


def _check_needs(work: LoadContext, point: EnvPoint, stack: tuple[LayerSpec, ...]) -> None:
    if not any(spec.needs for spec in stack):
        return
    below: set[str] = set()
    names = {spec.name for spec in stack}
    node = point.fields.get("layers")
    for spec in stack:
        for need in spec.needs or ():
            if need in below or need == spec.name:  # a layer that needs itself is a cycle, reported once
                continue
            if need not in names and need not in work.known_layers:
                if spec.name in work.layers and not work.has_language:  # reported where the layer is declared
                    continue
                at, message, hint = _unknown_need(work, point, spec, need, names)
                if id(at) in work.reported_needs:
                    continue
                work.reported_needs.add(id(at))
            elif need in names:
                at, hint = node or point.at, f"put `{need}` before `{spec.name}`"
                message = f"layer `{spec.name}` needs `{need}`, which comes after it in {point.label}"
            else:
                at, hint = node or point.at, f"add `{need}` before `{spec.name}`"
                message = f"layer `{spec.name}` needs `{need}`, which is not in {point.label}"
            work.problems.add(_layer_entry_node(at, spec.name), message, code="needs", hint=hint)
        below.add(spec.name)


def _unknown_need(
    work: LoadContext, point: EnvPoint, spec: LayerSpec, need: str, names: set[str]
) -> tuple[YamlNode, str, str]:
    """Returns the node to point at, the message and the hint for a need that names no layer."""
    declared = work.layers.get(spec.name)
    need_node = next((node for node in (declared.needs or () if declared else ()) if node.value == need), None)
    layers = point.fields.get("layers")
    layer_node = next((item for item in (layers.items() if layers else ()) if item.where == spec.where), layers)
    at = need_node or layer_node or point.fields.get("language") or point.at
    if need in work.registry.languages:
        message = f"layer `{spec.name}` needs `{need}`, and {point.label} has no `language: {need}`"
        return at, message, f"add `language: {need}`, or what the layer needs of it"
    hint = work.problems.nearest_hint(need, names - {spec.name}) or "there is no other layer: remove it, or declare one"
    return at, f"layer `{spec.name}` needs the unknown layer `{need}`", hint


def _layer_entry_node(layers: YamlNode, name: str) -> YamlNode:
    """Returns the item of `layers:` that names the layer; `layers` itself if none does."""
    return next((item for item in layers.items() if item.value == name), layers)


def _workdir(work: LoadContext, point: EnvPoint) -> str:
    node = point.fields.get("workdir")
    if node is None or not isinstance(node.value, str):
        return point.directory
    path = work.text(node, point.scope)
    directory = scalar_types.resolve_project_path(path, point.directory)
    if directory is None:
        note_outside_project(work, node, path)
    return directory or "."

"""One env of the file -> its `Env`s, one for each point of its matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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
from envtool.spec.language import AddedLayers, language_layers
from envtool.spec.tasks import make_tasks
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from envtool.api import Project
    from envtool.spec.declarations import DeclaredLayer
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

HOST = "host"  # the base that is always there
MAX_LAYERS = 1000  # of one env; the kernel takes fewer in one mount, the container room splits them


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvPoint:
    """One env to make: its group's node with all it inherits, and where in the matrix it is."""

    name: str
    group: str
    node: YamlNode
    at: YamlNode  # the key in `envs:`
    values: dict[str, str]
    args: str  # what `{{ args }}` becomes
    project: Project

    @property
    def directory(self) -> str:
        return self.at.source.directory

    @property
    def scope(self) -> Scope:
        return {"matrix": self.values, "env": {"name": self.name, "group": self.group}}


def expand_matrix(work: LoadContext, group: str, node: YamlNode) -> list[tuple[str, dict[str, str]]]:
    """The names and matrix values of one env of the file; one without values when it has no matrix."""
    axes = node.get("matrix")
    if axes is None or not axes.mapping():
        return [(group, {})]
    for axis in axes.mapping().values():
        for value in axis.items():
            if is_template(value.value):
                work.problems.add(value, "a template in a matrix", code="template", hint="write the values out")
    return matrix.expand_points(axes, group, work.problems)


def make_env(work: LoadContext, point: EnvPoint) -> Env | None:
    """The env, all templates rendered. What is wrong is noted; None when there is nothing to go on with."""
    node, scope = point.node, point.scope
    base = _base(work, point)
    layers = _layers(work, point)
    before, after, above = _language_layers(work, point, base, layers)
    _check_names(work, point, before, layers, after)
    stack = _stack(work, point, before, layers, after, above)
    _check_needs(work, point, stack)
    workdir = _workdir(work, point)
    given = node.get("set")
    passed = node.get("pass")
    tasks = make_tasks(work, node, scope, point.args, point.directory)
    variables = resolve_set_variables(work, given, node.get("path"), scope)
    names = tuple(work.text(value, scope) for value in (passed.items() if passed else []))
    scratch = render_choice(work, point.node.get("scratch"), scope, ("memory", "disk"))
    network = point.node.get("network")
    if base is None:
        return None
    return Env(
        name=point.name,
        group=point.group,
        base=base,
        layers=stack,
        tasks=tasks,
        where=point.at.where,
        point=point.values,
        set=variables,
        passed=names,
        workdir=workdir,
        scratch=scratch,
        network=network is not None and network.value is True,
        directory=point.directory,
    )


def render_choice(work: LoadContext, node: YamlNode | None, scope: Scope, options: tuple[str, ...]) -> str:
    """One of `options`, the first when nothing is said. What the schema could not see (a template) is judged here."""
    if node is None:
        return options[0]
    chosen = work.text(node, scope)
    if chosen not in options and is_template(node.value) and chosen:
        wanted = " or ".join(f"`{option}`" for option in options)
        work.problems.add(node, f"expected {wanted}, got `{chosen}`", code="value")
    return chosen if chosen in options else options[0]


def _base(work: LoadContext, point: EnvPoint) -> BaseSpec | None:
    node = point.node.get("base")
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
        known = {**work.known_bases, HOST: None} if HOST in work.registry.bases else work.known_bases
        if name in work.registry.bases:
            hint = f"write `base: {{{name}: …}}`, with what it is made of"
        elif (hint := work.problems.nearest_hint(name, known)).startswith("did you mean"):
            pass
        elif ":" in name or "/" in name:
            hint = f'an image is written as `base: {{image: "{name.lower()}"}}`'
        else:
            hint = f"{hint}; a base in place is written as `base: {{debian: bookworm}}`" if hint else hint
        work.problems.add(node or point.at, f"unknown base `{name}`", code="unknown-base", hint=hint)
    return None


def _inline_name(node: YamlNode) -> str:
    """What a base written in place is called: `debian:bookworm`, or its kind."""
    for kind, value in node.mapping().items():
        return f"{kind}:{value.value}" if isinstance(value.value, str) and not is_template(value.value) else kind
    return ""


def _declare_inline(
    work: LoadContext, node: YamlNode, declare: Callable[[], DeclaredLayer | None]
) -> DeclaredLayer | None:
    """What is written in place is declared once, however many envs inherit it."""
    found = work.places.get(id(node))
    if found is None:
        declared = declare()
        if declared is None:
            return None
        found = work.places[id(node)] = (node, declared)
    return found[1]


def _layers(work: LoadContext, point: EnvPoint) -> list[tuple[LayerSpec, YamlNode]]:
    """The user's layers with the nodes that brought them."""
    node = point.node.get("layers")
    entries = node.items() if node is not None else []
    if node is not None and len(entries) > MAX_LAYERS:
        work.problems.add(
            node, f"env `{point.group}` has {len(entries):,} layers, at most {MAX_LAYERS:,} go", code="limit"
        )
        return []
    out: list[tuple[LayerSpec, YamlNode]] = []
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
            out.append((make_layer(work, declared, point.scope), entry))
    return _number_duplicates(out)


def _number_duplicates(layers: list[tuple[LayerSpec, YamlNode]]) -> list[tuple[LayerSpec, YamlNode]]:
    """Layers written in place are called by their kind; the second of a kind `apt-2`."""
    taken = {spec.name for spec, entry in layers if not isinstance(entry.value, dict)}
    for index, (spec, entry) in enumerate(layers):
        if not isinstance(entry.value, dict):
            continue
        name = next(n for n in _names_for_kind(spec.kind) if n not in taken)
        taken.add(name)
        if name != spec.name:
            layers[index] = (_rename_layer(spec, name), entry)
    return layers


def _language_layers(
    work: LoadContext, point: EnvPoint, base: BaseSpec | None, layers: list[tuple[LayerSpec, YamlNode]]
) -> tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...], frozenset[str]]:
    """What the env's language adds before and after the user's layers, and the names of those that stand on it. What it
    puts before them anyway is no reason to: so it is asked first as if there were none."""

    def ask(above: frozenset[str]) -> AddedLayers:
        return language_layers(
            work,
            point.name,
            point.node,
            point.scope,
            base=base,
            layers=layers,
            above=above,
            project=point.project,
            directory=point.directory,
        )

    before, after = ask(frozenset())
    above = frozenset[str]()
    if point.node.get("language") is not None:
        above = _layers_above_language(layers, {spec.name for spec in before})
    return (*(ask(above) if above else (before, after)), above)


def _layers_above_language(layers: list[tuple[LayerSpec, YamlNode]], before: set[str]) -> frozenset[str]:
    """Names of the user's layers that need what is neither theirs nor before all of them, or stand on all before them
    and one of those does."""
    names = {spec.name for spec, _ in layers} | before
    above: set[str] = set()
    for spec, _ in layers:
        if above if spec.needs is None else any(need in above or need not in names for need in spec.needs):
            above.add(spec.name)
    return frozenset(above)


def _stack(
    work: LoadContext,
    point: EnvPoint,
    before: tuple[LayerSpec, ...],
    layers: list[tuple[LayerSpec, YamlNode]],
    after: tuple[LayerSpec, ...],
    above: frozenset[str],
) -> tuple[LayerSpec, ...]:
    """All layers, bottom first. The name of the env's language in `needs` means all layers that it adds."""
    at = point.node.get("language")
    language = work.text(at, point.scope) if at is not None else ""
    names = {spec.name for spec in (*before, *(spec for spec, _ in layers), *after)}
    added = tuple(spec.name for spec in (*before, *after))

    def meant(spec: LayerSpec) -> LayerSpec:
        if spec.needs is None or language not in spec.needs or language in names:
            return spec
        needs = (name for need in spec.needs for name in (added if need == language else (need,)))
        return replace(spec, needs=tuple(dict.fromkeys(needs)))

    lower = (spec for spec, _ in layers if spec.name not in above)
    upper = (meant(spec) for spec, _ in layers if spec.name in above)
    return (*before, *lower, *after, *upper)


def _names_for_kind(kind: str) -> Iterator[str]:
    yield kind
    number = 2
    while True:
        yield f"{kind}-{number}"
        number += 1


def _rename_layer(spec: LayerSpec, name: str) -> LayerSpec:
    return replace(spec, name=name)


def _check_names(
    work: LoadContext,
    point: EnvPoint,
    before: tuple[LayerSpec, ...],
    layers: list[tuple[LayerSpec, YamlNode]],
    after: tuple[LayerSpec, ...],
) -> None:
    seen: dict[str, Where] = {}
    for spec, entry in layers:
        if spec.name in seen:
            message = f"layer `{spec.name}` is in env `{point.group}` twice"
            work.problems.add(entry, message, code="duplicate", hint="remove one of them")
        seen[spec.name] = spec.where
    language = point.node.get("language")
    for spec in (*before, *after):
        if spec.name in seen and language is not None:
            message = f"`language` adds a layer `{spec.name}`, and env `{point.group}` has one of this name"
            work.problems.add(language, message, code="duplicate", hint="rename yours")
        seen[spec.name] = spec.where


def _check_needs(work: LoadContext, point: EnvPoint, stack: tuple[LayerSpec, ...]) -> None:
    below: set[str] = set()
    every = {spec.name for spec in stack}
    node = point.node.get("layers")
    for spec in stack:
        for need in spec.needs or ():
            if need in below or need == spec.name:  # a layer that needs itself is a cycle, reported once
                continue
            if need not in every and need not in work.known_layers:
                if spec.name in work.layers and not work.speaks:  # reported where the layer is declared
                    continue
                at, message, hint = _unknown_need(work, point, spec, need, every)
                if id(at) in work.told:
                    continue
                work.told.add(id(at))
            elif need in every:
                at, hint = node or point.at, f"put `{need}` before `{spec.name}`"
                message = f"layer `{spec.name}` needs `{need}`, which comes after it in env `{point.group}`"
            else:
                at, hint = node or point.at, f"add `{need}` before `{spec.name}`"
                message = f"layer `{spec.name}` needs `{need}`, which is not in env `{point.group}`"
            work.problems.add(_layer_entry_node(at, spec.name), message, code="needs", hint=hint)
        below.add(spec.name)


def _unknown_need(
    work: LoadContext, point: EnvPoint, spec: LayerSpec, need: str, every: set[str]
) -> tuple[YamlNode, str, str]:
    """Where to point, what is wrong, and what to do."""
    declared = work.layers.get(spec.name)
    written = next((node for node in (declared.needs or () if declared else ()) if node.value == need), None)
    layers = point.node.get("layers")
    place = next((item for item in (layers.items() if layers else ()) if item.where == spec.where), layers)
    at = written or place or point.node.get("language") or point.at
    if need in work.registry.languages:
        message = f"layer `{spec.name}` needs `{need}`, and env `{point.group}` has no `language: {need}`"
        return at, message, f"add `language: {need}`, or what the layer needs of it"
    hint = work.problems.nearest_hint(need, every - {spec.name}) or "there is no other layer: remove it, or declare one"
    return at, f"layer `{spec.name}` needs the unknown layer `{need}`", hint


def _layer_entry_node(layers: YamlNode, name: str) -> YamlNode:
    """The very item of `layers:`, where it is written by name."""
    return next((item for item in layers.items() if item.value == name), layers)


def _workdir(work: LoadContext, point: EnvPoint) -> str:
    node = point.node.get("workdir")
    if node is None or not isinstance(node.value, str):
        return point.directory
    path = work.text(node, point.scope)
    found = scalar_types.resolve_project_path(path, point.directory)
    if found is None:
        note_outside_project(work, node, path)
    return found or "."

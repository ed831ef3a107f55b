"""Bases and layers as declared, and rendered for one env."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envtool.api import PROJECT, Kind
from envtool.errors import FetchError, PluginError, ResolveError, SpecError
from envtool.fs import globs
from envtool.model import BaseSpec, Json, LayerSpec
from envtool.plugin_calls import with_location
from envtool.spec import scalar_types
from envtool.spec.node import Problems, YamlNode, to_plain
from envtool.spec.schema import LAYER_KEYS, options_schema
from envtool.spec.template import Renderer, Scope, TemplateError, is_template
from envtool.spec.validate import SchemaChecker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool.plugins import PluginRegistry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeclaredLayer:
    """One base or layer of the spec, checked against the schema but not rendered."""

    name: str
    kind: Kind
    node: YamlNode  # what options are made of: a mapping, or the value alone
    at: YamlNode  # where to point
    directory: str
    templated: bool
    needs: tuple[YamlNode, ...] | None = None
    set: YamlNode | None = None
    path: YamlNode | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class LoadContext:
    """What all steps of one `load` share."""

    registry: PluginRegistry
    problems: Problems
    renderer: Renderer = field(default_factory=Renderer)
    checkers: dict[tuple[str, str], SchemaChecker] = field(default_factory=dict)
    bases: dict[str, DeclaredLayer] = field(default_factory=dict)
    layers: dict[str, DeclaredLayer] = field(default_factory=dict)
    known_bases: dict[str, YamlNode | None] = field(default_factory=dict)  # also those that were declared wrongly
    known_layers: dict[str, YamlNode | None] = field(default_factory=dict)
    ready_bases: dict[int, BaseSpec] = field(default_factory=dict)  # without templates: made once; by id of Declared
    ready_layers: dict[int, LayerSpec] = field(default_factory=dict)
    places: dict[int, tuple[YamlNode, DeclaredLayer]] = field(
        default_factory=dict
    )  # written in place, by id of their node
    speaks: bool = False  # some env has a language: which layers that adds is not known before the env is made
    told: set[int] = field(default_factory=set)  # ids of the nodes of needs that were found to be unknown

    def layer(self, node: YamlNode, name: str) -> str:
        """The layer that a name means where it is written."""
        return node.source.meant(name, self.known_layers)

    def base(self, node: YamlNode, name: str) -> str:
        """The base that a name means where it is written."""
        return node.source.meant(name, self.known_bases)

    def text(self, node: YamlNode, scope: Scope | None) -> str:
        """A scalar as text, rendered. `scope` None: left as written."""
        value = node.value
        if not isinstance(value, str):
            return node.text
        if scope is None or not is_template(value):
            return value
        try:
            return self.renderer.render(value, scope)
        except TemplateError as error:
            near = self.problems.nearest_hint(error.name, error.known) if error.name else ""
            hint = near if near.startswith("did you mean") else error.hint or near
            self.problems.add(node, error.message, code=error.code, hint=hint)
            if self.renderer.is_budget_spent:
                self.problems.raise_any()
            return ""

    def json(self, node: YamlNode, scope: Scope | None) -> Json:
        """A value with its scalars rendered; keys and structure stay."""
        value = node.value
        if isinstance(value, str):
            return self.text(node, scope)
        if isinstance(value, dict):
            return {key: self.json(child, scope) for key, child in value.items()}
        if isinstance(value, list):
            return [self.json(child, scope) for child in value]
        return value

    def checker(self, sort: str, name: str, keys: Mapping[str, Json]) -> SchemaChecker:
        """The compiled schema of one kind's or language's options."""
        if (sort, name) not in self.checkers:
            self.checkers[sort, name] = SchemaChecker(options_schema(keys))
        return self.checkers[sort, name]


def declare_base(work: LoadContext, name: str, node: YamlNode, at: YamlNode) -> DeclaredLayer | None:
    """A base from its mapping; None where that is wrong (the schema has said so)."""
    entries = node.mapping()
    kinds = [key for key in entries if key in work.registry.bases]
    if len(kinds) != 1 or len(entries) != 1:
        return None
    value = entries[kinds[0]]
    return DeclaredLayer(
        name=name,
        kind=work.registry.bases[kinds[0]],
        node=value,
        at=at,
        directory=node.source.directory,
        templated=has_template(value),
    )


def declare_layer(work: LoadContext, name: str, node: YamlNode, at: YamlNode) -> DeclaredLayer | None:
    """A layer from its mapping; None where that is wrong. `name` empty: the kind's name."""
    entries = node.mapping()
    if not entries:
        return None
    kinds = [key for key in entries if key in work.registry.layers]
    if len(kinds) == 2:  # a key may be a kind here and belong to the other kind there
        kinds = [k for k in kinds if not any(k in work.registry.layers[other].siblings for other in kinds)] or kinds
    label = f"layer `{name}`" if name else "this layer"
    if len(kinds) != 1:
        if kinds:
            message = f"{label} has {len(kinds)} kinds: {', '.join(f'`{k}`' for k in kinds)}"
            work.problems.add(node.key(kinds[1]), message, code="kinds", hint="make them layers of their own")
        elif not set(entries) - set(LAYER_KEYS) or not set(entries) - _all_option_keys(work) - set(LAYER_KEYS):
            hint = work.problems.nearest_hint("", work.registry.layers)
            work.problems.add(at, f"{label} has no kind", code="kinds", hint=hint)
        return None
    kind = work.registry.layers[kinds[0]]
    wrong = [key for key in entries if key not in (kind.name, *kind.siblings, *LAYER_KEYS)]
    for key in wrong:
        if key in _all_option_keys(work) or key in work.registry.layers:
            hint = work.problems.nearest_hint(key, (*kind.siblings, *LAYER_KEYS))
            message = f"unknown key `{key}` in a layer of kind `{kind.name}`"
            work.problems.add(node.key(key), message, code="unknown-key", hint=hint)
    if wrong:
        return None
    options = entries[kind.name]
    if kind.siblings:
        own = {key: value for key, value in entries.items() if key not in LAYER_KEYS}
        options = YamlNode(own, node.source, node.line, node.column, node.width, keys=node.keys)
    needs, given, path = entries.get("needs"), entries.get("set"), entries.get("path")
    return DeclaredLayer(
        name=name or kind.name,
        kind=kind,
        node=options,
        at=at,
        directory=node.source.directory,
        templated=any(each is not None and has_template(each) for each in (options, given, path)),
        needs=None if needs is None else tuple(n for n in needs.items() if isinstance(n.value, str)),
        set=given,
        path=path,
    )


def _all_option_keys(work: LoadContext) -> set[str]:
    return {key for kind in work.registry.layers.values() for key in kind.siblings}


def has_template(node: YamlNode) -> bool:
    return any(is_template(scalar.value) for scalar in iter_scalars(node))


def iter_scalars(node: YamlNode) -> Iterator[YamlNode]:
    """All scalars in a value."""
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from iter_scalars(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from iter_scalars(child)
    else:
        yield node


def make_base(work: LoadContext, declared: DeclaredLayer, scope: Scope | None) -> BaseSpec:
    """The base for one env (or, with `scope` None, as declared)."""
    if not declared.templated and id(declared) in work.ready_bases:
        return work.ready_bases[id(declared)]
    made = BaseSpec(
        name=declared.name,
        kind=declared.kind.name,
        options=_options(work, declared, scope, "bases"),
        where=declared.at.where,
        directory=declared.directory,
    )
    if not declared.templated:
        work.ready_bases[id(declared)] = made
    return made


def make_layer(work: LoadContext, declared: DeclaredLayer, scope: Scope | None) -> LayerSpec:
    """The layer for one env (or, with `scope` None, as declared)."""
    if not declared.templated and id(declared) in work.ready_layers:
        return work.ready_layers[id(declared)]
    made = LayerSpec(
        name=declared.name,
        kind=declared.kind.name,
        options=_options(work, declared, scope, "layers"),
        where=declared.at.where,
        needs=None if declared.needs is None else tuple(work.layer(need, str(need.value)) for need in declared.needs),
        set=resolve_set_variables(work, declared.set, declared.path, scope),
        directory=declared.directory,
    )
    if not declared.templated:
        work.ready_layers[id(declared)] = made
    return made


def _options(work: LoadContext, declared: DeclaredLayer, scope: Scope | None, sort: str) -> Json:
    """Rendered options, checked: by the kind's schema where a template had a say, and for paths that leave."""
    kind = declared.kind
    if not declared.templated:
        options = to_plain(declared.node)
    else:
        before = len(work.problems.found)
        options = work.json(declared.node, scope)
        if scope is None or len(work.problems.found) > before:
            return options
        keys: Mapping[str, Json] = {kind.name: kind.schema, **kind.siblings}
        checker = work.checker(sort, kind.name, keys)
        at: tuple[str | int, ...] = (sort, declared.name)
        if kind.siblings:
            fine = checker.check(options, declared.node, work.problems, at=at, rendered=True)
        else:
            alone = YamlNode({kind.name: declared.node}, declared.node.source, declared.node.line, declared.node.column)
            fine = checker.check({kind.name: options}, alone, work.problems, at=at, rendered=True)
        if not fine:
            return options
    _check_options(work, declared, options, sort)
    return options


def _check_options(work: LoadContext, declared: DeclaredLayer, options: Json, sort: str) -> None:
    """Note what the kind finds wrong in its options, and patterns that are none or leave the project."""
    kind = declared.kind
    if type(kind).inputs is Kind.inputs and type(kind).judge is Kind.judge:
        return
    try:
        with with_location(f"{sort[:-1]} `{declared.name}`", declared.at.where):
            kind.judge(options)
            paths = kind.inputs(options)
    except SpecError as error:
        work.problems.include(declared.at.source.order, error.problems)
        return
    except (FetchError, ResolveError) as error:
        named = (
            s for s in iter_scalars(declared.node) if isinstance(s.value, str) and s.value and s.value in error.message
        )
        work.problems.add(next(named, declared.node), error.message, code=error.code, hint=error.hint)
        return
    except (PluginError, TypeError, KeyError, ValueError, AttributeError, IndexError):
        if work.problems.found:  # the options are wrong, and that has been said
            return
        raise
    for path in paths:
        node = next((s for s in iter_scalars(declared.node) if s.value == path), declared.node)
        if scalar_types.resolve_project_path(path, declared.directory) is None:
            note_outside_project(work, node, path)
        else:
            check_pattern(work, node, path)


def resolve_set_variables(
    work: LoadContext, given: YamlNode | None, path: YamlNode | None, scope: Scope | None
) -> dict[str, str | None]:
    """The variables that `set:` and `path:` beside it mean; None for those that are taken away."""
    found: dict[str, str | None] = {}
    for name, value in given.mapping().items() if given is not None else ():
        if value.value is None and name == "PATH":
            hint = "`path:` puts directories before it"
            work.problems.add(value, "PATH cannot be taken away: no command would be found", code="value", hint=hint)
        else:
            found[name] = None if value.value is None else work.text(value, scope)
    nodes = path.items() or [path] if path is not None else []
    places = [place for node in nodes if isinstance(node.value, str) for place in _path_directories(work, node, scope)]
    if places:
        found["PATH"] = ":".join([*places, *filter(None, [found.get("PATH")])])
    return found


def _path_directories(work: LoadContext, node: YamlNode, scope: Scope | None) -> Iterator[str]:
    """The directories that an item of `path:` means, as a container has them."""
    if scope is None and is_template(node.value):
        return
    text = work.text(node, scope)
    for place in text.split(":") if text or not is_template(node.value) else ():
        inside = scalar_types.resolve_project_path(place, node.source.directory)
        if place.startswith("/"):
            yield place
        elif place.startswith("~"):
            hint = "write the whole path: it is /root in layers, and /home/envtool in tasks"
            work.problems.add(node, "`~` is another directory in layers and in tasks", code="path", hint=hint)
        elif inside is None:
            note_outside_project(work, node, place)
        else:
            yield posixpath.normpath(f"{PROJECT}/{inside}")


def check_pattern(work: LoadContext, node: YamlNode, pattern: str) -> None:
    """Note what a pattern has that cannot be meant."""
    message, hint = globs.fault(pattern)
    if message:
        work.problems.add(node, message, code="pattern", hint=hint)


def note_outside_project(work: LoadContext, node: YamlNode, path: str) -> None:
    """Note that `path` is no path inside the project."""
    if path.startswith(("/", "~")):
        message, hint = f"the path `{path}` is absolute", "paths are relative to the spec"
    elif not path:
        message, hint = "the path is empty", "`.` is the spec's own directory"
    else:
        message, hint = f"the path `{path}` leaves the project", "only the project's own files can be used"
    work.problems.add(node, message, code="path", hint=hint)

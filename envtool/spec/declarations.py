"""Checks the declared bases and layers, and renders them for one env."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from envtool.api import PROJECT, Kind
from envtool.errors import FetchError, PluginError, ResolveError, SpecError
from envtool.fs import globs
from envtool.lazy_dataclass import dataclass, field
from envtool.model import BaseSpec, Json, LayerSpec, Limits, Where
from envtool.spec import scalar_types
from envtool.spec.limits import render_limits
from envtool.spec.node import Problems, YamlNode, to_plain
from envtool.spec.schema import LAYER_KEYS, options_schema
from envtool.spec.template import Renderer, Scope, TemplateError, is_template
from envtool.spec.validate import SchemaChecker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envtool.plugins import PluginRegistry


class DeclaredLayer(NamedTuple):
    """One base or layer of the spec, checked against the schema, with its templates not yet rendered. A named tuple is
    made in half the time of a frozen dataclass."""

    name: str
    kind: Kind
    node: YamlNode  # the options: a mapping, or the value alone
    options: Json  # as written
    at: YamlNode  # the position for errors
    where: Where  # of `at`
    directory: str
    templated: bool
    needs: tuple[YamlNode, ...] | None = None
    set: YamlNode | None = None
    path: YamlNode | None = None
    limits: YamlNode | None = None


class WrittenNeed(NamedTuple):
    """One entry of the `needs:` of a task: `build`, or `build@ENV`, as it is after its template is rendered."""

    env: str  # which has the task
    task: str
    node: YamlNode
    text: str


@dataclass(slots=True, kw_only=True, eq=False)
class LoadContext:
    """The state that all steps of one `load` share."""

    registry: PluginRegistry
    problems: Problems
    is_known: bool = False  # an earlier load found that the same values fit the schema
    renderer: Renderer = field(default_factory=Renderer)
    checkers: dict[tuple[str, str], SchemaChecker] = field(default_factory=dict)
    bases: dict[str, DeclaredLayer] = field(default_factory=dict)
    layers: dict[str, DeclaredLayer] = field(default_factory=dict)
    known_bases: dict[str, YamlNode | None] = field(default_factory=dict)  # also those whose declaration is wrong
    known_layers: dict[str, YamlNode | None] = field(default_factory=dict)
    known_secrets: dict[str, YamlNode | None] = field(default_factory=dict)
    secrets: dict[str, YamlNode] = field(default_factory=dict)  # the declared secrets
    ready_bases: dict[int, BaseSpec] = field(default_factory=dict)  # those without templates, by id of DeclaredLayer
    ready_layers: dict[int, LayerSpec] = field(default_factory=dict)
    inline: dict[int, tuple[YamlNode, DeclaredLayer]] = field(
        default_factory=dict
    )  # written in place, by id of the node
    task_needs: list[WrittenNeed] = field(default_factory=list)  # of all tasks that are made
    has_language: bool = False  # some env has a language, whose layers are known only once the env is made
    reported_needs: set[int] = field(default_factory=set)  # ids of the nodes in `needs` with a reported unknown name
    # the errors that plugins found in the project's files for one env or service, by its section and name
    own_problems: dict[tuple[str, str], Problems] = field(default_factory=dict)

    def problems_of(self, section: str, name: str) -> Problems:
        """Returns the errors in the project's files that are of one env alone, or of one service."""
        return self.own_problems.setdefault((section, name), Problems())

    def layer(self, node: YamlNode, name: str) -> str:
        """Returns the full name of the layer that `name` means in the file of `node`."""
        return node.source.resolve_name(name, self.known_layers)

    def base(self, node: YamlNode, name: str) -> str:
        """Returns the full name of the base that `name` means in the file of `node`."""
        return node.source.resolve_name(name, self.known_bases)

    def text(self, node: YamlNode, scope: Scope | None) -> str:
        """Returns a scalar as rendered text; if `scope` is None, as written. Notes an error in the template and returns
        "". Notes a NUL, which no word of a command, variable or path can have, and returns the rest."""
        value = node.value
        if not isinstance(value, str):
            return node.text
        text = self._render(node, value, scope) if scope is not None and is_template(value) else value
        if "\0" in text:
            self.problems.add(node, "the text has a NUL character", code="value", hint="no program can be given one")
            return text.replace("\0", "")
        return text

    def _render(self, node: YamlNode, value: str, scope: Scope) -> str:
        try:
            return self.renderer.render(value, scope)
        except TemplateError as error:
            nearest = self.problems.nearest_hint(error.name, error.known) if error.name else ""
            hint = nearest if nearest.startswith("did you mean") else error.hint or nearest
            self.problems.add(node, error.message, code=error.code, hint=hint)
            if self.renderer.is_budget_spent:
                self.problems.raise_any()
            return ""

    def json(self, node: YamlNode, scope: Scope | None) -> Json:
        """Returns a value with its scalars rendered as in `text`; keys and structure stay."""
        value = node.value
        if isinstance(value, str):
            return self.text(node, scope)
        if isinstance(value, dict):
            return {key: self.json(child, scope) for key, child in value.items()}
        if isinstance(value, list):
            return [self.json(child, scope) for child in value]
        return value

    def fits(self, keys: Mapping[str, Json], value: Json, node: YamlNode, at: tuple[str, str], owner: str) -> bool:
        """Returns whether rendered options, the value of `node`, fit the schemas of the keys of a kind or language
        (`owner`), and notes all errors. `at` is the path of `node` in the spec."""
        if self.is_known:
            return True
        sort = at[0]
        if (sort, owner) not in self.checkers:
            self.checkers[sort, owner] = SchemaChecker(options_schema(keys))
        return self.checkers[sort, owner].check(value, node, self.problems, at=at, rendered=True)


def declare_base(work: LoadContext, name: str, node: YamlNode, at: YamlNode) -> DeclaredLayer | None:
    """Returns a base from its mapping, or None if the mapping is wrong (the schema has reported it)."""
    entries = node.mapping()
    kinds = [key for key in entries if key in work.registry.bases]
    if len(kinds) != 1 or len(entries) != 1:
        return None
    value = entries[kinds[0]]
    return DeclaredLayer(
        name=name,
        kind=work.registry.bases[kinds[0]],
        node=value,
        options=to_plain(value),
        at=at,
        where=at.where,
        directory=node.source.directory,
        templated=has_template(value),
    )


def declare_layer(work: LoadContext, name: str, node: YamlNode, at: YamlNode) -> DeclaredLayer | None:
    """Returns a layer from its mapping, or None if the mapping is wrong, which it notes. If `name` is empty, the layer
    is named for its kind."""
    entries = node.mapping()
    if not entries:
        return None
    kinds = [key for key in entries if key in work.registry.layers]
    if len(kinds) == 2:  # one key may be a kind of its own and a sibling key of the other kind
        kinds = [k for k in kinds if not any(k in work.registry.layers[other].siblings for other in kinds)] or kinds
    if len(kinds) != 1:
        label = f"layer `{name}`" if name else "this layer"
        if kinds:
            message = f"{label} has {len(kinds)} kinds: {', '.join(f'`{k}`' for k in kinds)}"
            work.problems.add(node.key(kinds[1]), message, code="kinds", hint="make them layers of their own")
        elif not set(entries) - set(LAYER_KEYS) or not set(entries) - _all_option_keys(work) - set(LAYER_KEYS):
            from envtool.api import ToolchainKind  # which the key `toolchain` adds, and no spec writes

            written = [name for name, kind in work.registry.layers.items() if not isinstance(kind, ToolchainKind)]
            hint = work.problems.nearest_hint("", written)
            work.problems.add(at, f"{label} has no kind", code="kinds", hint=hint)
        return None
    kind = work.registry.layers[kinds[0]]
    misplaced: list[str] = []
    if len(entries) > 1:
        known = (kind.name, *kind.siblings, *LAYER_KEYS)
        misplaced = [key for key in entries if key not in known]
    for key in misplaced:
        if key in _all_option_keys(work) or key in work.registry.layers:
            hint = work.problems.nearest_hint(key, (*kind.siblings, *LAYER_KEYS))
            message = f"unknown key `{key}` in a layer of kind `{kind.name}`"
            work.problems.add(node.key(key), message, code="unknown-key", hint=hint)
    if misplaced:
        return None
    options = entries[kind.name]
    if kind.siblings:
        own = {key: value for key, value in entries.items() if key not in LAYER_KEYS}
        options = YamlNode(own, node.source, node.line, node.column, node.width, keys=node.keys)
    needs, variables, path = entries.get("needs"), entries.get("set"), entries.get("path")
    return DeclaredLayer(
        name=name or kind.name,
        kind=kind,
        node=options,
        options=to_plain(options),
        at=at,
        where=at.where,
        directory=node.source.directory,
        templated=has_template(options)
        or has_template(variables)
        or has_template(path)
        or has_template(entries.get("limits")),
        needs=None if needs is None else tuple(n for n in needs.items() if isinstance(n.value, str)),
        set=variables,
        path=path,
        limits=entries.get("limits"),
    )


def _all_option_keys(work: LoadContext) -> set[str]:
    return {key for kind in work.registry.layers.values() for key in kind.siblings}


def has_template(node: YamlNode | None) -> bool:
    """Returns whether a scalar in a value has something to render."""
    value = node.value if node is not None else None
    if isinstance(value, str):
        return is_template(value)
    if isinstance(value, dict):
        value = [*value.values()]
    return isinstance(value, list) and any(map(has_template, value))


def iter_scalars(node: YamlNode) -> Iterator[YamlNode]:
    """Yields all scalars in a value."""
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from iter_scalars(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from iter_scalars(child)
    else:
        yield node


def make_base(work: LoadContext, declared: DeclaredLayer, scope: Scope | None) -> BaseSpec:
    """Returns the base for one env; if `scope` is None, with its templates as text."""
    if not declared.templated and id(declared) in work.ready_bases:
        return work.ready_bases[id(declared)]
    base = BaseSpec(
        name=declared.name,
        kind=declared.kind.name,
        options=_options(work, declared, scope, "bases"),
        where=declared.where,
        directory=declared.directory,
    )
    if not declared.templated:
        work.ready_bases[id(declared)] = base
    return base


def make_layer(work: LoadContext, declared: DeclaredLayer, scope: Scope | None, name: str = "") -> LayerSpec:
    """Returns the layer for one env; if `scope` is None, with its templates as text. It may get another `name` than
    that of its declaration."""
    name = name or declared.name
    if not declared.templated and (ready := work.ready_layers.get(id(declared))) is not None:
        return ready if ready.name == name else replace(ready, name=name)
    layer = LayerSpec(
        name=name,
        kind=declared.kind.name,
        options=_options(work, declared, scope, "layers"),
        where=declared.where,
        needs=None if declared.needs is None else tuple(work.layer(need, str(need.value)) for need in declared.needs),
        set=resolve_set_variables(work, declared.set, declared.path, scope),
        directory=declared.directory,
        limits=_limits(work, declared, scope),
    )
    if not declared.templated:
        work.ready_layers[id(declared)] = layer
    return layer


def _limits(work: LoadContext, declared: DeclaredLayer, scope: Scope | None) -> Limits:
    """Returns the limits of a layer's build; none while its templates are text."""
    if declared.limits is None or (scope is None and has_template(declared.limits)):
        return {}
    return render_limits(work.problems, (declared.limits,), lambda node: work.text(node, scope))


def _options(work: LoadContext, declared: DeclaredLayer, scope: Scope | None, sort: str) -> Json:
    """Returns the rendered options. Options with a template are checked again by the kind's schema; then the kind
    checks all options, and paths that lead out of the project are noted."""
    kind = declared.kind
    if not declared.templated:
        options = declared.options
    else:
        before = len(work.problems.noted)
        options = work.json(declared.node, scope)
        if scope is None or len(work.problems.noted) > before:
            return options
        keys: Mapping[str, Json] = {kind.name: kind.schema, **kind.siblings}
        value, node = options, declared.node
        if not kind.siblings:
            value, node = {kind.name: options}, YamlNode({kind.name: node}, node.source, node.line, node.column)
        if not work.fits(keys, value, node, (sort, declared.name), kind.name):
            return options
    _check_options(work, declared, options, sort)
    if kind.name == "run" and isinstance(options, dict) and "secrets" in options:
        from envtool.spec.declared_secrets import layer_options  # few specs have secrets

        return layer_options(work, options, declared.node, scope)
    return options


def _check_options(work: LoadContext, declared: DeclaredLayer, options: Json, sort: str) -> None:
    """Notes the errors that the kind finds in its options, and patterns that are malformed or leave the project."""
    kind = declared.kind
    if type(kind).inputs is Kind.inputs and type(kind).judge is Kind.judge:
        return
    try:
        kind.judge(options)
        paths = [item.pattern for item in kind.inputs(options) if item.required]
    except SpecError as error:
        work.problems.include(declared.at.source.order, error.problems)
        return
    except (FetchError, ResolveError) as error:
        quoted = (
            s for s in iter_scalars(declared.node) if isinstance(s.value, str) and s.value and s.value in error.message
        )
        work.problems.add(next(quoted, declared.node), error.message, code=error.code, hint=error.hint)
        return
    except (PluginError, TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, PluginError):
            error.locate(f"{sort[:-1]} `{declared.name}`", declared.where)
        if work.problems.noted:  # the options are wrong, and the error has been noted
            return
        raise
    for path in paths:
        node = next((s for s in iter_scalars(declared.node) if s.value == path), declared.node)
        if scalar_types.resolve_project_path(path, declared.directory) is None:
            note_outside_project(work, node, path)
        else:
            check_pattern(work, node, path)


def resolve_set_variables(
    work: LoadContext, set_node: YamlNode | None, path_node: YamlNode | None, scope: Scope | None
) -> dict[str, str | None]:
    """Returns the variables of `set:` with the directories of `path:` in PATH; None for a variable to be removed."""
    variables: dict[str, str | None] = {}
    if set_node is None and path_node is None:
        return variables
    for name, value in set_node.mapping().items() if set_node is not None else ():
        if value.value is None and name == "PATH":
            hint = "`path:` puts directories before it"
            work.problems.add(value, "PATH cannot be taken away: no command would be found", code="value", hint=hint)
        else:
            variables[name] = None if value.value is None else work.text(value, scope)
    nodes = path_node.items() or [path_node] if path_node is not None else []
    directories = [
        directory for node in nodes if isinstance(node.value, str) for directory in _path_directories(work, node, scope)
    ]
    if directories:
        variables["PATH"] = ":".join([*directories, *filter(None, [variables.get("PATH")])])
    return variables


def _path_directories(work: LoadContext, node: YamlNode, scope: Scope | None) -> Iterator[str]:
    """Yields the directories of one item of `path:`, as absolute paths in the container."""
    if scope is None and is_template(node.value):
        return
    text = work.text(node, scope)
    for directory in text.split(":") if text or not is_template(node.value) else ():
        inside = scalar_types.resolve_project_path(directory, node.source.directory)
        if directory.startswith("/"):
            yield directory
        elif directory.startswith("~"):
            hint = "write the whole path: it is /root in layers, and /home/envtool in tasks"
            work.problems.add(node, "`~` is another directory in layers and in tasks", code="path", hint=hint)
        elif inside is None:
            note_outside_project(work, node, directory)
        else:
            yield posixpath.normpath(f"{PROJECT}/{inside}")


def check_pattern(work: LoadContext, node: YamlNode, pattern: str) -> None:
    """Notes an error in a pattern."""
    message, hint = globs.fault(pattern)
    if message:
        work.problems.add(node, message, code="pattern", hint=hint)


def note_outside_project(work: LoadContext, node: YamlNode, path: str) -> None:
    """Notes that `path` is not a path inside the project."""
    if path.startswith(("/", "~")):
        message, hint = f"the path `{path}` is absolute", "paths are relative to the spec"
    elif not path:
        message, hint = "the path is empty", "`.` is the spec's own directory"
    else:
        message, hint = f"the path `{path}` leaves the project", "only the project's own files can be used"
    work.problems.add(node, message, code="path", hint=hint)

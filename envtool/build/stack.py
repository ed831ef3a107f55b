"""The layers of one env, or below a layer that is built: as they are known before a build and as they are in the store,
the variables that they set, and what they mount in a container."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypedDict

from envtool.api import PROJECT, Base, InputFile, Looked, Request
from envtool.build.context import Context
from envtool.errors import BuildError, MakeError
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json, LayerSpec
from envtool.plan.graph import Node
from envtool.store import answer_cache, layers
from envtool.store.layers import Layer

if TYPE_CHECKING:
    from envtool.api import Fetch
    from envtool.container.program import BindMount
    from envtool.plan.plan import Location
    from envtool.store.store import Store

MAX_CLASHES = 10  # paths that an error lists
WHOLE = "."  # the path of the project itself

# Lists of paths, separated by colons, that programs search in order. Where a program stops searching the system's paths
# once the variable is set, the value here adds them: an empty path means them to gem, man, info, terminfo and TeX.
PATH_LISTS: Mapping[str, str | None] = {
    "PATH": None,  # every container has PATH
    "MANPATH": "",
    "INFOPATH": "",
    "TERMINFO_DIRS": "",
    "XDG_DATA_DIRS": "/usr/local/share:/usr/share",
    "XDG_CONFIG_DIRS": "/etc/xdg",
    # compilers, linkers and tools that search libraries
    "CPATH": None,
    "C_INCLUDE_PATH": None,
    "CPLUS_INCLUDE_PATH": None,
    "OBJC_INCLUDE_PATH": None,
    "LIBRARY_PATH": None,
    "LD_LIBRARY_PATH": None,
    "LD_RUN_PATH": None,
    "PKG_CONFIG_PATH": None,
    "ACLOCAL_PATH": None,
    "CMAKE_PREFIX_PATH": None,
    "CMAKE_INCLUDE_PATH": None,
    "CMAKE_LIBRARY_PATH": None,
    "CMAKE_PROGRAM_PATH": None,
    # languages
    "PYTHONPATH": None,
    "NODE_PATH": None,
    "GEM_PATH": "",
    "RUBYLIB": None,
    "PERL5LIB": None,
    "CLASSPATH": None,
    "GOPATH": None,
    "ERL_LIBS": None,
    "OCAMLPATH": None,
    "CAML_LD_LIBRARY_PATH": None,
    "GUILE_LOAD_PATH": None,
    "GUILE_LOAD_COMPILED_PATH": None,
    "JULIA_LOAD_PATH": None,
    "R_LIBS": None,
    "R_LIBS_USER": None,
    "TEXINPUTS": "",
    "BIBINPUTS": "",
    "BSTINPUTS": "",
    # desktops and their toolkits
    "GI_TYPELIB_PATH": None,
    "GST_PLUGIN_PATH": None,
    "QT_PLUGIN_PATH": None,
    "QML_IMPORT_PATH": None,
    "QML2_IMPORT_PATH": None,
}


class ResolvedNode(NamedTuple):  # made in half the time of a frozen dataclass
    """A node with its request, pins, files and key: all that decides its layer."""

    node: Node
    request: Request
    pins: Json
    fetches: tuple[Fetch, ...]
    document: Mapping[str, Json]
    key: str
    epoch: int
    pins_file: str = ""  # of the answer cache, where the pins come from there: while it is unchanged, so are they

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """The project files that its build sees."""
        return tuple(item for item in self.request.inputs if item.built)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A resolved node whose layer is in the store."""

    resolved: ResolvedNode
    layer: Layer
    diff_id: str  # of the layer
    where: Location = "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnstoredLayer:
    """A resolved node whose layer is not in the store; `where` says how its diff ID is known all the same. Both are
    not known (`absent`, "") where `fetch` assumes the parents of a node whose files do not depend on them."""

    resolved: ResolvedNode
    diff_id: str
    where: Location
    layer: None = None


KnownLayer: TypeAlias = StoredLayer | UnstoredLayer


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStack:
    """The layers of one env, bottom first, with their diff IDs; some may not be in the store."""

    layers: tuple[KnownLayer, ...]
    other_stages: tuple[KnownLayer, ...] = ()  # sublayers that only other sublayers read, as of a Dockerfile

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.layers[0].resolved.epoch

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables that the layers set, bottom first."""
        return stack_variables([layer.resolved for layer in self.layers])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The diff IDs, bottom first."""
        return tuple(layer.diff_id for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(KnownStack):
    """The layers of one env, bottom first, all in the store."""

    layers: tuple[StoredLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """The layers that a layer is built on: `below`, bottom first, and other stacks that its build sees, by name."""

    below: tuple[StoredLayer, ...] = ()
    beside: Mapping[str, tuple[StoredLayer, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[layers.Layer, ...]:
        """The layers of all stacks."""
        return tuple(made.layer for stack in (self.below, *self.beside.values()) for made in stack)


def store_diff_ids(stacks: Sequence[KnownStack], store: Store) -> None:
    """Records the diff IDs of all layers, so that a result is found after they are removed. Raises OSError."""
    for stack in stacks:
        for layer in (*stack.layers, *stack.other_stages):
            layers.store_known_output(store, layer.resolved.key, layer.diff_id)


def check_conflicts(stack: Stack, context: Context) -> None:
    """Raises BuildError where two layers, neither of which stands on the other, wrote one path differently."""
    for lower, upper in _independent_pairs(stack):
        question: Mapping[str, str] = {"conflicts": lower.layer.key, "with": upper.layer.key}
        answer = answer_cache.get(context.store, dict(question))
        if not isinstance(answer, dict) or not isinstance(answer.get("paths"), list):
            from envtool.store import canonical

            clash = canonical.find_conflicts(layers.read_records(lower.layer), layers.read_records(upper.layer))
            answer = {"paths": [*clash[:MAX_CLASHES]]}
            answer_cache.put(context.store, dict(question), answer)
        paths = answer["paths"]
        if paths:
            raise BuildError(
                f"layers `{lower.resolved.node.spec.name}` and `{upper.resolved.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither is below the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.resolved.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )


def check_variables(stack: KnownStack, own: Container[str]) -> None:
    """Raises BuildError where two layers of different kinds, neither of which stands on the other, set one variable to
    different values: as for paths, nothing says which of the two counts. Lists of paths join, and `own` are the
    variables that the env itself sets, which outweigh all layers."""
    setters: dict[str, list[tuple[ResolvedNode, str | None]]] = {}
    chosen: set[str] = set()
    for layer in stack.layers:
        node = layer.resolved.node
        if isinstance(node.spec, LayerSpec) and not node.of:
            chosen.update(node.spec.set)
            variables = node.kind.variables(layer.resolved.request, layer.resolved.pins)
            for name, value in variables.items():
                if name not in PATH_LISTS and name not in own:
                    setters.setdefault(name, []).append((layer.resolved, value))
    for name in sorted(setters.keys() - chosen):
        lower, lower_value = setters[name][0]
        for upper, value in setters[name][1:]:
            is_above = lower.node.id in upper.node.below
            if value != lower_value and upper.node.kind.name != lower.node.kind.name and not is_above:
                raise BuildError(
                    f"layers `{lower.node.spec.name}` and `{upper.node.spec.name}` both set `{name}`, differently, and"
                    " neither is below the other",
                    code="variable-conflict",
                    hint=f"the env's own value outweighs both: `set: {{{name}: …}}`",
                    output=f"{lower.node.spec.name}: {name}={lower_value}\n{upper.node.spec.name}: {name}={value}",
                )
            lower, lower_value = upper, value


def _independent_pairs(stack: Stack) -> Iterator[tuple[StoredLayer, StoredLayer]]:
    of_base = sum(layer.resolved.node.subject == "base" or bool(layer.resolved.node.of) for layer in stack.layers)
    # a base's own layers cover each other on purpose
    for index, upper in enumerate(stack.layers[of_base:], of_base):
        parents = {*upper.resolved.node.below}
        yield from ((lower, upper) for lower in stack.layers[:index] if lower.resolved.node.id not in parents)


def not_cached_error(node: Node) -> MakeError:
    """Returns the error for a node that may not be built."""
    return MakeError(f"{node.subject} `{node.spec.name}` is not cached", code="not-cached")


class ProjectMounts(TypedDict):
    """What the layers of a stack put into the project, as arguments of a Program."""

    joins: tuple[tuple[str, str], ...]
    covering: tuple[int, ...]
    inputs: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]


def project_mounts(stack: Sequence[ResolvedNode]) -> ProjectMounts:
    """Returns what a stack (bottom first) puts into the project: the directories that it shows there and the files or
    trees that it generated for it, each as (path in the container, path in the project); which layers lie over the
    project, and the inputs that those were built from. Where one lies over it, all others do, too: it was built on
    their files there."""
    joins: list[tuple[str, str]] = []
    copies: list[tuple[str, str]] = []
    inputs: set[str] = set()
    is_covered = False
    for resolved in stack:
        kind = resolved.node.kind
        shown, generated = (hook(resolved.request, resolved.pins) for hook in (kind.in_project, kind.generated))
        joins += [(shown[path], _in_project(path)) for path in sorted(shown) if posixpath.normpath(path) != WHOLE]
        copies += [(generated[path], _in_project(path)) for path in sorted(generated)]
        if WHOLE in map(posixpath.normpath, shown):
            is_covered = True
            inputs.update(item.path for item in resolved.inputs)
    covering = (*range(len(stack)),) if is_covered else ()
    return ProjectMounts(joins=(*joins,), covering=covering, inputs=(*sorted(inputs),), copies=(*copies,))


def _in_project(path: str) -> str:
    return posixpath.normpath(posixpath.join(PROJECT, path))


def overlays_project(resolved: ResolvedNode) -> bool:
    """Whether a layer has files at PROJECT that lie over the project itself."""
    return WHOLE in map(posixpath.normpath, resolved.node.kind.in_project(resolved.request, resolved.pins))


def stack_binds(stack: Sequence[KnownLayer]) -> tuple[BindMount, ...]:
    """Returns the directories of the host that a base binds in every container on it (kind `host`: the system
    directories)."""
    if not stack:
        return ()
    from envtool.container.program import BindMount  # verbs that only look make no container

    base = stack[0].resolved
    recipe = base.node.kind.build(base.request, base.pins)
    return tuple(BindMount(source=bind.source, target=bind.target) for bind in recipe.mounts)


def shown_host_files(stack: Sequence[KnownLayer]) -> Looked | None:
    """Returns the state of the host files that a base shows, from when it was resolved; None where it shows none."""
    base = stack[0].resolved if stack else None  # where sublayers stand alone, it is one of them
    return base.node.kind.looked(base.pins) if base and isinstance(base.node.kind, Base) else None


def merge_host_files(stacks: Sequence[Sequence[KnownLayer]]) -> Looked | None:
    """Returns the host files that any of some stacks shows; None where none does."""
    shown = [looked for stack in stacks if (looked := shown_host_files(stack)) is not None]
    if len(shown) < 2:
        return shown[0] if shown else None
    states = {path: state for looked in shown for path, state in looked.states.items()}
    trees = dict.fromkeys(path for looked in shown for path in looked.trees)
    return Looked(states=states, trees=(*trees,), unseen=" ".join(filter(None, (looked.unseen for looked in shown))))


def opened_files_question(subject: str, key: str) -> dict[str, Json]:
    """Returns the question under which the store keeps the host files that a layer or result opened. Prepared state is
    a layer."""
    return {"format": 1, "opened": subject, "of": key}


# ---- variables -------------------------------------------------------------------------------------------------------


def stack_variables(
    stack: Sequence[ResolvedNode], below: Mapping[str, str | None] | None = None
) -> dict[str, str | None]:
    """Returns the variables that a stack sets for all that stands on it, laid over `below`; None unsets a variable. The
    variables of a base replace those `below` it, lists too: nothing else is in a base."""
    merged = dict(below or {})
    for resolved in stack:
        node = resolved.node
        if variables := node.kind.variables(resolved.request, resolved.pins):
            if node.subject == "base":
                merged.update(variables)
            else:
                overlay_variables(merged, variables)
        if isinstance(node.spec, LayerSpec) and node.spec.set:
            overlay_variables(merged, node.spec.set)
    return merged


def overlay_variables(variables: dict[str, str | None], more: Mapping[str, str | None]) -> None:
    """Lays the variables of a layer or an env over those of the layers below it, in place. A path list goes before the
    list so far, and the system's own paths come last: an upper layer adds paths and hides none. None unsets a variable,
    and a later list starts anew; the None is kept, since it also unsets the variables that every container has."""
    for name, value in more.items():
        if value is None or name not in PATH_LISTS:
            variables[name] = value
        else:
            before = variables[name] if name in variables else PATH_LISTS[name]
            variables[name] = (
                before if before and not value else join_path_lists(value, before) if before is not None else value
            )


def join_path_lists(first: str, then: str) -> str:
    """Joins two path lists, each path once. An empty path, where a program searches by itself, comes last."""
    paths = dict.fromkeys([*first.split(":"), *then.split(":")])
    if "" in paths:
        del paths[""]
        paths[""] = None
    return ":".join(paths)


def apply_variables(environment: Mapping[str, str], variables: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the environment of a container with the merged variables of all layers. Only PATH is a list that the
    environment has already."""
    result = dict(environment)
    for name, value in variables.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = join_path_lists(value, result[name]) if name == "PATH" and name in result else value
    return result

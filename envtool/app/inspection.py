"""Looking into what stands in the store: `inspect` and `diff`. Nothing is made for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from envtool import plugins
from envtool.app.command_request import CommandRequest, find_env
from envtool.app.open_project import OpenProject, open_project, without_lock_check
from envtool.build.assess import NodeState, assess_nodes
from envtool.build.stack_files import StackTree
from envtool.container import userns
from envtool.errors import MakeError, UsageError, closest_name
from envtool.inspect import contents
from envtool.inspect.contents import EnvReport, LayerReport, PathReport, PlacedLayer
from envtool.inspect.diff import TreeDifferences, diff_trees, visible_tree
from envtool.run.stack_contents import list_packages
from envtool.store import disk_usage, inventory, layers, store
from envtool.store.leases import Leases
from envtool.store.store import Store

KEY_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{6,64}")
HINT_BUILD = "`envtool exec {} true` makes what is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSubject:
    """What a name means: an env with its whole stack, or (`env` empty) one layer."""

    env: str
    members: tuple[PlacedLayer, ...]  # bottom first


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `diff` found, and of what."""

    first: InspectSubject
    second: InspectSubject
    difference: TreeDifferences


class StoreInspector:
    """The store, and the project here if there is one. What is looked at is held."""

    def __init__(self, request: CommandRequest) -> None:
        self.claims = Leases()
        self.at: OpenProject | None = None
        try:
            self.at = open_project(without_lock_check(request))
        except UsageError as error:
            if error.code != "no-spec" or request.file:
                raise
        self.store: Store = self.at.setting.store if self.at else store.open_store(idmap=userns.describe_ids())
        self.plugins: Sequence[object] = (self.at.kinds if self.at else plugins.discover()).plugins
        self._looks: dict[str, NodeState] | None = None

    def find(self, name: str) -> InspectSubject:
        """An env, a base or a layer of the project, or a layer by the beginning of its key or diff ID. Raises
        UsageError, MakeError for what does not stand, SpecError."""
        subject, colon, plain = name.partition(":")
        subject, plain = (subject, plain) if colon and subject in ("env", "layer", "base") else ("", name)
        at = self.at
        if at is not None:
            if subject in ("", "env") and any(plain in (env.name, env.group) for env in at.spec.envs):
                return self._find_env(at, find_env(at.spec, plain).name)
            nodes = [
                node for node in at.nodes.nodes.values() if node.spec.name == plain and subject in ("", node.subject)
            ]
            if nodes:
                return self._find_layer(plain, [self._assess(at)[node.id] for node in nodes])
        if not subject and KEY_PREFIX.fullmatch(name):
            return self._find_by_key(name)
        raise self._unknown_name_error(name)

    def _assess(self, at: OpenProject) -> dict[str, NodeState]:
        if self._looks is None:
            self._looks = assess_nodes(at.nodes, at.setting)
        return self._looks

    def _find_env(self, at: OpenProject, name: str) -> InspectSubject:
        looks = [self._assess(at)[node_id] for node_id in at.nodes.stacks[name]]
        missing = [each.node.spec.name for each in looks if each.layer is None]
        if missing:
            text = f"{', '.join(f'`{each}`' for each in missing)} of env `{name}` {_is_or_are(missing)} not made yet"
            raise MakeError(text, code="not-cached", hint=HINT_BUILD.format(name))
        return InspectSubject(env=name, members=tuple(self._member(each) for each in looks))

    def _find_layer(self, name: str, looks: Sequence[NodeState]) -> InspectSubject:
        standing = {each.layer.key: each for each in looks if each.layer is not None}
        if not standing:
            raise MakeError(f"`{name}` is not made yet", code="not-cached", hint="`envtool why` says what it waits for")
        if len(standing) > 1:
            keys = ", ".join(key[:12] for key in standing)
            raise UsageError(f"there are {len(standing)} layers `{name}`: say which of {keys}", code="layer-ambiguous")
        return InspectSubject(env="", members=(self._member(*standing.values()),))

    def _find_by_key(self, name: str) -> InspectSubject:
        sheets = {key: self._read(key) for key in inventory.list_names(self.store, "layers")}
        plain = name.removeprefix("sha256:")
        found = [
            layer
            for key, layer in sheets.items()
            if layer is not None and (key.startswith(name) or layer.diff_id.startswith(f"sha256:{plain}"))
        ]
        if not found:
            raise self._unknown_name_error(name)
        if len({layer.diff_id for layer in found}) > 1:
            keys = ", ".join(layer.key[:16] for layer in found)
            raise UsageError(f"`{name}` begins several: {keys}", code="layer-ambiguous")
        return InspectSubject(env="", members=(self._place_layer(found[0]),))

    def _read(self, key: str) -> layers.Layer | None:
        try:
            return layers.find(self.store, key)
        except MakeError:
            return None

    def _member(self, each: NodeState) -> PlacedLayer:
        assert each.layer is not None
        node = each.node
        return self._held(node.subject, node.spec.name, node.kind.name, each.layer)

    def _place_layer(self, layer: layers.Layer) -> PlacedLayer:
        subject, _, kind = str(layer.document.get("kind", "")).rpartition(":")
        return self._held(subject or "layer", str(layer.built.get("name", "")) or layer.key[:12], kind, layer)

    def _held(self, subject: str, name: str, kind: str, layer: layers.Layer) -> PlacedLayer:
        if self.claims.find_layer(self.store, layer.key) is None:
            raise MakeError(f"layer {layer.key[:12]} is gone from the store", code="layer-gone", hint="run it again")
        disk = disk_usage.layer_sizes(self.store, [layer.key], userns.run_as_root)[layer.key]
        return PlacedLayer(subject=subject, name=name, kind=kind, layer=layer, disk=disk)

    def below(self, layer: layers.Layer) -> list[layers.Layer] | None:
        """What a layer stands on, bottom first; None where not all of it is in the store."""
        wanted = [str(each) for each in layer.document.get("below") or ()]  # type: ignore[union-attr]
        if not wanted:
            return []
        known = {}
        for key in inventory.list_names(self.store, "layers"):
            found = self._read(key)
            if found is not None and found.diff_id in wanted:
                known[found.diff_id] = found
        if not known.keys() >= {*wanted}:
            return None
        held = [self.claims.find_layer(self.store, known[diff_id].key) for diff_id in wanted]
        return [each for each in held if each is not None] if all(held) else None

    def _unknown_name_error(self, name: str) -> UsageError:
        names = []
        if self.at is not None:
            names = [env.name for env in self.at.spec.envs]
            names += [node.spec.name for node in self.at.nodes.nodes.values()]
        near = closest_name(name, names)
        hint = f"did you mean `{near}`?" if near else "names are those of envs, bases and layers, or keys of layers"
        return UsageError(f"nothing here is called `{name}`", code="no-such-name", hint=hint)


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def inspect(request: CommandRequest, name: str, path: str, *, files: bool) -> LayerReport | EnvReport | PathReport:
    """Look into an env or layer, or (with an absolute path) ask who put it there. Raises as Looking.find."""
    here = StoreInspector(request)
    found = here.find(name)
    if path:
        if not path.startswith("/"):
            raise UsageError(f"`{path}` is not an absolute path", code="relative-path", hint=f"try `/{path}`")
        report = contents.inspect_path(path, found.members, here.plugins)
        if not report.said:
            raise UsageError(f"no {report.path} in `{name}`", code="no-path")
        return report
    if found.env:
        return contents.inspect_env(found.env, found.members, here.plugins, files=files)
    member = found.members[0]
    return contents.inspect_layer(member, here.below(member.layer), here.plugins, files=files)


def diff(request: CommandRequest, first: str, second: str) -> Comparison:
    """Compare the packages and files of two envs or layers. Raises as Looking.find."""
    here = StoreInspector(request)
    sides = here.find(first), here.find(second)
    # two layers are compared as they are, with what they delete; a stack as it is seen
    raw = not any(side.env for side in sides)
    trees = [
        dict(layers.read_records(side.members[0].layer))
        if raw
        else visible_tree([layers.read_records(member.layer) for member in side.members])
        for side in sides
    ]
    listed = []
    for side in sides:
        made = [member.layer for member in side.members]
        below = here.below(made[0]) if not side.env else []
        # of a layer alone a package manager's database is no list of what is in it: it is seen with what is below
        listed.append(list_packages(StackTree([*(below or ()), *made]), here.plugins))
    return Comparison(first=sides[0], second=sides[1], difference=diff_trees(trees[0], trees[1], listed[0], listed[1]))

"""Reads layers and stacks in the store: `inspect` and `diff`. Builds nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from envtool import plugins
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import OpenProject, open_project, without_lock_check
from envtool.build.assess import NodeState, assess_nodes
from envtool.build.stack import stack_binds
from envtool.build.stack_files import StackTree
from envtool.container import userns
from envtool.container.program import BindMount
from envtool.errors import MakeError, UsageError, near_name_hint
from envtool.inspect import contents
from envtool.inspect.contents import EnvReport, LayerReport, PathReport, PlacedLayer
from envtool.inspect.diff import TreeDifferences, diff_trees, visible_tree
from envtool.lazy_dataclass import dataclass
from envtool.run.stack_contents import list_packages
from envtool.spec.select_envs import env_names, find_stack, meaning_hint, stack_envs
from envtool.store import disk_usage, inventory, layers, store
from envtool.store.leases import Leases
from envtool.store.store import Store

KEY_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{6,64}")
HINT_BUILD = "`envtool exec {} true` makes what is missing"
HINT_LOCK = "`envtool lock` makes what is missing, and so does a task that uses the service"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSubject:
    """The meaning of a name: an env with its whole stack, or (`env` empty) one layer."""

    env: str
    members: tuple[PlacedLayer, ...]  # bottom first
    mounts: tuple[BindMount, ...] = ()  # directories of this machine that its base shows (kind `host`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two subjects, and how they differ."""

    first: InspectSubject
    second: InspectSubject
    difference: TreeDifferences


class StoreInspector:
    """The store, and the project if there is one. Leases keep `gc` away from the layers that are read."""

    def __init__(self, request: CommandRequest) -> None:
        self.leases = Leases()
        self.project: OpenProject | None = None
        try:
            self.project = open_project(without_lock_check(request))
        except UsageError as error:
            if error.code != "no-spec" or request.file:
                raise
        self.store: Store = (
            self.project.context.store if self.project else store.open_store(idmap=userns.describe_ids())
        )
        self.plugins: Sequence[object] = (self.project.kinds if self.project else plugins.used()).plugins
        self._states: dict[str, NodeState] | None = None

    def find(self, name: str) -> InspectSubject:
        """An env, a service (service:NAME), a base or a layer of the project, or a layer by the beginning of its key or
        diff ID. Raises UsageError, SpecError, and MakeError for a layer that is not in the store."""
        subject, colon, bare_name = name.partition(":")
        subject, bare_name = (subject, bare_name) if colon and subject in ("env", "layer", "base") else ("", name)
        project = self.project
        if project is not None:
            if subject in ("", "env") and bare_name in env_names(stack_envs(project.spec)):
                return self._find_env(project, find_stack(project.spec, bare_name).name)
            nodes = [
                node
                for node in project.graph.nodes.values()
                if node.spec.name == bare_name and subject in ("", node.subject)
            ]
            if nodes:
                return self._find_layer(bare_name, [self._assess(project)[node.id] for node in nodes])
        if not subject and KEY_PREFIX.fullmatch(name):
            return self._find_by_key(name)
        raise self._unknown_name_error(name)

    def _assess(self, project: OpenProject) -> dict[str, NodeState]:
        if self._states is None:
            self._states = assess_nodes(project.graph, project.context)
        return self._states

    def _find_env(self, project: OpenProject, name: str) -> InspectSubject:
        states = [self._assess(project)[node_id] for node_id in project.graph.stacks[name]]
        missing = [state.node.spec.name for state in states if state.layer is None]
        if missing:
            is_service = name.startswith("service:")
            owner = f"`{name}`" if is_service else f"env `{name}`"
            text = f"{', '.join(f'`{layer}`' for layer in missing)} of {owner} {_is_or_are(missing)} not built yet"
            raise MakeError(text, code="not-cached", hint=HINT_LOCK if is_service else HINT_BUILD.format(name))
        return InspectSubject(
            env=name, members=tuple(self._place_assessed(state) for state in states), mounts=_base_mounts(states[0])
        )

    def _find_layer(self, name: str, states: Sequence[NodeState]) -> InspectSubject:
        stored = {state.layer.key: state for state in states if state.layer is not None}
        if not stored:
            raise MakeError(
                f"`{name}` is not built yet", code="not-cached", hint="`envtool why` says what it waits for"
            )
        if len(stored) > 1:
            keys = ", ".join(key[:12] for key in stored)
            raise UsageError(f"there are {len(stored)} layers `{name}`: say which of {keys}", code="layer-ambiguous")
        (state,) = stored.values()
        mounts = _base_mounts(state) if state.node.subject == "base" else ()
        return InspectSubject(env="", members=(self._place_assessed(state),), mounts=mounts)

    def _find_by_key(self, name: str) -> InspectSubject:
        layers_by_key = {key: self._read(key) for key in inventory.list_names(self.store, "layers")}
        digits = name.removeprefix("sha256:")
        matches = [
            layer
            for key, layer in layers_by_key.items()
            if layer is not None and (key.startswith(name) or layer.diff_id.startswith(f"sha256:{digits}"))
        ]
        if not matches:
            raise self._unknown_name_error(name)
        if len({layer.diff_id for layer in matches}) > 1:
            keys = ", ".join(layer.key[:16] for layer in matches)
            raise UsageError(f"`{name}` begins several: {keys}", code="layer-ambiguous")
        return InspectSubject(env="", members=(self._place_layer(matches[0]),))

    def _read(self, key: str) -> layers.Layer | None:
        try:
            return layers.find(self.store, key)
        except MakeError:
            return None

    def _place_assessed(self, state: NodeState) -> PlacedLayer:
        assert state.layer is not None
        node = state.node
        return self._place(node.subject, node.spec.name, node.kind.name, state.layer)

    def _place_layer(self, layer: layers.Layer) -> PlacedLayer:
        subject, _, kind = str(layer.document.get("kind", "")).rpartition(":")
        return self._place(subject or "layer", str(layer.built.get("name", "")) or layer.key[:12], kind, layer)

    def _place(self, subject: str, name: str, kind: str, layer: layers.Layer) -> PlacedLayer:
        if self.leases.find_layer(self.store, layer.key) is None:
            raise MakeError(f"layer {layer.key[:12]} is gone from the store", code="layer-gone", hint="run it again")
        disk = disk_usage.layer_sizes(self.store, [layer.key], userns.run_as_root)[layer.key]
        return PlacedLayer(subject=subject, name=name, kind=kind, layer=layer, disk=disk)

    def below(self, layer: layers.Layer) -> list[layers.Layer] | None:
        """The layers below a layer, bottom first; None where one of them is not in the store."""
        diff_ids = [str(diff_id) for diff_id in layer.document.get("below") or ()]  # type: ignore[union-attr]
        if not diff_ids:
            return []
        stored = {}
        for key in inventory.list_names(self.store, "layers"):
            candidate = self._read(key)
            if candidate is not None and candidate.diff_id in diff_ids:
                stored[candidate.diff_id] = candidate
        if not stored.keys() >= {*diff_ids}:
            return None
        leased = [self.leases.find_layer(self.store, stored[diff_id].key) for diff_id in diff_ids]
        return [below for below in leased if below is not None] if all(leased) else None

    def _unknown_name_error(self, name: str) -> UsageError:
        names = []
        meaning = ""
        if self.project is not None:
            names = [env.name for env in stack_envs(self.project.spec)]
            names += [node.spec.name for node in self.project.graph.nodes.values()]
            meaning = meaning_hint(self.project.spec, name)
        hint = meaning or near_name_hint(name, names, "names are those of envs, bases and layers, or keys of layers")
        return UsageError(f"nothing here is called `{name}`", code="no-such-name", hint=hint)


def _base_mounts(state: NodeState) -> tuple[BindMount, ...]:
    return stack_binds((state.output,)) if state.output else ()


def _find_mount(path: str, mounts: Sequence[BindMount]) -> str:
    """The mounted directory of this machine that has a path; "" for none. The base has links as this machine has them:
    `/bin` may lead to `/usr/bin`. Raises UsageError where the directory has no such file."""
    if not mounts:
        return ""
    top, slash, below = path[1:].partition("/")
    real = os.path.join(os.path.realpath(f"/{top}"), below) if slash else path
    for mount in mounts:
        target = mount.target.rstrip("/")
        if f"{real}/".startswith(f"{target}/"):
            if not os.path.lexists(mount.source + real[len(target) :]):
                text = f"no {path} on this machine, whose {mount.source} is what a container shows there"
                raise UsageError(text, code="no-path")
            return mount.source
    return ""


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def inspect(request: CommandRequest, name: str, path: str, *, files: bool) -> LayerReport | EnvReport | PathReport:
    """Report what is in an env or layer, or (with an absolute path) which layers and packages put a file there. Raises
    as StoreInspector.find."""
    inspector = StoreInspector(request)
    subject = inspector.find(name)
    if path:
        if not path.startswith("/"):
            raise UsageError(f"`{path}` is not an absolute path", code="relative-path", hint=f"try `/{path}`")
        report = contents.inspect_path(path, subject.members, inspector.plugins)
        if mounted := _find_mount(report.path, subject.mounts):
            return replace(report, there=True, mounted=mounted)
        if not report.said:
            raise UsageError(f"no {report.path} in `{name}`", code="no-path")
        return report
    if subject.env:
        return contents.inspect_env(subject.env, subject.members, inspector.plugins, files=files)
    member = subject.members[0]
    return contents.inspect_layer(member, inspector.below(member.layer), inspector.plugins, files=files)


def diff(request: CommandRequest, first: str, second: str) -> Comparison:
    """Compare the packages and files of two envs or layers. Raises as StoreInspector.find."""
    inspector = StoreInspector(request)
    subjects = inspector.find(first), inspector.find(second)
    # two layers are compared with their deletions; a stack as a container sees it
    raw = not any(subject.env for subject in subjects)
    trees = [
        dict(layers.read_records(subject.members[0].layer))
        if raw
        else visible_tree([layers.read_records(member.layer) for member in subject.members])
        for subject in subjects
    ]
    packages = []
    for subject in subjects:
        members = [member.layer for member in subject.members]
        below = inspector.below(members[0]) if not subject.env else []
        # a layer's package database lists also the packages below it: read it together with the layers below
        packages.append(list_packages(StackTree([*(below or ()), *members]), inspector.plugins))
    return Comparison(
        first=subjects[0], second=subjects[1], difference=diff_trees(trees[0], trees[1], packages[0], packages[1])
    )

"""Builds one layer of a kind as envtool does, with a store of its own and a FakeRunner in place of containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from envtool import api
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Scheduler
from envtool.events import Event
from envtool.model import BaseSpec, Env, LayerSpec, Spec, Where
from envtool.plan.graph import build_graph
from envtool.plugins import PluginRegistry
from envtool.store import layers
from envtool.store.store import open_store

if TYPE_CHECKING:
    from envtool.testing.fake_runner import FakeRunner

_HERE = Where(file="envtool.yaml", line=1, column=1)
_ARCH = "x86_64"


class _EmptyBase(api.Base):
    """A base without a file."""

    name: ClassVar[str] = "empty"
    schema: ClassVar[api.Json] = True

    def build(self, request: api.Request, pins: api.Json) -> api.Recipe:
        return api.Recipe()


def build_layer(kind: api.Kind, options: api.Json, runner: FakeRunner, directory: str | Path) -> dict[str, bytes]:
    """Builds a layer of the kind on an empty base. Returns the content of its files by their absolute paths.

    `directory` must exist, be empty and outlive the call; what is in `directory/project` is the project. The kind is
    called as in a run: it resolves (also by commands, which the runner answers), its files are fetched, and its steps
    become a container of the runner. Raises what a run would report: MakeError, SpecError.
    """
    project = os.path.join(directory, "project")
    os.makedirs(project, exist_ok=True)
    env = Env(
        name="tested",
        group="tested",
        base=BaseSpec(name="empty", kind="empty", options=None, where=_HERE),
        layers=(LayerSpec(name="tested", kind=kind.name, options=options, where=_HERE),),
        tasks=(),
        where=_HERE,
    )
    spec = Spec(file="envtool.yaml", root=project, envs=(env,), bases={}, layers={}, read=())
    graph = build_graph(spec, PluginRegistry(bases={"empty": _EmptyBase()}, layers={kind.name: kind}))
    cancel = Cancel.make()
    store = open_store(environ={"ENVTOOL_STORE": os.path.join(directory, "store")})
    context = Context(store=store, root=project, arch=_ARCH, emit=_ignore, cancel=cancel, runner=runner)
    try:
        layer = Scheduler(graph, context).stack("tested").layers[-1].layer
        return _files(layer)
    finally:
        context.leases.close()
        cancel.close()


def _files(layer: layers.Layer) -> dict[str, bytes]:
    names = [os.fsdecode(path) for path, fields in layers.read_records(layer) if fields[:1] == b"f"]
    return {f"/{name}": Path(layer.tree, name).read_bytes() for name in names}


def _ignore(_: Event) -> None:
    pass

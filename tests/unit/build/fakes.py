"""A project, a store, kinds and a team cache without a kernel and a network: what a container does is a FakeRunner."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

from envtool import api
from envtool.build.context import Cancel, Context, RunScoped
from envtool.build.scheduler import Scheduler
from envtool.events import Finished
from envtool.model import BaseSpec, Command, Env, LayerSpec, Spec, Where
from envtool.plan.graph import build_graph
from envtool.plugin_calls import wrap_kind
from envtool.plugins import PluginRegistry
from envtool.store import blobs, canonical
from envtool.store.store import open_store
from envtool.teamcache.statement import Statement
from envtool.testing import FakeRunner

HERE = Where(file="envtool.yaml", line=3, column=1)
OWNER = "the plugin `fake` 1.0"


def content(name):
    """The file that a node with `fetch` fetches."""
    return f"the file of {name}".encode()


class Fake(api.Kind):
    """Its options are {"name": …}, and with `fetch` a file; `fails` is called at each step of its life."""

    schema = True

    def __init__(self, name, fails):
        self.name, self._fails = name, fails

    def resolve(self, request, site):
        self._fails("resolve", request.options["name"], site)
        return {"resolved": request.options["name"]}

    def fetches(self, request, pins):
        name = request.options["name"]
        digest = hashlib.sha256(content(name)).hexdigest()
        return (api.Fetch(sha256=digest, name="file"),) if request.options.get("fetch") else ()

    def locate(self, request, pins, fetches, site):
        return [replace(fetch, url=site.url(f"files/{request.options['name']}")) for fetch in fetches]

    def build(self, request, pins):
        return api.Recipe(steps=(api.Run(command=Command(argv=("make", request.options["name"]))),))


class FakeBase(Fake, api.Base):
    """A base of the same sort."""


class FakeImage(FakeBase):
    """A base with two sublayers, of which the first is only looked at by the second."""

    def parts(self, request, pins):
        name = request.options["name"]
        kind = wrap_kind(Fake("part", self._fails), OWNER)

        def part(suffix, **more):
            return api.Part(
                name=f"{name}-{suffix}", kind=kind, options={"name": f"{name}-{suffix}"}, where=HERE, **more
            )

        return (part("stage", shown=False), part("top", below=(0,), beside={"stage": (1,)}))


class FakeShare:
    """A team cache: `layers` has the layers of another store by key, and the archives of some are lost or damaged."""

    network, pushes = True, True

    def __init__(self, layers=(), *, lost=(), damaged=()):
        self._layers = {layer.key: layer for layer in layers}
        self._lost, self._damaged = lost, damaged
        self.refused, self.offered, self.hits = [], [], []

    def ask(self, key, name):
        layer = self._layers.get(key)
        if layer is None:
            return None
        return Statement(
            sort="layer", key=key, ids="single", diff_id=layer.diff_id, size=layer.size, entries=layer.entries,
            blob=f"sha256:{key}", blob_size=layer.size, media_type="tar",
        )  # fmt: skip

    def take(self, statement, path, name, progress):
        if statement.key in self._lost:
            return False
        with open(path, "wb") as file:
            if statement.key in self._damaged:
                file.write(b"no tar")
            else:
                canonical.write_tar(self._layers[statement.key].tree, file)
        progress(statement.blob_size)
        return True

    def refuse(self, key, name, why):
        self.refused.append(key)

    def refusal(self, key):
        return ""

    def count_hit(self, statement):
        self.hits.append(statement.key)

    def origin(self, statement):
        return {"bytes": statement.blob_size}

    def offer(self, layer):
        self.offered.append(layer.key)


class World:
    """A project with a graph, in a store of its own. `fails(step, name, site)` may raise, or wait."""

    def __init__(self, top, envs, *, images=(), fails=lambda *_: None, missing=(), fetch=(), layers=Fake):
        self.top = Path(top)
        self.root = self.top / "project"
        (self.root / "files").mkdir(parents=True)
        for name in fetch:
            if name not in missing:
                (self.root / "files" / name).write_bytes(content(name))
        self.events, self.lock = [], threading.Lock()
        self.cancel = Cancel.make()
        self.on_event = lambda event: None
        self.runner = FakeRunner()
        self.context = Context(
            store=open_store(environ={"ENVTOOL_STORE": str(self.top / "store")}),
            root=str(self.root),
            arch="x86_64",
            emit=self.emit,
            cancel=self.cancel,
            runner=self.runner,
        )
        bases = {kind.name: wrap_kind(kind, OWNER) for kind in (FakeBase("fake", fails), FakeImage("image", fails))}
        registry = PluginRegistry(bases=bases, layers={"fake": wrap_kind(layers("fake", fails), OWNER)})
        self.graph = build_graph(self._spec(envs, images, fetch), registry)
        self.scheduler = Scheduler(self.graph, self.context)

    def _spec(self, envs, images, fetch):
        """`envs` are name -> (base, ((layer, needs), …))."""

        def options(name):
            return {"name": name, **({"fetch": True} if name in fetch else {})}

        made = [
            Env(
                name=name, group=name, tasks=(), where=HERE,
                base=BaseSpec(name=base, kind="image" if base in images else "fake", options=options(base), where=HERE),
                layers=tuple(
                    LayerSpec(name=layer, kind="fake", options=options(layer), where=HERE, needs=needs)
                    for layer, needs in layers
                ),
            )
            for name, (base, layers) in envs.items()
        ]  # fmt: skip
        return Spec(file="envtool.yaml", root=str(self.root), envs=tuple(made), bases={}, layers={}, read=())

    def emit(self, event):
        with self.lock:
            self.events.append(event)
        self.on_event(event)

    def again(self, **changes):
        """Begins another run on the same store."""
        self.context = replace(self.context, **{"shared": RunScoped(), **changes})
        self.events.clear()
        self.scheduler = Scheduler(self.graph, self.context)
        return self.scheduler

    def made(self):
        """The names of the nodes for which a container ran, in order."""
        return [program.steps[0].argv[1] for program in self.runner.programs]

    def outcomes(self):
        """The outcome of each piece of work, by its id's first word and its name."""
        return {
            (event.id.partition(":")[0], event.name): event.outcome
            for event in self.events
            if isinstance(event, Finished)
        }

    def close(self):
        self.context.leases.close()
        self.cancel.close()


def builds(container):
    """What a container of `make NAME` writes: a file of that name."""
    container.write(f"/{container.program.steps[0].argv[1]}", "made")


def has_blob(world, name):
    """Whether the file of a node is in the store."""
    return blobs.has(world.context.store, hashlib.sha256(content(name)).hexdigest(), 0)

"""A project, a store and a stack without a kernel: what runs a task is a function, what builds a stack a table."""

from __future__ import annotations

import os
import subprocess
import time
from types import SimpleNamespace

from envtool.api import Base
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Stack
from envtool.model import BaseSpec, Command, Env, Task, Where
from envtool.project import rundir
from envtool.run.prepared_task import TaskCall
from envtool.run.task_request import TaskResult
from envtool.store.store import open_store

HERE = Where(file="envtool.yaml", line=1, column=1)
BASE = BaseSpec(name="base", kind="tarball", options=None, where=HERE)
TASK = Task(name="test", commands=(Command(shell="true"),), where=HERE)
ENV = Env(name="unit", group="unit", base=BASE, layers=(), tasks=(TASK,), where=HERE, passed=("MY_*",))
HOST = {"MY_A": "1", "B": "2"}


class FakeBase(SimpleNamespace, Base):
    """A kind of bases with the methods that it is given."""


def layer(diff_id, key, mounts=(), *, stored=True, tree="/tree", looked=None, pinned=True):
    """A layer, as the scheduler gives it; one that is not `stored` is known by its diff ID alone."""
    kind = FakeBase(
        name="tarball",
        build=lambda request, pins: SimpleNamespace(mounts=mounts),
        variables=lambda request, pins: {},
        in_project=lambda request, pins: {},
        generated=lambda request, pins: {},
        looked=lambda pins: looked,
        summary=lambda request, pins: "",
    )
    node = SimpleNamespace(kind=kind, base_kind=kind, is_pinned=pinned, spec=BASE, subject="base")
    resolved = SimpleNamespace(node=node, request=None, pins=None, epoch=0, fetches=(), key=key)
    found = SimpleNamespace(diff_id=diff_id, key=key, tree=tree, manifest=f"{tree}/manifest") if stored else None
    return SimpleNamespace(resolved=resolved, diff_id=diff_id, layer=found)


def stack_of(*rows, mounts=(), **more):
    """A stack of (diff ID, key), bottom first."""
    return Stack(layers=tuple(layer(*row, mounts, **more) for row in rows or [("d1", "k1"), ("d2", "k2")]))


class FakeStacks:
    """Gives a stack, as the scheduler does; `built` counts how often it had to be built. `known` is what is found without."""

    def __init__(self, stack, *, known=None, foreseen=None):
        self.built, self._stack, self._known, self._foreseen = 0, stack, known, foreseen

    def find_known_stack(self, env, *, team=False):
        return self._known or (self._foreseen if team else None)

    def stack(self, env, own=()):
        self.built += 1
        return self._stack


class World:
    """A git project and a store, of their own."""

    def __init__(self, top):
        self.root = top / "project"
        self.root.mkdir(parents=True)
        (self.root / "file").write_text("one\n")
        subprocess.run(["git", "init", "-q", str(self.root)], check=True)
        self.store = open_store(environ={"ENVTOOL_STORE": str(top / "store")})
        self.events = []
        self.cancel = Cancel.make()
        self.context = self._context()
        self.runs = 0
        self.top = top

    def _context(self, **more):
        return Context(
            store=self.store, root=str(self.root), arch="x", emit=self.events.append, cancel=self.cancel, **more
        )

    def put_layers(self):
        """Lets the store have the layers of `stack_of`, as far as `hold_layers` looks."""
        for key in ("k1", "k2"):
            os.makedirs(self.store.path("layers", key))
            with open(self.store.path("layers", key, "layer.json"), "w") as file:
                file.write("{}")

    def share(self, share):
        """Another context, with a team cache."""
        self.context = self._context(share=share)

    def call(self, *, env=ENV, task=TASK, host=None):
        """A task that is to be run."""
        directory, _ = rundir.open_run(str(self.root))
        log = rundir.log_path(directory, env.name, task.name)
        return TaskCall(env=env, task=task, context=self.context, log=log, host=HOST if host is None else host)

    def runner(self, outcome="passed", *, during=lambda: None, outputs=()):
        """What runs a task: it writes the log, calls `during`, and has this outcome."""

        def run(task, reach):
            self.runs += 1
            began = time.time()
            with rundir.create_file(task.call.log) as file:
                file.write(b"said\n")
            during()
            if reach:
                reach.opened = ()
            status = 0 if outcome == "passed" else 1
            return TaskResult(outcome=outcome, status=status, started=began, seconds=0.5, outputs=outputs)

        return run

"""Services without a kernel: a project, a store, a FakeRunner, and a group in them."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from types import SimpleNamespace

from envtool.events import Finished, Started
from envtool.model import Command, ReadyCheck, Service, Where
from envtool.project import rundir
from envtool.services.group import ServiceGroup
from envtool.services.group_values import GroupSetting
from envtool.services.service_container import LocalService, ServiceProject, make_service_request
from envtool.testing import FakeRunner
from tests.unit.run.fakes import ENV, World, stack_of


def service(name, *, line=1, command=None, ready=(), **more):
    """A service whose command is its name, so that rules of the FakeRunner find it."""
    where = Where(file="envtool.yaml", line=line, column=3)
    return Service(
        name=name,
        where=where,
        env=replace(ENV, name=f"service:{name}"),
        command=command or Command(argv=(f"run-{name}",)),
        ready=tuple(ReadyCheck(**{"where": where, **check}) for check in ready),
        **more,
    )


class Place:
    """A place for groups of services. Every test leaves nothing behind (`check_empty`)."""

    def __init__(self, top):
        self.world = World(top)
        self.runner = FakeRunner()
        self.world.context = replace(self.world.context, runner=self.runner)
        self.changes = []
        self.world.put_layers()
        self.stack = stack_of()
        for made in self.stack.layers:
            made.resolved.node.kind.image_config = lambda request, pins: {}
        self.directory, _ = rundir.open_run(str(self.world.root))

    def locals(self, services):
        others = {each.name: each for each in services}
        return [LocalService(make_service_request(each, self.stack, others), self.stack) for each in services]

    def group(self, sort=ServiceGroup, **more):
        setting = GroupSetting(
            context=self.world.context,
            project=ServiceProject(str(self.world.root)),
            env="unit",
            name="test",
            directory=self.directory,
            changed=lambda state: self.changes.append((state.replica, state.stage)),
            **more,
        )
        return sort(setting)

    def started(self, name):
        """The container of a replica that runs."""
        return next(each for each in self.runner.started if each.program.hostname == name)

    def events(self):
        return [
            (event.name, event.outcome if isinstance(event, Finished) else "started")
            for event in self.world.events
            if isinstance(event, Started | Finished)
        ]

    def check_empty(self):
        assert not self.runner.running
        assert not self.runner.started
        assert not os.listdir(self.world.store.path("tmp")), "a directory is left"
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("service")]
        for pod in self.runner.pods:
            assert pod.closed


def exit_of(status, seconds=0.1):
    return SimpleNamespace(status=status, seconds=seconds)

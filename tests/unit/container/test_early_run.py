"""Which of the containers that began early a run may take over."""

from __future__ import annotations

import _thread

import pytest

from envtool.container import early_run
from envtool.container.early_run import EarlyPod

NANOSECONDS = 1_000_000_000


class Container:
    """Stands in for an EarlyContainer that runs."""

    def __init__(self, program, space, began=5 * NANOSECONDS):
        self.program, self.space, self.began = program, space, began
        self.adopted = self.has_ended = self.is_over = False
        self.starts = True

    def adopt(self):
        self.adopted = True

    def go(self):
        self.went = True

    def await_start(self):
        return self.starts

    def end(self):
        assert not self.is_over, "it is ended once"
        self.is_over = True


def program(**more):
    return {"steps": (), "hidden": ("a", "b"), "outputs": (), **more}


@pytest.fixture
def pod(monkeypatch):
    """A pod in which `web` and the task `envtool` began early; removed members are in `removed`."""
    pod = object.__new__(EarlyPod)
    pod.lock, pod.is_open, pod.is_confirmed, pod.members, pod.place = _thread.RLock(), True, False, None, None
    pod.early = {name: ((name, service, not service), name) for name, service in (("web-1", "web"), ("envtool", ""))}
    pod.services, pod.task = [Container(program(name="web"), "web")], Container(program(name="task"), "task")
    pod.removed = []
    monkeypatch.setattr(early_run.Pod, "remove_member", lambda self, name: self.removed.append(name))
    monkeypatch.setattr(early_run.Pod, "add_member", lambda self, name, *_, **__: f"new {name}")
    monkeypatch.setattr(early_run, "identify", lambda joins: joins)
    return pod


MEMBERS = frozenset(["web-1", "envtool"])


def test_all_is_taken_over(pod):
    assert pod.confirm(5 * NANOSECONDS - 1, MEMBERS) == 5 * NANOSECONDS
    assert pod.add_member("web-1", "web") == "web-1"
    assert pod.take_over("web", program(name="web", hidden=("b", "a"))) is pod.services[0]
    assert pod.add_member("envtool", default_route=True) == "envtool"
    assert pod.take_over("task", program(name="task")) is pod.task
    assert pod.is_complete
    pod.drop()
    assert pod.removed == []
    assert not pod.task.is_over


@pytest.mark.parametrize(
    ("newest", "members"),
    [
        (None, MEMBERS),  # nobody knows
        (5 * NANOSECONDS, MEMBERS),  # the project changed when they began
        (9 * NANOSECONDS, MEMBERS),
        (1, frozenset(["envtool"])),  # a service that the run has not
    ],
)
def test_what_the_run_would_not_have_started_is_ended(pod, newest, members):
    containers = pod.containers()
    assert pod.confirm(newest, members) == 0
    assert all(container.is_over for container in containers)
    assert sorted(pod.removed) == sorted(MEMBERS)
    assert pod.start_early("web-2", "web", lambda _: program()) is None


def test_a_run_that_confirms_nothing_takes_nothing_over(pod):
    containers = pod.containers()
    assert pod.add_member("web-1", "web") == "new web-1"
    assert all(container.is_over for container in containers)


@pytest.mark.parametrize(
    "change", [{"outputs": ("x",)}, {"more": 1}, {"hidden": ("a",)}, {"steps": ((),)}, {"watch": ("/x",)}]
)
def test_another_program_ends_it_and_the_task_beside_it(pod, change):
    pod.confirm(1, MEMBERS)
    service, task = pod.containers()
    assert pod.take_over("web", program(name="web") | change) is None
    assert service.is_over
    assert task.is_over, "it began beside another service"
    assert pod.take_over("task", program(name="task")) is None
    assert not pod.is_complete


def test_a_task_whose_services_were_not_taken_over_is_ended(pod):
    pod.confirm(1, MEMBERS)
    task = pod.task
    assert pod.take_over("task", program(name="task")) is None
    assert task.is_over


@pytest.mark.parametrize("how", ["ended", "not started"])
def test_a_service_that_does_not_run_is_started_anew(pod, how):
    pod.confirm(1, MEMBERS)
    service, task = pod.containers()
    service.has_ended, service.starts = how == "ended", how != "not started"
    assert pod.take_over("web", program(name="web")) is None
    assert service.is_over
    assert task.is_over


def test_a_task_that_has_ended_is_taken_over(pod):
    pod.confirm(1, MEMBERS)
    pod.take_over("web", program(name="web"))
    pod.task.has_ended = True
    assert pod.take_over("task", program(name="task")) is pod.task


def test_another_member_of_the_same_name_is_none_of_them(pod):
    pod.confirm(1, MEMBERS)
    containers = pod.containers()
    assert pod.add_member("web-1", "other") == "new web-1"
    assert all(container.is_over for container in containers)


def test_what_the_run_starts_itself_ends_what_would_begin_later(pod):
    pod.confirm(1, MEMBERS)
    assert pod.add_member("web-2", "web") == "new web-2"
    assert pod.start_early("later", "later", lambda _: program()) is None


def test_a_task_that_began_beside_fewer_services_is_ended(pod):
    """The run has one more, which it starts itself."""
    pod.confirm(1, MEMBERS | {"web-2"})
    task = pod.task
    assert pod.take_over("web", program(name="web")) is pod.services[0]
    assert pod.take_over("task", program(name="task")) is None
    assert task.is_over

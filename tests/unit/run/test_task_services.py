"""A task beside services, without a kernel: which there are, when the pod starts, what the result says."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from envtool.container.pod import Attempt
from envtool.errors import Interrupted, SandboxError, ServiceError, SpecError
from envtool.events import Finished, Learned, Noted, Started
from envtool.model import Command, Prepare, ReadyCheck, Service
from envtool.run import prepared_states, task_services
from envtool.run.cached_task import run_task_cached
from envtool.run.host_inputs import HostInputs
from envtool.run.host_state import ComparedStates
from envtool.run.task_services import ServiceStacks
from envtool.spec.select_envs import stack_names
from envtool.testing import FakeRunner
from tests.leftovers import nothing_left, threads
from tests.unit.run.fakes import ENV, HERE, TASK, FakeStacks, World, layer, stack_of

DB = Service(
    name="db",
    where=HERE,
    env=replace(ENV, name="service:db", tasks=(), passed=()),
    command=Command(argv=("run-db",)),
    ready=(ReadyCheck(how="tcp", port=80, where=HERE),),
    provides={"DATABASE_URL": "db://db", "MODE": "of db"},
)
CACHE = replace(
    DB, name="cache", env=replace(DB.env, name="service:cache"), provides={}, command=Command(argv=("run-cache",))
)
API = replace(
    DB,
    name="api",
    env=replace(DB.env, name="service:api"),
    needs=("db",),
    provides={},
    command=Command(argv=("run-api",)),
)
BESIDE = replace(TASK, services=("db",))
WITH = replace(ENV, services=(DB, CACHE, API), uses=("db",), tasks=(BESIDE,))


class Place:
    def __init__(self, top):
        self.world = World(top)
        self.runner = FakeRunner()
        self.world.context = replace(self.world.context, runner=self.runner)
        self.world.put_layers()
        self.stack = stack_of()
        for made in self.stack.layers:
            made.resolved.node.kind.image_config = lambda request, pins: {}
        self.runner.on("run-", self.serve)

    def serve(self, container):
        container.listen(80)
        container.wait()

    def run(self, *, env=WITH, task=BESIDE, again=True, known=None):
        stacks = FakeStacks(self.stack, known=known)
        return run_task_cached(self.world.call(env=env, task=task), stacks, again=again)

    def task_program(self):
        return next(program for program in self.runner.programs if program.steps[0].argv[-1] == "true")


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    with nothing_left(threads):
        yield made
    assert not made.runner.running
    assert all(pod.closed for pod in made.runner.pods)
    assert not os.listdir(made.world.store.path("tmp"))
    made.world.cancel.close()


def test_which_services_a_task_has():
    env = replace(ENV, services=(DB, CACHE, API), uses=("cache",))
    names = [service.name for service in task_services.used_services(env)]
    assert names == ["cache"]
    task = replace(TASK, services=("api",))
    assert [service.name for service in task_services.used_services(env, task)] == ["db", "cache", "api"]
    assert stack_names(env, task) == ("unit", "service:db", "service:cache", "service:api")
    assert task_services.used_services(ENV, TASK) == ()
    assert not task_services.needs_pod(ENV, TASK)
    assert task_services.needs_pod(replace(ENV, allow=("x:1",)), TASK)
    assert task_services.needs_pod(env)


def test_a_task_beside_its_service(place):
    result, _ = place.run(env=replace(WITH, set={"MODE": "of env"}))
    assert (result.outcome, result.message) == ("passed", "")
    program = place.task_program()
    assert program.env["DATABASE_URL"] == "db://db"
    assert program.env["MODE"] == "of env", "what the env sets counts more"
    assert (program.hostname, program.address) == ("envtool", "10.64.0.3")
    assert {mount.target for mount in program.mounts} == {"/etc/resolv.conf"}
    (pod,) = place.runner.pods
    assert pod.options == {"user": True, "spare": 2}
    assert [what for what in pod.history if what[0] != "remove"][:4] == [
        ("member", "db-1"),
        ("ready", "db-1"),
        ("member", "envtool"),
        ("not ready", "db-1"),
    ]
    named = [
        (event.subject, type(event).__name__) for event in place.world.events if isinstance(event, Started | Finished)
    ]
    assert named == [("service", "Started"), ("service", "Finished"), ("task", "Started"), ("task", "Finished")]


def test_it_is_remembered_under_its_services(place):
    place.run(again=False)
    assert place.run(again=False)[0].outcome == "cached"
    count = len(place.runner.pods)
    assert place.run(again=False, known=place.stack)[0].outcome == "cached"
    assert len(place.runner.pods) == count, "where the stacks are known, what is cached needs no pod"
    for change in (
        {"replicas": 2},
        {"command": Command(argv=("run-other",))},
        {"ready": (ReadyCheck(how="tcp", port=81, where=HERE),), "within": 0.05},
        {"provides": {"DATABASE_URL": "x"}},
        {"files": {"/etc/x": "1"}},
    ):
        other = replace(WITH, services=(replace(DB, **change),))
        if "ready" in change:
            with pytest.raises(ServiceError):
                place.run(env=other, again=False)
        else:
            assert place.run(env=other, again=False)[0].outcome == "passed", change
    for change in ({"grace": 1.0}, {"within": 99.0}, {"publish": ()}):
        assert place.run(env=replace(WITH, services=(replace(DB, **change),)), again=False)[0].outcome == "cached"


def test_what_reaches_outside_is_never_remembered(place):
    open_env = replace(WITH, allow=("example.org:443",))
    assert place.run(env=open_env, again=False)[0].outcome == "passed"
    assert place.run(env=open_env, again=False)[0].outcome == "passed"
    assert place.runner.pods[0].options == {"user": True, "spare": 2, "allow": ("example.org:443",)}
    alone = replace(ENV, allow=("example.org:443",))
    assert place.run(env=alone, task=TASK, again=False)[0].outcome == "passed"
    assert place.runner.pods[-1].options["spare"] == 1
    assert place.task_program().address.startswith("10.64.")


def test_a_task_without_services_has_no_pod(place):
    assert place.run(env=ENV, task=TASK)[0].outcome == "passed"
    assert not place.runner.pods
    assert place.task_program().address == "127.0.1.1"


def test_a_service_that_dies_ends_the_task(place):
    die = threading.Event()

    def serve(container):
        container.print("oh no\n")
        container.listen(80)
        die.wait(10)
        container.exit.status = 3

    def task(container):
        container.print("begun\n")
        die.set()
        container.wait()

    place.runner.on("run-db", serve)
    place.runner.on("true", task)
    result, stored = place.run()
    message = "service `db` ended while it was needed: exit 3 (envtool.yaml:1:1)"
    assert (result.outcome, stored) == ("failed", None)
    assert result.message.startswith(message)
    with open(result.log) as file:
        assert file.read() == f"begun\n\n[envtool: {message}; its last lines:]\noh no\n"


def test_one_that_is_not_ready_is_an_error_before_the_task(place):
    place.runner.on("run-db", lambda container: container.print("oh no\n"))
    with pytest.raises(ServiceError) as raised:
        place.run()
    assert raised.value.output == "oh no"
    assert not [program for program in place.runner.programs if program.steps[0].argv[-1] == "true"]


def test_an_interrupt(place):
    def task(container):
        place.world.cancel.set(2)
        container.wait()

    place.runner.on("true", task)
    assert place.run()[0].outcome == "interrupted"
    with pytest.raises(Interrupted):
        place.run()


def test_what_cannot_be(place):
    with pytest.raises(SpecError) as raised:
        place.run(env=replace(WITH, network=True))
    assert [problem.code for problem in raised.value.problems] == ["services-network"]
    with pytest.raises(SpecError) as raised:
        place.run(task=replace(BESIDE, user="root"))
    (problem,) = raised.value.problems
    assert problem.code == "service-user"
    place.runner.single_id = False
    assert place.run(task=replace(BESIDE, user="root"))[0].outcome == "passed"


def test_files_of_this_machine_that_services_open_count_too(place):
    from envtool.model import Looked

    def on_host(path):
        looked = Looked(states={path: 1, f"{path}/x": 2}, trees=(path,))
        return replace(place.stack, layers=(layer("d1", "k1", looked=looked),))

    reach = HostInputs(on_host("/usr"), place.world.context, (on_host("/opt"), place.stack))
    assert {"/usr", "/opt"} <= {*reach.watch}
    reach.opened = ("/usr/x",)
    reach.add_opened(("/opt/x",))
    assert reach.opened == ("/usr/x", "/opt/x")
    reach.add_opened(None)
    assert reach.opened is None
    reach.add_opened(("/opt/x",))
    assert reach.opened is None


def test_files_of_this_machine_that_prepared_services_count_too(place, tmp_path):
    """A result is not stored where one of them changed while the task ran."""
    from envtool.build.stack import opened_files_question
    from envtool.model import Looked
    from envtool.store import answer_cache

    context, files = place.world.context, [tmp_path / name for name in ("by-task", "by-prepare", "idle")]
    for file in files:
        file.write_text("1")

    def unchanged_after(file):
        states = {str(each): each.stat().st_ctime_ns for each in files}
        stack = replace(place.stack, layers=(layer("d1", "k1", looked=Looked(states=states, trees=(str(tmp_path),))),))
        reach = HostInputs(stack, context, states=("s",))
        reach.opened = (str(files[0]),)
        file.write_text("2")
        return reach.is_unchanged(context, ComparedStates())

    assert [unchanged_after(file) for file in files] == [False, False, False], "nothing is known of the state"
    answer_cache.put(context.store, opened_files_question("layer", "s"), [str(files[1])])
    assert [unchanged_after(file) for file in files] == [False, False, True]


def test_stacks_and_requests(place):
    context = place.world.context
    stacks = ServiceStacks((DB, API), (place.stack, place.stack))
    db, api = stacks.requests(context)
    assert (db.name, api.needs) == ("db", ("db",))
    assert api.variables["DATABASE_URL"] == "db://db"
    setting = SimpleNamespace(context=context)
    assert [local.request for local in stacks.provide((db, api), setting)] == [db, api]


SEED = Prepare(where=HERE, run=(Command(shell="seed"),))


def prepared(*services):
    return tuple(replace(service, prepare=SEED) for service in services)


@pytest.mark.parametrize("most", [1, 2, 8])
def test_states_are_prepared_at_the_same_time(place, monkeypatch, most):
    """Each after those of the services that it needs, however many threads there are."""
    barrier, order = threading.Barrier(2 if most > 1 else 1), []

    def make(plan, local, needed, setting):
        assert [other.prepared for other in needed] == [(f"tree of {other.request.name}",) for other in needed]
        if not needed:
            barrier.wait(10)
        order.append(local.request.name)
        return SimpleNamespace(tree=f"tree of {local.request.name}")

    monkeypatch.setattr("envtool.services.prepared_state.make_state", make)
    monkeypatch.setattr(task_services, "_MAX_PREPARATIONS", most)
    stacks = ServiceStacks(prepared(DB, CACHE, API), (place.stack,) * 3)
    made = stacks.provide(stacks.requests(place.world.context), SimpleNamespace(context=place.world.context))
    assert [local.prepared for local in made] == [("tree of db",), ("tree of cache",), ("tree of api",)]
    assert order.index("db") < order.index("api")


def test_a_preparation_that_fails_ends_no_other(place, monkeypatch):
    done = threading.Event()

    def make(plan, local, needed, setting):
        if local.request.name == "db":
            raise ServiceError("no seed", code="service-prepare")
        done.set()
        return SimpleNamespace(tree="of another")

    monkeypatch.setattr("envtool.services.prepared_state.make_state", make)
    stacks = ServiceStacks(prepared(DB, CACHE, API), (place.stack,) * 3)
    with pytest.raises(ServiceError, match="no seed"):
        stacks.provide(stacks.requests(place.world.context), SimpleNamespace(context=place.world.context))
    assert done.is_set()


def test_a_task_that_fails_is_told_what_it_tried(place):
    place.runner.on("true", status=1)
    place.serve_pods = place.runner.pod

    def pod(**options):
        made = place.serve_pods(**options)
        made.noted.append(Attempt("tcp", "example.org", 443, 3))
        return made

    place.runner.pod = pod
    result, _ = place.run()
    assert result.message.splitlines()[0] == "exit 1"
    assert result.message.splitlines()[1:] == [
        "it tried the network: example.org:443 (3 times)",
        '`network: {allow: ["example.org:443"]}` allows it',
    ]
    result, _ = place.run(env=replace(WITH, allow=("x.example:1",)))
    assert result.message.splitlines()[2] == 'add "example.org:443" to `network: {allow: …}` of its env'
    place.runner.on("true", status=0)
    assert place.run()[0].message == ""


def test_where_services_listen_is_said_where_a_connection_was_refused(place):
    place.runner.on("true", status=1, output="connect: Connection refused\n")
    result, _ = place.run()
    assert result.message == "exit 1\na connection was refused; its services listen so: `db` on 80"
    place.runner.on("true", status=1, output="no\n")
    assert place.run()[0].message == "exit 1"


def test_a_run_that_learns(place):
    pods = place.runner.pod

    def pod(**options):
        made = pods(**options)
        made.reached += [("b.example", 443), ("a.example", 80), ("2001:db8::1", 1)]
        return made

    place.runner.pod = pod
    for env, task in ((replace(WITH, learns=True), BESIDE), (replace(ENV, learns=True), TASK)):
        for _ in range(2):
            assert place.run(env=env, task=task, again=False)[0].outcome == "passed", "it is never remembered"
        assert place.runner.pods[-1].options["learn"] is True
        learned = [event for event in place.world.events if isinstance(event, Learned)]
        allow = ("[2001:db8::1]:1", "a.example:80", "b.example:443")
        assert learned[-1] == Learned(env="unit", task="test", allow=allow, complete=True)
    assert len(learned) == 4
    place.runner.on("true", status=1)
    place.run(env=replace(WITH, learns=True, allow=("a.example:80",)))
    assert place.runner.pods[-1].options["allow"] == ("a.example:80",)
    assert not place.world.events[-1].complete
    place.runner.on("run-db", lambda container: container.print("oh no\n"))
    place.world.events.clear()
    with pytest.raises(ServiceError):
        place.run(env=replace(WITH, learns=True))
    learned = [event for event in place.world.events if isinstance(event, Learned)][-1]
    assert (learned.complete, len(learned.allow)) == (False, 3), "a service that fails may need it"


def test_a_run_that_learns_in_a_pod_that_is_lost(place):
    pods = place.runner.pod

    def pod(**options):
        made = pods(**options)
        made.passed = lost
        return made

    def lost():
        raise SandboxError("the network of this run is lost", code="network-lost")

    place.runner.pod = pod
    place.run(env=replace(ENV, learns=True), task=TASK)
    texts = [event.text for event in place.world.events if isinstance(event, Noted)]
    assert texts == ["the network needs of `unit` are unknown: the network of this run is lost"]
    assert not [event for event in place.world.events if isinstance(event, Learned)]


def test_many_ways_to_one_service_are_looked_at_once(place):
    """A stranger's spec: each service needs both of the row below it, so that 2^40 ways lead down."""
    rows = [DB]
    for number in range(40):
        needs = tuple(service.name for service in rows[-2:])
        rows += [
            replace(DB, name=name, host=name, needs=needs, env=replace(DB.env, name=f"service:{name}"))
            for name in (f"a{number}", f"b{number}")
        ]
    top = replace(rows[-1], prepare=Prepare(where=HERE, run=(Command(shell="seed"),)))
    env = replace(WITH, services=(*rows[:-1], top))
    graph = SimpleNamespace(stacks={service.env.name: (service.env.name,) for service in rows})
    states = {
        service.env.name: SimpleNamespace(node=SimpleNamespace(spec=SimpleNamespace(name=service.name)), output=None)
        for service in rows
    }
    (state,) = prepared_states.find_states(env, graph, states, place.world.context)
    assert {*state.waits} == {service.name for service in rows} - {"a39"}
